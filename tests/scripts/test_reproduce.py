"""The rows of docs/results.json, and the tables of docs/results.md and the README that are made from them."""

import flags

import dataclasses
import json

import pytest
import reproduce
from absl import flags as absl_flags

from tfcore import tree
from tfcore.data import Arrays, Splits
from tfcore.models import cnn
from tfcore.recipes import RECIPES, load_data
from tfcore.recipes.assemble import fit_to_data
from tfcore.run.environment import machine


@pytest.fixture
def pages(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "docs" / "results.json")
    monkeypatch.setattr(reproduce, "PAGE", tmp_path / "docs" / "results.md")
    monkeypatch.setattr(reproduce, "README", tmp_path / "README.md")
    (tmp_path / "docs").mkdir()
    reproduce.PAGE.write_text(f"before\n{reproduce.BEGIN}\nold\n{reproduce.END}\nafter\n")
    reproduce.README.write_text(f"above\n{reproduce.ROWS_BEGIN}\nold\n{reproduce.ROWS_END}\nbelow\n")
    return tmp_path


def new_row(recipe, seed, accuracy, side="tfcore", settings="1234abcd"):
    return {"recipe": recipe, "settings": settings, "side": side, "seed": seed, "test_accuracy": accuracy} | {
        "epochs": 3, "minutes": 1.5, "validation_accuracy": 0.92, "train_examples": 55000, "test_examples": 10000,
        "machine": "a machine", "commit": "abc1234",
    }  # fmt: skip


def test_a_row_replaces_that_of_the_same_recipe_and_seed(pages):
    for row in (("fashion_cnn", 0, 0.5), ("mnist_perceptron", 1, 0.6), ("fashion_cnn", 0, 0.7)):
        reproduce.add_row(new_row(*row))
    rows = json.loads(reproduce.RESULTS.read_text())
    assert [(r["recipe"], r["test_accuracy"]) for r in rows] == [("mnist_perceptron", 0.6), ("fashion_cnn", 0.7)]


def test_rows_of_other_settings_go(pages):
    for recipe, seed, settings in (("fashion_cnn", 0, "old"), ("fashion_cnn", 1, "old"), ("digits_cnn128", 0, "old")):
        reproduce.add_row(new_row(recipe, seed, 0.5, settings=settings))
    reproduce.add_row(new_row("fashion_cnn", 0, 0.7, settings="new"))
    rows = json.loads(reproduce.RESULTS.read_text())
    assert [(r["recipe"], r["seed"], r["settings"]) for r in rows] == [
        ("fashion_cnn", 0, "new"), ("digits_cnn128", 0, "old"),
    ]  # fmt: skip
    changed = dataclasses.replace(RECIPES["fashion_cnn"], epochs=11)
    before = reproduce.settings_digest(RECIPES["fashion_cnn"])
    assert before == reproduce.settings_digest(dataclasses.replace(RECIPES["fashion_cnn"], seed=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "fashion_cnn", changed)
        assert before != reproduce.settings_digest(changed)


def test_every_row_is_of_what_its_recipe_says_now():
    for row in json.loads((reproduce.ROOT / "docs" / "results.json").read_text()):
        assert row["settings"] == reproduce.settings_digest(RECIPES[row["recipe"]]), row["recipe"]


def test_the_table_shows_mean_and_spread_beside_the_post(pages):
    for seed, accuracy in enumerate((0.90, 0.91, 0.92)):
        reproduce.add_row(new_row("fashion_cnn", seed, accuracy))
    reproduce.add_row(new_row("fashion_cnn", 0, 0.8, "keras"))
    reproduce.write_tables()
    text = reproduce.PAGE.read_text()
    assert "| `fashion_cnn` | 0.9006 | 0.893 | 0.8000 (± 0.0040) | **0.9100 ± 0.0100** | 0.9200 |" in text
    assert " | 0.9200 | – | 55,000 | 0, 1, 2 | 3 | 1.5 |" in text
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "a machine" in text and "abc1234" in text


def test_a_run_with_a_teacher_has_a_row_of_its_own(pages):
    for teacher, accuracy in ((None, 0.90), ("fashion_cnn", 0.91), (None, 0.92)):
        reproduce.add_row({**new_row("fashion_perceptron", 0, accuracy), **({"teacher": teacher} if teacher else {})})
    reproduce.write_tables()
    text = reproduce.PAGE.read_text()
    assert "| `fashion_perceptron` | 0.9137, by a CNN | 0.9137 | – | **0.9200 (± 0.0027)** |" in text
    assert "| `fashion_perceptron`, taught by `fashion_cnn` | 0.9137, by a CNN | 0.9137 | – | **0.9100 (±" in text


@pytest.mark.parametrize(
    "arguments", [["--recipes=pets_inception"], ["--recipes=fashion_perceptron", "--sides=keras"]], ids=" ".join
)
def test_a_teacher_that_would_not_be_heard_is_refused(arguments):
    values = flags.parser(reproduce.define)
    values(["reproduce.py", "--teacher=fashion_cnn", *arguments])
    with pytest.raises(absl_flags.Error, match="for tfcore's side"):
        reproduce.main(values, [])


def test_the_readme_shows_one_network_of_each_post_as_the_post_and_as_ours(pages):
    for name, accuracy in (("fashion_cnn", 0.90), ("fashion_cnn", 0.91), ("fashion_cnn_best", 0.93)):
        reproduce.add_row(new_row(name, round(accuracy * 100), accuracy))
    reproduce.write_tables()
    text = reproduce.README.read_text()
    assert "Cory Maklin, 2018 | `fashion_cnn` | 0.9006 | – | 0.9050 ± 0.0071 | 0.9300 (± 0.0026) |" in text
    assert "2020 | `pets_cnn150` | curves only | – | – | – |" in text
    assert text.startswith("above\n") and text.endswith("below\n") and "old" not in text


def test_a_check_says_which_rows_are_not_what_comes_out(pages, monkeypatch, capsys):
    came_out = {0: 0.9, 1: 0.8}
    monkeypatch.setattr(
        reproduce, "ours", lambda recipe, values, place: new_row(recipe.name, recipe.seed, came_out[recipe.seed])
    )
    for seed in (0, 1):
        reproduce.add_row(new_row("fashion_cnn", seed, 0.9))
    reproduce.add_row(new_row("mnist_perceptron", 0, 0.1))
    before = reproduce.RESULTS.read_text()
    values = flags.parser(reproduce.define)
    values(["reproduce.py", "--recipes=fashion_cnn", "--check"])
    with pytest.raises(ValueError, match="1 of 2 rows differ: fashion_cnn, seed 1; the page is of another machine"):
        reproduce.main(values, [])
    out = capsys.readouterr().out
    assert "fashion_cnn, seed 0: as on the page" in out and "seed 1: test_accuracy 0.9, now 0.8" in out
    assert reproduce.RESULTS.read_text() == before


@pytest.mark.slow
def test_the_quick_rows_are_what_comes_out(real_data):
    """On the machine that they are of; elsewhere bits differ."""
    quick = ("mnist_perceptron", "digits_cnn128")
    if machine() not in {row["machine"] for row in reproduce.read_rows() if row["recipe"] in quick}:
        pytest.skip("the page is of another machine")
    values = flags.parser(reproduce.define)
    values(["reproduce.py", f"--recipes={','.join(quick)}", "--check", f"--data_dir={real_data}"])
    reproduce.main(values, [])


@pytest.mark.parametrize("page", ["PAGE", "README"])
def test_a_page_without_the_marks_is_refused_and_the_other_is_left_alone(pages, page):
    reproduce.add_row(new_row("fashion_cnn", 0, 0.9))
    getattr(reproduce, page).write_text("no marks")
    with pytest.raises(ValueError, match="no place for the table"):
        reproduce.write_tables()
    assert getattr(reproduce, page).read_text() == "no marks"
    other = reproduce.README if page == "PAGE" else reproduce.PAGE
    assert "old" in other.read_text()


@pytest.mark.slow
def test_keras_trains_the_network_of_a_recipe_on_the_same_split(monkeypatch):
    """Two logits by a sigmoid and ten by a softmax; what a post's program has not is refused."""
    keras_side = pytest.importorskip("keras_side")
    digits = dataclasses.replace(RECIPES["fashion_cnn"], dataset="digits", epochs=2)
    splits = load_data(digits)
    recipe = fit_to_data(digits, splits)
    assert keras_side.network(recipe).count_params() == tree.count(cnn.init(0, recipe.model)[0])
    test, validation = keras_side.train(recipe, splits)
    assert test["accuracy"] > 0.8 and validation["accuracy"] > 0.8
    two = [Arrays(part.images, part.labels % 2) for part in splits[:3]]
    odd = dataclasses.replace(recipe, loss="sigmoid_cross_entropy", steps_per_epoch=20, epochs=1)
    splits = Splits(*two, ("even", "odd"), "digits")
    test, _ = keras_side.train(fit_to_data(odd, splits), splits)
    assert 0.5 < test["accuracy"] <= 1 and 0 < test["pearson"] <= 1
    with pytest.raises(ValueError, match="no Keras program"):
        keras_side.network(RECIPES["fashion_cnn_best"])
