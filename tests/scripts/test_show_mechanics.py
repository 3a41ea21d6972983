"""The figures and tables of docs/mechanics.md: they are there, small, and what the command makes."""

import dataclasses
import re
from pathlib import Path

import mechanics_drawings as drawings
import numpy as np
import pytest
import receptive_fields
import show_mechanics
from PIL import Image

from tfcore.models import cnn
from tfcore.recipes import RECIPES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "mechanics.md").read_text()


def table_of_the_page(name):
    begin, end = (mark.format(name) for mark in show_mechanics.MARKS)
    return PAGE.partition(begin)[2].partition(end)[0].strip()


@pytest.mark.parametrize("name", ["sliding", "lenet", "growth"])
def test_the_tables_are_what_the_command_writes(name):
    assert table_of_the_page(name) == getattr(show_mechanics, name)(), "run scripts/show_mechanics.py"


def field_rows():
    """The rows of the page's table of fields, {network: cells}."""
    rows = [line.strip("| ").split(" | ") for line in table_of_the_page("fields").splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def test_the_table_of_fields_has_every_network():
    assert list(field_rows()) == list(show_mechanics.NETWORKS)


@pytest.mark.parametrize("name", ["`fashion_cnn`", "2 convolutions alone", "8 convolutions alone"])
def test_the_fields_of_the_page_are_measured(name):
    """Other processors round otherwise, and a pixel more or less may count."""
    field = receptive_fields.measure(receptive_fields.cut(show_mechanics.NETWORKS[name]))
    _, _, side, effective, _ = field_rows()[name]
    assert int(side) == field.side and float(effective) == pytest.approx(field.effective, abs=0.2)


def test_the_page_shows_every_figure_and_they_are_small():
    paths = sorted((ROOT / "docs").glob("mechanics_*.png"))
    assert [path.name for path in paths] == sorted(re.findall(r"\]\((mechanics_\w+\.png)\)", PAGE))
    sizes = [path.stat().st_size for path in paths]
    assert max(sizes) < 100_000 and sum(sizes) < 600_000
    assert all(Image.open(path).width >= 800 for path in paths)


@pytest.mark.slow
def test_another_directory_gets_the_figures_and_the_page_stays(tmp_path, monkeypatch, capsys):
    field = receptive_fields.Field(2, (0, 0), np.eye(2))
    monkeypatch.setattr(receptive_fields, "measure", lambda config: field)
    monkeypatch.setattr(show_mechanics, "STEPS", (0, 20))
    values = show_mechanics.flags.parser(show_mechanics.define)
    values(["show_mechanics.py", f"--output={tmp_path / 'new'}"])
    show_mechanics.main(values, [])
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == sorted(path.name for path in (ROOT / "docs").glob("mechanics_*.png"))
    assert (ROOT / "docs" / "mechanics.md").read_text() == PAGE
    assert show_mechanics.lenet() in capsys.readouterr().out


# What an output sees


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize(("blocks", "pool"), [(((4,), (4,)), 2), (((4, 4), (4,)), 3), (((6,) * 5,), 1)])
def test_the_effective_field_is_inside_the_theoretical_one_and_smaller(blocks, pool, padding):
    config = cnn.Config(image_shape=(40, 44, 2), blocks=blocks, pool=pool, padding=padding)
    field = receptive_fields.measure(config, pictures=8, draws=4)
    assert field.gradients.shape == (40, 44)
    seen = np.argwhere(field.gradients)
    ends = np.minimum(np.add(field.begin, field.side), (40, 44))
    assert (seen.min(axis=0) == np.maximum(field.begin, 0)).all() and (seen.max(axis=0) + 1 == ends).all()
    assert 1 < field.effective < np.sqrt(0.5) * field.side


def test_half_of_the_squared_gradient_is_counted():
    alike = receptive_fields.Field(10, (0, 0), np.ones([10, 10]))
    assert alike.effective == pytest.approx(np.sqrt(50), abs=0.1)
    steep = receptive_fields.Field(2, (0, 0), np.array([[0.0, 3.0], [2.0, 2.0]]))  # 9 of 17
    assert steep.effective == 1


def test_a_cut_picture_has_one_output_with_the_same_field():
    config = RECIPES["pets_cnn150"].model
    cut = receptive_fields.cut(config)
    assert cut.image_shape == (22, 22, 3) and cnn.feature_shape(cut) == (1, 1, 128)
    small = dataclasses.replace(config, blocks=((8,), (8,)), image_shape=(20, 20, 1))
    whole, part = (receptive_fields.measure(c, draws=32) for c in (small, receptive_fields.cut(small)))
    assert whole.side == part.side == 10 and whole.effective == pytest.approx(part.effective, abs=0.5)


# The drawings


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_each_step_of_the_sliding_product_is_written_out():
    drawing = drawings.sliding(show_mechanics.X, show_mechanics.W, show_mechanics.WAYS)
    first, *_, last = drawing.axes
    assert len(drawing.axes) == 8
    assert texts(first)[:4] == ["3·1", "1·0", "0·2", "2"] and texts(first)[-1] == "place (0, 0): 9"
    assert len(texts(last)) == 5 * 5 + 1 and texts(last)[-1] == "place (1, 1): 5"


def test_numbers_are_short():
    assert [drawings.number(value) for value in (-0.0, 3.0, -1.0, 0.25)] == ["0", "3", "−1", "0.25"]
