"""An ejected recipe is one program of TensorFlow and NumPy; its losses are those of the recipe's run, to the bit."""

import ast
import dataclasses
import gzip
import json
import re
import subprocess
import sys

import eject
import numpy as np
import pytest
from PIL import Image

from tfcore import checkpoint, recipes
from tfcore.data import load
from tfcore.models import cnn, inception_v3, mixer, mlp, transfer
from tfcore.recipes import RECIPES, stages, trunks

QUICK = ("mnist_perceptron", "fashion_cnn_best", "pets_cnn150_best", "pets_inception")
NAMES = [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in RECIPES]


SHORT = ("mnist_perceptron", "fashion_cnn_best", "pets_cnn150_augmented")  # the quick ones; the rest are slow tests


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in SHORT else [pytest.mark.slow]) for n in NAMES])
def test_every_recipe_is_one_plain_program(name, tmp_path):
    text = eject.text_of(RECIPES[name])
    tree = ast.parse(text)
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {each.split(".")[0] for each in named} <= {*sys.stdlib_module_names, "numpy", "tensorflow"}
    (tmp_path / "program.py").write_text(text)
    for check in (["format", "--check", "--line-length=120"], ["check", "--select=F,E9", "--ignore=F841"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--isolated", "program.py"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions[-1].name == "main"
    assert "recipe" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert sum(ast.get_docstring(node) is not None for node in functions) > 0.8 * len(functions)


def losses(text, monkeypatch, capsys, *arguments):
    """Runs a program in this process and returns the losses that it prints, as texts."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["program.py", *map(str, arguments)])
    exec(compile(text, "program.py", "exec"), {"__name__": "__main__", "__doc__": ""})
    return re.findall(r"loss (\S+)", capsys.readouterr().out)


def of_run(run_dir):
    rows = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [repr(json.loads(row)["train"]["loss"]) for row in rows]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Digits under the names of Fashion-MNIST and MNIST, and a folder of made pictures."""
    place, digits = tmp_path_factory.mktemp("sets"), load("digits")
    for name in ("mnist", "fashion_mnist"):
        (place / name).mkdir()
        for part, arrays, count in (("train", digits.train, 400), ("t10k", digits.test, 100)):
            for kind, array in (("images-idx3", arrays.images[:count, ..., 0]), ("labels-idx1", arrays.labels[:count])):
                head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
                data = gzip.compress(head + array.astype(np.uint8).tobytes())
                (place / name / f"{part}-{kind}-ubyte.gz").write_bytes(data)
    rng = np.random.default_rng(0)
    for folder in ("Cat", "Dog"):
        (place / "cats_vs_dogs" / "PetImages" / folder).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 256, [rng.integers(30, 200), rng.integers(30, 200), 3]).astype(np.uint8)
            Image.fromarray(pixels).save(place / "cats_vs_dogs" / "PetImages" / folder / f"{i}.jpg")
    (place / "cats_vs_dogs" / "PetImages" / "Dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return place


SMALL = {"epochs": 3, "batch_size": 16, "steps_per_loop": 4}
CHANGES = {
    "mnist_perceptron": {"jit": True},
    "fashion_cnn_best": {"model": cnn.Config(blocks=((4,), (6,)), hidden=(8,), dropout=0.2)},
    "digits_cnn128": {"model": cnn.Config(blocks=((4,), (4,)), hidden=(8,)), "batch_size": 200},
    "fashion_mixer": {"model": mixer.Config(channels=8, blocks=2, hidden=(8, 8))},
    "fashion_deep_cnn_best": {"model": cnn.Config(blocks=((4, 4), (4, 4)), padding="SAME", hidden=(8,))},
    "mnist_perceptron_best": {},
    "pets_cnn150_best": {
        "model": cnn.Config(image_shape=(40, 50, 3), blocks=((4,), (6,)), hidden=(8,), batch_norm=True,
                            hidden_norm=True, dropout=0.3), "train_examples": 36,
    },
    "pets_perceptron": {"model": mlp.Config(image_shape=(40, 50, 3), hidden=(8,))},
}  # fmt: skip
FAST = ("mnist_perceptron",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in CHANGES])
def test_losses_are_those_of_the_run(name, place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = dataclasses.replace(RECIPES[name], **{**SMALL, **CHANGES[name]})
    result = recipes.train(recipe, tmp_path / "run", data_dir=None if recipe.dataset == "digits" else place)
    given = () if recipe.dataset == "digits" else (f"--data_dir={place}",)
    assert losses(eject.text_of(recipe), monkeypatch, capsys, *given) == of_run(result.run_dir)


@pytest.mark.slow
def test_a_head_on_a_trained_trunk_too(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = transfer.Config(
        inception_v3.Config(top=False, endpoint="mixed0", image_shape=(75, 75, 3)),
        mlp.Config((7, 7, 256), (8,), 1, dropout=0.2),
    )
    recipe = dataclasses.replace(RECIPES["pets_inception"], model=model, steps_per_epoch=2, **SMALL)
    checkpoint.export_weights(tmp_path / "trunk.safetensors", *inception_v3.init(0, model.trunk))
    trunk = trunks.load_trunk(model, tmp_path / "trunk.safetensors")
    splits = recipes.load_data(recipe, place)
    stages.train(recipe, tmp_path / "run", trunk, splits, cache=tmp_path / "features")
    weights = f"--weights={tmp_path}/run/export/weights.safetensors"
    found = losses(eject.text_of(recipe), monkeypatch, capsys, f"--data_dir={place}", weights)
    assert found == of_run(tmp_path / "run" / "head")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_perceptron", "pets_perceptron"])
def test_of_real_sets_too(name, real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = dataclasses.replace(RECIPES[name], epochs=3)
    result = recipes.train(recipe, tmp_path / "run", data_dir=real_data)
    assert losses(eject.text_of(recipe), monkeypatch, capsys, f"--data_dir={real_data}") == of_run(result.run_dir)
