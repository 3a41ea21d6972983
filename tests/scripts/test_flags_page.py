"""What docs/flags.md says of a flag: its form, its choices, and the value that each script's usual recipe has."""

import flags

import flags_page
import pytest
import train_cnn
import train_mlp
import train_transfer


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("image_size", ["28x28", "125x94", "150x150"]),  # of the pictures, also where the head reads features
        ("hidden", ["256,256", "256,256", "1024"]),
        ("shift", ["0", "0", "0.1"]),
        ("flip", ["off", "off", "on"]),
        ("jit", ["auto", "auto", "auto"]),
        ("pixels", ["–", "–", "as its file wants"]),
        ("data_dir", ["", "", ""]),
    ],
)
def test_the_defaults_are_those_of_the_usual_recipes(name, wanted):
    scripts = (flags.parser(script.define) for script in (train_mlp, train_cnn, train_transfer))
    assert [flags_page.default(values, name) for values in scripts] == wanted


def test_a_flag_is_described_as_it_is_typed():
    values = flags.parser(train_cnn.define)
    assert flags_page.described(values["flip"]) == ["`--[no]flip`", "mirror left and right"]
    assert flags_page.described(values["recipe"]) == ["`--recipe`", "the run to start from"]
    assert flags_page.described(values["report"])[1].endswith("tested and exported: `last`, `best`")


def test_every_flag_of_every_script_has_a_row():
    page = flags_page.page()
    for script in (*flags_page.TRAINING, *flags_page.OTHERS):
        for name in flags.own_names(flags.parser(script.define)):
            assert f"| `--{name}` |" in page or f"| `--[no]{name}` |" in page
    assert "<" not in page.replace(r"\<", ""), "Markdown would take it for HTML"
