"""Files that an earlier commit wrote are read by this one; those of another version of a format are refused by name."""

import json
import shutil

import make
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

from tfcore import checkpoint, metrics, recipes, run, tree
from tfcore.models import mlp
from tfcore.run import environment


@pytest.fixture
def golden(tmp_path):
    """A copy of the golden run."""
    return shutil.copytree(make.HERE / "run", tmp_path / "run")


@pytest.fixture
def stopped(tmp_path):
    """A copy of the golden run that stopped."""
    return shutil.copytree(make.HERE / "stopped_run", tmp_path / "stopped_run")


def test_every_file_names_its_version():
    found = {path.name for path in make.HERE.rglob("*") if path.suffix in (".json", ".jsonl", ".safetensors")}
    assert {"config.json", "metrics.jsonl", "result.json", "environment.json", "stopped.json"} <= found
    assert {"weights.safetensors", "ckpt-000000004.safetensors", "batch.safetensors"} <= found
    for path in make.HERE.rglob("*.json*"):
        texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for values in map(json.loads, texts):
            assert all(part["format"] == 1 for part in (values if isinstance(values, list) else [values]))
    for path in make.HERE.rglob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            assert json.loads(file.metadata()["tfcore"])["format"] == 1
    assert sum(path.stat().st_size for path in make.HERE.rglob("*") if path.is_file()) < 40_000


def test_the_export_is_read(golden):
    recipe, weights, stats, config = recipes.load_run(golden)
    assert recipe.model == mlp.Config((2, 2, 1), (2,), 2) and recipe.learning_rate == 0.001 and stats == {}
    assert config["class_names"] == ["even", "odd"] and config["epoch"] == 2
    assert {path: leaf.shape for path, leaf in tree.flatten(weights).items()} == {
        "dense1/w": (4, 2), "dense1/b": (2,), "logits/w": (2, 2), "logits/b": (2,)
    }  # fmt: skip
    logits = recipes.predictor(recipe)(weights, stats, make.splits().test.images)
    loss = -np.log(metrics.probabilities(logits).numpy()[np.arange(8), np.arange(8) % 2]).mean()
    assert loss == pytest.approx(json.loads((golden / "result.json").read_text())["test"]["loss"], rel=1e-5)


def test_a_complete_run_is_known_as_such_and_goes_on_from_its_checkpoint(golden, capsys):
    before = (golden / "metrics.jsonl").read_text()
    result = recipes.train(make.RECIPE, golden, splits=make.splits())
    assert "is complete" in capsys.readouterr().out and result.epochs == 2 and result.test["accuracy"] == 0.375
    again = make.dataclasses.replace(make.RECIPE, epochs=3)
    assert recipes.train(again, golden, splits=make.splits()).epochs == 3
    assert "resumed from" in (out := capsys.readouterr().out) and "epoch 2 of 3, step 4" in out
    assert (golden / "metrics.jsonl").read_text().startswith(before)
    assert [start["format"] for start in environment.starts(golden / "environment.json")] == [1, 1, 1]


def test_the_black_box_is_replayed(stopped, capsys):
    found = recipes.replay(stopped)
    assert found is not None and "stopped at step 1: loss nan" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "result.json", "environment.json"])
def test_json_of_another_version_is_refused_with_both(golden, name):
    path = golden / name
    path.write_text(path.read_text().replace('"format": 1', '"format": 3'))
    if name != "result.json":
        (golden / "result.json").unlink()  # else it is complete, and nothing more is read
    before = {path.name: path.read_bytes() for path in golden.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match=rf"{name} has version 3 of its format, this tfcore reads 1$"):
        recipes.train(make.RECIPE, golden, splits=make.splits())
    for kept in ("metrics.jsonl", name):
        assert (golden / kept).read_bytes() == before[kept]


@pytest.mark.parametrize("read", [checkpoint.read, checkpoint.import_weights])
def test_weights_of_another_version_are_refused_with_both(golden, read):
    """Before anything else of the file is understood."""
    path = golden / "export" / "weights.safetensors"
    header = json.dumps({"format": 2, "unknown": True})
    path.write_bytes(to_bytes({"weights/a": np.zeros(2, np.float32)}, metadata={"tfcore": header}))
    words = r"weights\.safetensors has version 2 of its format, this tfcore reads 1$"
    with pytest.raises(ValueError, match=words):
        read(path)
    with pytest.raises(ValueError, match=words):
        recipes.load_run(golden)


def test_a_black_box_of_another_version_is_refused_with_both(stopped):
    path = stopped / "stopped" / "stopped.json"
    path.write_text(json.dumps({"format": 2}))
    with pytest.raises(ValueError, match=r"stopped\.json has version 2 of its format, this tfcore reads 1$"):
        recipes.replay(stopped)


def test_files_from_before_versions_were_named_are_of_the_first(golden):
    path = golden / "export" / "weights.safetensors"
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["tfcore"])
        tensors = {name: file.get_tensor(name) for name in header["names"]}
    del header["format"]
    path.write_bytes(to_bytes(tensors, metadata={"tfcore": json.dumps(header)}))
    assert run.load_run(golden)[0]["epoch"] == 2
