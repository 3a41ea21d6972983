"""What the comparisons share: the options, the sides and their command lines, the job of a network, and its cost."""

import contextlib
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import benchmark_table
import numpy as np
import tensorflow as tf
from benchmark_process import compare

from tfcore import build, layers, recipes, run_dir, tree
from tfcore.data import Arrays, Splits, datasets
from tfcore.init import fold_in
from tfcore.models import cnn, mlp
from tfcore.summaries import flops

ROOT = Path(__file__).resolve().parent.parent
SIDES = {
    "tfcore": "benchmark_tfcore.py",
    "keras": "benchmark_keras.py",
    "keras_jit": "benchmark_keras.py",
    "torch": "benchmark_torch.py",
    "jax": "benchmark_jax.py",
    "pillow": "benchmark_pillow.py",
    "unfolded": "benchmark_tfcore.py",
}
IN_PEERS = ("torch", "jax")  # from an environment of their own


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags say. sides: the peers to keep, () for all; peers_python: None leaves PyTorch and JAX out;
    images: at most so many, 0 for all; report: called with a sentence when a side dies."""

    rounds: int = 5
    quick: bool = False
    data_dir: str | None = None
    sides: tuple[str, ...] = ()
    peers_python: str | None = None
    images: int = 0
    steps: int = 8
    photographs: int = 2000
    transfer_epochs: int = 15
    trunk_precision: str = "float32"
    report: Callable = print


@dataclasses.dataclass(frozen=True)
class Work:
    """One comparison, or several that share their processes.

    run: (name, work, options) -> rows of benchmarks.json.
    recipe: whose network, batch and optimizer it takes.
    targets: {peer: by how much tfcore is to be better}, None for no aim; its keys are the sides beside tfcore.
    action: of the sides, what is timed.
    check: what shows that both sides did the same; `tolerance`: how far it may differ, relatively.
    share: of a matrix product's speed, the aim; 0 does not measure it.
    memory: {peer: by how much tfcore's peak memory is to be smaller}, with all images.
    quick: images in --quick; 0 is not part of it.
    slow: sides that --quick leaves out, unless --sides names them.
    """

    run: Callable
    recipe: str
    targets: dict
    action: str = "epoch"
    check: str = "loss"
    tolerance: float = 0.05
    share: float = 0.0
    memory: dict = dataclasses.field(default_factory=dict)
    quick: int = 0
    slow: tuple[str, ...] = ()


def commands(work, options):
    """Returns {side: command line} of a work: tfcore and those of its peers that are wanted and there."""
    wanted = options.sides or [peer for peer in work.targets if not (options.quick and peer in work.slow)]
    wanted = [peer for peer in work.targets if peer in wanted]
    found = {}
    for name in ("tfcore", *wanted):
        python = options.peers_python if name in IN_PEERS else sys.executable
        if python:
            found[name] = [str(python), str(ROOT / "scripts" / SIDES[name])]
    return found


def environment():
    """Returns the environment of the sides: they find tfcore also where it is not installed."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}


def sides_of(work, options, job, **changes):
    """Runs the sides of a work in turns; returns their raw answers."""
    settings = {"rounds": options.rounds, "report": options.report, "environment": environment(), **changes}
    return compare(commands(work, options), job, work.action, **settings)


def new_row(name, work, unit, raw, **more):
    """Returns a row of benchmarks.json.

    Raises:
      ValueError: tfcore's own side did not finish.
    """
    sides = {side: benchmark_table.figures(answers) for side, answers in raw.items()}
    if "tfcore" not in sides:
        raise ValueError("tfcore's own side did not finish")
    versions = {k: v for answers in raw.values() for k, v in answers["memory"]["versions"].items()}
    row = {"work": name, "unit": unit, "measure": "s", "sides": sides, "ratios": benchmark_table.ratios(sides)}
    row |= {"targets": {peer: target for peer, target in work.targets.items() if peer in sides}}
    row |= {"check": work.check, "differs": benchmark_table.differing(sides, work.tolerance)}
    return {**row, "machine": run_dir.environment()["machine"], "versions": versions, **more}


def matmul_limit(size=2048, repeats=8):
    """Returns the speed of this machine's float32 matrix product, GFLOP/s: the best of a few."""
    product = tf.function(lambda a: tf.matmul(a, a))
    a = tf.random.stateless_normal([size, size], [0, 0])
    product(a).numpy()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        product(a).numpy()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9


def training_flops(recipe, weights, stats):
    """Returns the floating point operations of a training step, per image.

    Three forward passes: the pass itself and the gradients with respect to weights and inputs of each layer; less one
    pass of the first layer, whose input needs no gradient.
    """
    spec = tf.TensorSpec([1, *recipe.model.image_shape], tf.float32)
    first = next(iter(weights.values()))

    def whole(x):
        return build.make_forward(recipe)(weights, stats, x, training=False)[0]

    def first_layer(x):
        if first["w"].shape.rank == 2:
            return layers.dense(first, layers.flatten(x))
        return layers.conv2d(first, x, padding=recipe.model.padding)

    traced = (tf.function(fn, autograph=False).get_concrete_function(spec) for fn in (whole, first_layer))
    forward, once = (flops(concrete, 1) for concrete in traced)
    return 3 * forward - once


def network(recipe):
    """Returns the layers for the sides: ["conv", channels, activation], ["pool"], ["flatten"], ["dense", ...].

    Raises:
      ValueError: they cannot build it: it is neither a plain perceptron nor a plain CNN.
    """
    config = recipe.model
    plain = ("image_shape", "blocks", "hidden", "hidden_activation", "classes", "init")
    given = {name: getattr(config, name) for name in plain if hasattr(config, name)}
    if not isinstance(config, mlp.Config | cnn.Config) or config != type(config)(**given) or recipe.offset:
        raise ValueError(f"{recipe.name}: the other sides have no network like {config}")
    described, activation = [], getattr(config, "hidden_activation", "relu")
    for block in getattr(config, "blocks", ()):
        described += [*(["conv", channels, "relu"] for channels in block), ["pool"]]
    dense = [["dense", width, activation] for width in config.hidden]
    return [*described, ["flatten"], *dense, ["dense", config.classes, "linear"]]


@contextlib.contextmanager
def model_job(kind, recipe, part):
    """Yields the job of sides that run the recipe's network on a part of a set, and the network's weights and stats.

    What is large lies in a folder: data.npz with images, labels, weight0, weight1, ... in the order of the layers.
    """
    weights, stats = recipes.model_of(recipe).init(fold_in(0, "init"), recipe.model)
    with tempfile.TemporaryDirectory() as folder:
        save_data(folder, part, weights)
        job = {"kind": kind, "folder": folder, "recipe": recipes.to_dict(recipe), "network": network(recipe)}
        job |= {"loss": "sigmoid" if recipe.loss.startswith("sigmoid") else "softmax", "scale": recipe.scale}
        yield {**job, "learning_rate": recipe.learning_rate, "batch_size": recipe.batch_size}, weights, stats


def save_data(folder, part, weights):
    """Writes what `model_job` says into data.npz."""
    numbered = {f"weight{i}": leaf.numpy() for i, leaf in enumerate(tree.leaves(weights))}
    np.savez(f"{folder}/data.npz", images=np.asarray(part.images), labels=np.asarray(part.labels), **numbered)


def data_of(recipe, options, quick):
    """Returns the whole training part of the recipe's set, cut to full batches, the test part, and the recipe.

    Of pictures it returns generated ones, for so many steps.
    """
    if recipe.dataset in datasets.PICTURES:
        part = generated(options.steps * recipe.batch_size, recipe.model.image_shape)
        splits = Splits(part, part, part, ("a", "b"), recipe.dataset)
    else:
        splits = datasets.load(recipe.dataset, options.data_dir, validation=0)
    recipe = build.fit_to_data(recipe, splits._replace(validation=splits.test))
    most = options.images or (quick if options.quick else 0) or len(splits.train.labels)
    count = max(min(most, len(splits.train.labels)) // recipe.batch_size, 1) * recipe.batch_size
    return Arrays(*(array[:count] for array in splits.train)), splits.test, recipe


def generated(count, shape):
    """Returns random pictures of two classes, always the same."""
    rng = np.random.default_rng(0)
    return Arrays(rng.integers(0, 256, [count, *shape], np.uint8), rng.integers(0, 2, count).astype(np.int32))
