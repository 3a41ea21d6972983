"""The page of predict.py --report: what it shows, what it keeps to itself, and when it refuses."""

import flags

import base64
import dataclasses
import html
import io
import os
import re
from pathlib import Path

import numpy as np
import predict
import predictions_page
import pytest
from PIL import Image

from tfcore import recipes, run
from tfcore.data import Arrays, Splits
from tfcore.models import cnn
from tfcore.recipes import Recipe
from tfcore.run.directory import describe
from tfcore.run.result import export

NAMES = ("猫 & <b>", "Dog", "eel\x1b")
MODEL = cnn.Config((6, 6, 3), ((2,),), hidden=(), classes=3)
RECIPE = Recipe("small", "folder", MODEL, batch_size=4)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A run that was exported without training, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    part = Arrays(np.zeros([5, 6, 6, 3], np.uint8), np.arange(5, dtype=np.int32) % 3)
    task = recipes.task(RECIPE, Splits(part, part, part, NAMES[:2] + ("eel",), "folder"))
    export(tmp_path / "run", *cnn.init(1, MODEL), describe(task, run.Plan(**recipes.plan(RECIPE))))
    loaded = recipes.load_run("run")
    monkeypatch.setattr(recipes, "load_run", lambda _: (*loaded[:3], {**loaded[3], "class_names": NAMES}))
    return tmp_path


def write(path, rng, size=(20, 30)):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, [*size, 3], dtype=np.uint8)).save(os.fsencode(path), "png")
    return path


def call(*arguments):
    values = flags.parser(predict.define)
    pictures = values(["predict.py", "--run=run", *map(str, arguments)])[1:]
    predict.main(values, pictures)


def section(text, heading):
    return text.partition(f"<h2>{heading}</h2>")[2].partition("<h2>")[0]


def captions(text):
    return [html.unescape(words) for words in re.findall("<figcaption>(.*?)</figcaption>", text)]


def thumbnails(text):
    found = re.findall(r'src="data:image/(\w+);base64,([^"]*)"', text)
    return [(kind, Image.open(io.BytesIO(base64.b64decode(data)))) for kind, data in found]


def test_the_page_says_what_is_printed_and_counts_it(made, rng, capsys):
    for i in range(4):
        write(f"photos/{i}.png", rng)
    call("--report=page.html", "photos/3.png", "photos")
    printed, text = capsys.readouterr().out, (made / "page.html").read_text()
    assert captions(text) == ["photos/3.png", *(f"photos/{i}.png" for i in range(4))]
    lines = re.findall(r"^\S+\.png  .*\((.*)\)$", printed, re.MULTILINE)
    bars = [re.findall(r'<span title="(.*?)">.*?width: ([\d.]+)%.*?<span>([\d.]+)</span>', one)
            for one in re.findall(r'<div class="bars">(.*?)</div>', text)]  # fmt: skip
    shown = [", ".join(f"{html.unescape(name)} {share}" for name, _, share in one) for one in bars]
    assert shown == [line.replace("\x1b", r"\x1b") for line in lines] and len(bars[0]) == 3
    assert all(abs(float(width) / 100 - float(share)) < 1.1e-3 for one in bars for _, width, share in one)
    rows = dict(re.findall(r"<tr><td>(.*?)</td><td class=number>(\d+)</td>", section(text, "Summary")))
    first = [one[0][0] for one in bars]
    assert rows == {name: str(first.count(name)) for name in first}
    assert "classified: 5; not usable: 0" in text and "wrote page.html" in printed
    assert "The least certain" not in text and "Not usable" not in text


def test_names_of_any_script_are_shown_as_they_are_and_are_no_markup(made, rng):
    write("photos/猫 <i> & \udce9.png", rng)
    call("--report=page.html", "photos")
    text = (made / "page.html").read_text()
    assert captions(text) == [r"photos/猫 <i> & \xe9.png"]
    assert "<i>" not in text.replace('<i style="', "") and "<b>" not in text
    assert html.escape("猫 & <b>") in text and "\x1b" not in text


def test_what_is_not_usable_is_listed_with_its_reason_and_the_page_is_still_written(made, rng):
    write("photos/good.png", rng)
    (made / "photos/<bad>.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"2 not usable: .*absent\.png: No such file"):
        call("--report=page.html", "photos", made / "absent.png")
    text = (made / "page.html").read_text()
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", section(text, "Not usable"))
    assert rows == [
        ("photos/&lt;bad&gt;.png", "not a JPEG, PNG, GIF or BMP picture"),
        ("absent.png", "No such file or directory"),
    ]
    assert captions(text) == ["photos/good.png"] and "not usable: 2" in text


def test_whole_paths_are_not_on_the_page(made, rng):
    write("a/b/one.png", rng)
    write("two.png", rng)
    (made / "broken.png").write_bytes(b"")
    with pytest.raises(ValueError, match=f"{made}/broken"):
        call(f"--report={made}/page.html", made / "a", made / "two.png", made / "broken.png", "a/../two.png", "a/b")
    text = (made / "page.html").read_text()
    assert captions(text) == ["b/one.png", "two.png", "two.png", "a/b/one.png"]
    assert str(made) not in text and made.name not in text


def test_of_more_than_12_the_least_certain_come_first(made, rng):
    for i in range(14):
        write(f"photos/{i:02}.png", rng)
    call("--report=page.html", "photos")
    text = (made / "page.html").read_text()
    assert text.index("The least certain") < text.index("All pictures")
    everything, least = captions(section(text, "All pictures")), captions(section(text, "The least certain"))
    shares = [float(one) for one in re.findall(r'class="bars">.*?<span>([\d.]+)</span>', section(text, "All pictures"))]
    assert everything == [f"photos/{i:02}.png" for i in range(14)]
    by_share = sorted(zip(shares, everything), key=lambda pair: pair[0])
    assert len(least) == 12 and set(least) == {name for _, name in by_share[:12]} and least[0] == by_share[0][1]


@pytest.mark.parametrize(("size", "wanted"), [((20, 30), (30, 20)), ((400, 100), (50, 200)), ((3, 900), (200, 1))])
def test_a_thumbnail_keeps_proportions_and_enlarges_nothing(size, wanted, rng, tmp_path):
    data = write(tmp_path / "x.png", rng, size).read_bytes()
    assert Image.open(io.BytesIO(predictions_page.thumbnail(data))).size == wanted


def test_a_small_thumbnail_is_the_picture(rng, tmp_path):
    path = write(tmp_path / "x.png", rng, (28, 20))
    shown = Image.open(io.BytesIO(predictions_page.thumbnail(path.read_bytes())))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(Image.open(path)))


@pytest.mark.parametrize("darkest", [40, 0])
def test_a_thumbnail_is_upright(darkest):
    """Of a picture that is stored on its side: its left is its top. What is black at the bar is not taken for one."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112] = 6
    pixels = np.full([100, 300], 220, np.uint8)
    pixels[:, :100] = darkest
    Image.fromarray(pixels).save(file, "jpeg", exif=exif)
    shown = Image.open(io.BytesIO(predictions_page.thumbnail(file.getvalue()))).convert("L")
    assert shown.size == (67, 200)
    assert np.abs(np.asarray(shown, float)[:60] - darkest).max() < 9
    assert np.abs(np.asarray(shown, float)[75:] - 220).max() < 9


def test_large_thumbnails_are_jpegs_and_small(made, rng):
    write("x.png", rng, (1000, 800))
    call("--report=page.html", "x.png")
    ((kind, image),) = thumbnails((made / "page.html").read_text())
    assert (kind, image.format, image.size) == ("jpeg", "JPEG", (160, 200))
    assert (made / "page.html").stat().st_size < 60_000


@pytest.mark.parametrize("place", ["nowhere/page.html", "photos", "file/page.html"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_predicted(place, made, rng, capsys):
    write("photos/x.png", rng)
    (made / "file").touch()
    with pytest.raises(ValueError, match=rf"^report={place} cannot be written \(.*\): name another file$"):
        call(f"--report={place}", "photos")
    assert capsys.readouterr().out == ""
    assert {path.name for path in made.iterdir()} == {"run", "photos", "file"}


def test_without_a_report_nothing_is_written(made, rng, capsys):
    write("photos/x.png", rng)
    call("photos")
    assert capsys.readouterr().out.count("\n") == 1
    assert {path.name for path in made.iterdir()} == {"run", "photos"}


def test_the_network_sees_what_it_saw_without_a_report(made, rng, capsys):
    path = write("x.png", rng)
    recipe = dataclasses.replace(RECIPE, resize="crop")
    plain, inverted = (predict.decode(path.read_bytes(), recipe, invert) for invert in (False, True))
    np.testing.assert_array_equal(plain, 255 - inverted)
    call("x.png")
    alone = capsys.readouterr().out
    call("--report=page.html", "x.png")
    assert capsys.readouterr().out == f"{alone}wrote page.html\n"
