"""An ejected recipe is one program of TensorFlow and NumPy; its losses are those of the recipe's run, to the bit."""

import ast
import dataclasses
import gzip
import importlib
import json
import re
import subprocess
import sys

import eject
import numpy as np
import pytest
from PIL import Image
from specialise import docstrings, tidy
from specialise.program import Program

from tfcore import checkpoint, recipes
from tfcore.data import load
from tfcore.models import cnn, inception_v3, mixer, mlp, transfer
from tfcore.recipes import RECIPES, stages, trunks

QUICK = ("mnist_perceptron", "fashion_cnn_best", "pets_cnn150_best", "pets_inception")
NAMES = [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in RECIPES]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_one_plain_program(name, tmp_path):
    text = eject.text_of(RECIPES[name])
    tree = ast.parse(text)
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {each.split(".")[0] for each in named} <= {*sys.stdlib_module_names, "numpy", "tensorflow"}
    (tmp_path / "program.py").write_text(text)
    for check in (["format", "--check", "--line-length=120"], ["check", "--select=F,E9"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--isolated", "program.py"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions[-1].name == "main"
    assert "recipe" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert sum(ast.get_docstring(node) is not None for node in functions) > 0.8 * len(functions)


def test_the_perceptron_fits_three_screens():
    text = eject.text_of(RECIPES["mnist_perceptron"])
    assert text.count("\n") < 150
    assert 'x w + b. weights: {"w": [I, O], "b": [O]}. x: [N, I], of the weights' in text


ANNOTATED = '''
from typing import NamedTuple
from collections.abc import Callable
Weights = dict[str, "object"]
Rule = Callable[[float], float]

class Pair(NamedTuple):
    weights: Weights
    rule: Rule
    unknown: "Somewhere"
    count: int | None = None

def twice(x: float, *rest: float, of: Weights, **more: float) -> float:
    """2 x; of `twice`.

    Args:
      x: a number.
      gone: is not there.
    Raises:
      ValueError: never.
    """
    y: float = 2 * x
    z: Weights
    for i in range(3):
        y += i
    return y

def main(scale: float = 1.0, *, loud: bool = False) -> Pair:
    """Makes a pair. `nothing` is left out."""
    def rule(x: float) -> float:
        return twice(x, 1.0, of={}, more=scale)

    if loud:
        print("loud")
    return Pair({}, rule, None)
'''


def test_annotations_are_left_out_and_fields_have_plain_ones(tmp_path, monkeypatch):
    (tmp_path / "annotated.py").write_text(ANNOTATED)
    monkeypatch.syspath_prepend(tmp_path)
    annotated = importlib.import_module("annotated")
    program = Program(("annotated",), (), {})
    program.run(annotated.main, loud=False)
    trees = tidy.tidied(program.trees, program.name(annotated.main))
    for tree in trees.values():
        docstrings.trim(tree, {"twice": "twice"}, {})
    text = "\n\n".join(ast.unparse(ast.fix_missing_locations(tree)) for tree in trees.values())
    assert "Weights" not in text and "->" not in text and "loud" not in text and "Raises" not in text
    assert "weights: dict" in text and "rule: Callable" in text and "count: object = None" in text
    assert '"""Makes a pair."""' in text and "2 x; of `twice`. x: a number." in text
    for key, value in program.owners.items():
        text = text.replace(key, value.__name__)
    scope = {}
    exec("\n".join(["from typing import NamedTuple", *program.imports, text]), scope)
    assert scope["main"]().rule(2.0) == annotated.main().rule(2.0) == 7.0


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
CHANGES = {  # of some, where a smaller network shows the same or other settings show more
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
    **{  # an epoch of two and a half passes
        name: {"steps_per_epoch": 5, "model": cnn.Config(image_shape=(40, 50, 3), blocks=((4,),), hidden=(8,))}
        for name in ("pets_cnn150", "pets_cnn150_augmented", "pets_cnn150_fast")
    },
    "pets_perceptron": {"model": mlp.Config(image_shape=(40, 50, 3), hidden=(8,))},
}  # fmt: skip
FAST = ("mnist_perceptron",)
TRAINED = [name for name, recipe in RECIPES.items() if not isinstance(recipe.model, transfer.Config)]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in TRAINED])
def test_losses_are_those_of_the_run(name, place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = dataclasses.replace(RECIPES[name], **{**SMALL, **CHANGES.get(name, {})})
    data_dir = {"digits": None, "folder": place / "cats_vs_dogs" / "PetImages"}.get(recipe.dataset, place)
    result = recipes.train(recipe, tmp_path / "run", data_dir=data_dir)
    given = () if data_dir is None else (f"--data_dir={data_dir}",)
    assert losses(eject.text_of(recipe), monkeypatch, capsys, *given) == of_run(result.run_dir)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"learns_from": "mixed0", "pool_features": True}])
def test_a_head_on_a_trained_trunk_too(changes, place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trunk_config = inception_v3.Config(top=False, endpoint="mixed0", image_shape=(75, 75, 3))
    shape = (1, 1, 256) if changes else (7, 7, 256)
    model = transfer.Config(trunk_config, mlp.Config(shape, (8,), 1, dropout=0.2), **changes)
    recipe = dataclasses.replace(RECIPES["pets_inception"], model=model, **SMALL)
    weights, stats = inception_v3.init(0, model.trunk)
    checkpoint.export_weights(tmp_path / "trunk.safetensors", weights, stats)
    checkpoint.export_weights(tmp_path / "whole.safetensors", {"trunk": weights}, {"trunk": stats})
    trunk = trunks.load_trunk(model, tmp_path / "trunk.safetensors")
    splits = recipes.load_data(recipe, place)
    stages.train(recipe, tmp_path / "run", trunk, splits, cache=tmp_path / "features")
    given = f"--data_dir={place}", f"--weights={tmp_path}/whole.safetensors"
    found = losses(eject.text_of(recipe), monkeypatch, capsys, *given)
    assert found == of_run(tmp_path / "run" / "head")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_perceptron", "pets_perceptron"])
def test_of_real_sets_too(name, real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = dataclasses.replace(RECIPES[name], epochs=3)
    result = recipes.train(recipe, tmp_path / "run", data_dir=real_data)
    assert losses(eject.text_of(recipe), monkeypatch, capsys, f"--data_dir={real_data}") == of_run(result.run_dir)
