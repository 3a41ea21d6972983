"""The rows of docs/results.json and the README's table that is made from them."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import reproduce


@pytest.fixture
def pages(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "docs" / "results.json")
    monkeypatch.setattr(reproduce, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"before\n{reproduce.BEGIN}\nold\n{reproduce.END}\nafter\n")
    return tmp_path


def new_row(recipe, seed, accuracy):
    return {"recipe": recipe, "seed": seed, "test_accuracy": accuracy, "epochs": 3, "minutes": 1.5} | {
        "validation_accuracy": 0.92, "machine": "a machine", "commit": "abc1234"
    }  # fmt: skip


def test_a_row_replaces_that_of_the_same_recipe_and_seed(pages):
    for row in (("fashion_cnn", 0, 0.5), ("mnist_perceptron", 1, 0.6), ("fashion_cnn", 0, 0.7)):
        reproduce.add_row(new_row(*row))
    rows = json.loads(reproduce.RESULTS.read_text())
    assert [(r["recipe"], r["test_accuracy"]) for r in rows] == [("mnist_perceptron", 0.6), ("fashion_cnn", 0.7)]


def test_the_table_shows_mean_and_spread_beside_the_post(pages):
    for seed, accuracy in enumerate((0.90, 0.91, 0.92)):
        reproduce.add_row(new_row("fashion_cnn", seed, accuracy))
    reproduce.write_table()
    text = reproduce.README.read_text()
    assert "| `fashion_cnn` | 0.9006 | 0.893 | **0.9100** ± 0.0100 | 0.9200 | – | 0, 1, 2 | 3 | 1.5 |" in text
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "a machine" in text and "abc1234" in text


def test_a_page_without_the_marks_is_refused(pages):
    reproduce.add_row(new_row("fashion_cnn", 0, 0.9))
    reproduce.README.write_text("no marks")
    with pytest.raises(ValueError, match="no place for the table"):
        reproduce.write_table()
    assert reproduce.README.read_text() == "no marks"
