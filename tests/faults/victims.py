"""What is killed: small runs that have all of the large ones, and what they leave, as values that can be compared."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from tfcore import checkpoint, recipes, tree
from tfcore.data import Arrays, Splits
from tfcore.data.augment import Augment
from tfcore.models import cnn, mlp, transfer
from tfcore.recipes import Recipe, stages
from tfcore.recipes.trunks import PIXELS, Trunk

# Equal in no two runs: what a clock measured, and the names by which runs are told apart.
OWN = ("seconds", "total_seconds", "images_per_second", "id", "run_id")

PERCEPTRON = Recipe(
    "perceptron", "made", mlp.Config(hidden=(32, 32)), batch_size=16, epochs=3, steps_per_loop=2, jit=True, validation=1
)
CNN = Recipe(
    "cnn", "made", cnn.Config(blocks=((4,), (6,)), hidden=(8,), batch_norm=True, dropout=0.2),
    loss="sigmoid_cross_entropy", batch_size=16, epochs=2, steps_per_loop=2, ema_decay=0.9, report="best",
    augment=Augment(flip=True, shift=0.1, rotation=5.0), schedule="cosine", validation=1, validation_steps=1,
)  # fmt: skip
TRUNK = cnn.Config(image_shape=(12, 12, 1), blocks=((4,), (6,)), batch_norm=True, top=False)
MOVED = Recipe(
    "moved", "made", transfer.Config(TRUNK, mlp.Config(hidden=(8,), dropout=0.2)), batch_size=8, epochs=2,
    steps_per_loop=3, validation=1,
)  # fmt: skip


def made_set(classes, n=128):
    """Returns splits of pictures, 12x12, whose brightest band says the class, with noise."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, n).astype(np.int32)
    images = generator.integers(0, 150, [n, 12, 12, 1]).astype(np.uint8)
    for image, label in zip(images, labels):
        image[4 * label : 4 * label + 3] += 100
    cuts = ((0, n - 48), (n - 48, n - 24), (n - 24, n))
    return Splits(*(Arrays(images[a:b], labels[a:b]) for a, b in cuts), tuple("abc"[:classes]), "made")


def made_trunk():
    """Returns a Trunk of NumPy arrays, without running TensorFlow."""
    generator = np.random.default_rng(0)
    draw = lambda *shape: generator.normal(0.3, 0.3, shape).astype(np.float32)  # noqa: E731
    sizes = {"conv1": (1, 4), "conv2": (4, 6)}
    weights = {
        name: {"w": draw(3, 3, *size), "norm": {"scale": draw(size[1]), "offset": draw(size[1])}}
        for name, size in sizes.items()
    }
    stats = {name: {"mean": draw(size[1]), "variance": 1 + draw(size[1]) ** 2} for name, size in sizes.items()}
    return Trunk(weights, stats, PIXELS["0..1"], "made")


def perceptron(place, **options):
    """A perceptron under XLA; returns its Result."""
    changes = options.pop("changes", {})
    return recipes.train(dataclasses.replace(PERCEPTRON, **changes), place, splits=made_set(3), **options)


def convolutions(place, **options):
    """A CNN of two classes, which is drawn; with batch norm, dropout, augmentation, an average and a best epoch."""
    return recipes.train(CNN, place, splits=made_set(2), **options)


def moved(place, *, rate=1e-3, **options):
    """A head on kept features of a trunk, then the upper trunk too."""
    recipe = dataclasses.replace(MOVED, learning_rate=rate)
    model = dataclasses.replace(MOVED.model, learns_from="conv2")
    upper = dataclasses.replace(MOVED, model=model, learning_rate=1e-4, augment=Augment(shift=0.1))
    cache = Path(place) / "kept"
    return stages.train(recipe, place, made_trunk(), made_set(3), cache=cache, fine_tune=upper, **options)


def outcome(place):
    """Returns {name: value} of all that a run, or each stage of one, left, but for OWN.

    Of the export, the newest and the best checkpoint every tensor's bytes and the JSON values; metrics.jsonl,
    result.json and config.json as values; the drawings byte by byte.
    """
    place, found = Path(place), {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.name in ("metrics.jsonl", "result.json", "config.json"):
            found[name] = [comparable(json.loads(line)) for line in _jsons(path)]
        elif path.suffix == ".png":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.parent.name == "export" and path.suffix == ".safetensors":
            found[name] = stored(path)
        elif path.name == "checkpoints":
            kept = checkpoint.checkpoints(path)[-1:] + [p for p in [path / checkpoint.BEST] if p.exists()]
            found |= {str(p.relative_to(place)): stored(p) for p in kept}
    return found


def _jsons(path):
    return path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]


def stored(path):
    """Returns the bytes of all tensors of a checkpoint or an export by path, and its JSON values but for OWN."""
    tensors, meta = checkpoint.read(path)
    return {path: leaf.tobytes() for path, leaf in tree.flatten(tensors).items()} | {"meta": comparable(meta)}


def comparable(value):
    """Returns JSON values without OWN; of a checkpoint's "run", which is a name, nothing, of a configuration's, all."""
    if isinstance(value, dict):
        own = {name for name, item in value.items() if name in OWN or (name == "run" and isinstance(item, str))}
        return {name: comparable(item) for name, item in value.items() if name not in own}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def differences(found, wanted):
    """Returns the names of what differs."""
    return [name for name in sorted({**found, **wanted}) if found.get(name) != wanted.get(name)]


def far(place):
    """Returns a word for how far a run is, or the last stage of one."""
    runs = sorted(place.rglob("config.json"), key=lambda path: path.stat().st_mtime)
    if not runs:
        return "start"
    run = runs[-1].parent
    if (run / "result.json").exists():
        return "end"
    if (run / "export" / "weights.safetensors").exists():
        return "report"
    return "later epochs" if checkpoint.checkpoints(run / "checkpoints") else "first epoch"


RUNS = {"a perceptron, XLA": perceptron, "a CNN, augmented, averaged": convolutions, "a transfer, two stages": moved}
changed_perceptron = functools.partial(perceptron, changes={"learning_rate": 0.01})
