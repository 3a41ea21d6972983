"""What is compared: of each work the job of its sides, and the aims."""

import dataclasses
import functools
import sys
import tempfile
import time
from collections.abc import Callable

import jobs
from process import ROOT, from_start, in_turns, once
from results import new_row

from tfcore.quiet import tf
from tfcore.run import environment

SIDES = {
    "tfcore": "side_tfcore.py",
    "keras": "side_keras.py",
    "keras_jit": "side_keras.py",
    "keras_best": "side_keras.py",
    "torch": "side_torch.py",
    "jax": "side_jax.py",
    "pillow": "side_pillow.py",
    "float32": "side_tfcore.py",
    "kernels": "side_tfcore.py",
    "unfolded": "side_tfcore.py",
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
    report: Callable = print


@dataclasses.dataclass(frozen=True)
class Work:
    """One comparison.

    prepare: (work, options, folder) -> the job of its sides; what is large it writes into the folder.
    recipe: whose network, batch and optimizer it takes.
    unit: what is measured, in words with the job's values.
    targets: {peer: by how much tfcore is to be better}, None for no aim; its keys are the sides beside tfcore.
    action: of the sides, what is timed.
    images, quick: at most so many, 0 for the whole set; in --quick.
    run: how the sides are timed, of `process`.
    measure: of them, "s" or "MB".
    check: what the result is that shows that all sides did the same.
    precision: of all sides that train.
    hidden: widths in place of the recipe's, where there are some.
    aims: of tfcore alone: "share" of a large matrix product's speed (None: only told), "at_most" seconds, "flat" over
      sizes.
    """

    prepare: Callable
    recipe: str
    unit: str
    targets: dict
    action: str = "epoch"
    images: int = 0
    quick: int = 0
    run: Callable = in_turns
    measure: str = "s"
    check: str = "loss"
    precision: str = "float32"
    hidden: tuple[int, ...] = ()
    aims: dict = dataclasses.field(default_factory=dict)

    def count(self, options, most=sys.maxsize):
        """Returns how many images to take, of so many that there are."""
        return min(n for n in (most, options.images, self.images, self.quick if options.quick else 0) if n)


def measured(name, work, options):
    """Does a work and returns its row.

    Raises:
      ValueError: tfcore's own side did not finish.
    """
    limit = {"limit_gflops": matmul_limit()} if "share" in work.aims else {}
    with tempfile.TemporaryDirectory() as folder:
        job = {"folder": folder, "action": work.action, **work.prepare(work, options, folder)}
        raw = work.run(commands(work, options), job, options.rounds, report=options.report)
    return new_row(name, work, job, raw, machine=environment.machine(), **limit)


def commands(work, options):
    """Returns {side: command line} of a work: tfcore and those of its peers that are wanted and there."""
    found = {}
    for name in ("tfcore", *(peer for peer in work.targets if peer in (options.sides or SIDES))):
        python = options.peers_python if name in IN_PEERS else sys.executable
        if python:
            found[name] = [str(python), str(ROOT / "scripts" / "benchmark" / SIDES[name])]
    return found


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


def of_sizes(commands, job, rounds, *, report):
    """As `in_turns`, of tfcore with each of the job's sizes."""
    return in_turns(dict.fromkeys(job["sizes"], commands["tfcore"]), job, rounds, report=report)


EPOCH, SHARE = "an epoch of {images:,} images", {"share": None}
MLP, CNN, PETS, INCEPTION = "mnist_perceptron", "fashion_cnn", "pets_cnn128", "pets_inception"
# No peer may be ahead; where more can be had, and how near the kernels' own time a step is to come, docs/speed.md says.
MLP_PEERS = {"keras": 1.0, "keras_jit": 1.0, "torch": 1.0, "jax": 1.1, "kernels": 0.95}
CNN_PEERS = {"keras": 1.2, "torch": 1.0, "jax": 1.0, "kernels": 0.92}
HALF_PEERS = {"keras": 1.2, "torch": 1.0, "jax": 1.0, "float32": 1.5, "kernels": None}
MILLIONS = {1: (672, 672), 10: (2784, 2784), 100: (9616, 9616)}  # of weights: the widths that have so many
GOALS = {  # recipe: post, validation accuracy
    "time_to_accuracy_mnist": ("mnist_perceptron_fast", MLP, 0.9475),
    "time_to_accuracy_mnist_977": ("mnist_perceptron_fast", MLP, 0.977),
    "time_to_accuracy_fashion": ("fashion_cnn_fast", CNN, 0.9006),
    "time_to_accuracy_fashion_deep": ("fashion_deep_cnn_fast", "fashion_deep_cnn", 0.9137),
    "time_to_accuracy_pets": ("pets_cnn150_fast", "pets_cnn150", 0.75),
}
TESTED, FIRST = "{images:,} images of fashion_cnn", "process to first step of"
PHOTOGRAPHS = "{images:,} photographs at 125 x 94"
WORKS = {
    MLP: Work(jobs.train, MLP, EPOCH, MLP_PEERS, quick=6000, aims=SHARE),
    CNN: Work(jobs.train, CNN, EPOCH, CNN_PEERS, images=12800, quick=320, aims=SHARE),
    "fashion_cnn_memory": Work(
        jobs.train, CNN, "peak memory with {images:,} images", {"keras": 2.0}, quick=320, run=once, measure="MB"
    ),
    f"{CNN}_bfloat16": Work(
        jobs.train, CNN, f"{EPOCH}, bfloat16", HALF_PEERS, images=12800, quick=320, precision="bfloat16"
    ),
    PETS: Work(
        jobs.train, PETS, "{steps} steps of {batch_size}", {"keras": 1.0, "kernels": 0.92}, images=512, quick=64,
        aims=SHARE,
    ),
    f"{PETS}_bfloat16": Work(
        jobs.train, PETS, "{steps} steps of {batch_size}, bfloat16", {"keras": 1.0, "float32": 1.5, "kernels": None},
        images=512, quick=64, precision="bfloat16",
    ),
    "prediction": Work(
        jobs.predict, CNN, TESTED, {"keras": 1.0}, action="predict", quick=1000, check="mean absolute logit"
    ),
    "evaluation": Work(jobs.predict, CNN, TESTED, {"keras": 1.0}, action="evaluate", quick=1000),
    "start_perceptron": Work(jobs.train, MLP, f"{FIRST} {MLP}", {"keras": 1.0}, action="step", run=from_start),
    "start_cnn": Work(jobs.train, CNN, f"{FIRST} {CNN}", {"keras": 1.0}, action="step", run=from_start),
    "augmentation": Work(
        jobs.augmentation, "pets_best", "{calls} batches of {batch} pictures, 150 x 150", {"keras": 3.0},
        action="batches", images=64, check="mean pixel",
    ),
    "loading": Work(
        jobs.loading, PETS, PHOTOGRAPHS, {"pillow": 3.0}, action="decode", images=4096, quick=512,
        check="mean pixel",
    ),
    "loading_cached": Work(
        jobs.loading, PETS, f"{PHOTOGRAPHS}, from the cache", {}, action="cached", images=4096, quick=512,
        check="mean pixel", aims={"at_most": 0.5},
    ),
    "scaling": Work(
        jobs.scaling, MLP, f"{{steps:,}} steps of {MLP}", {}, action="some", images=10**6, quick=10**4, run=of_sizes,
        aims={"flat": 0.95},
    ),
    "inception_fold": Work(
        jobs.fold, INCEPTION, "{images} pictures to {endpoint}", {"unfolded": None}, action="forward", images=100,
        quick=16, check="mean feature",
    ),
    "inception_transfer": Work(
        jobs.transfer, INCEPTION, "{epochs} epochs of {images:,} photographs", {"keras": 6.0}, action="fit",
        images=2000, quick=32, run=once, check="accuracy",
    ),
}  # fmt: skip
for n, widths in MILLIONS.items():
    WORKS[f"perceptron_{n}m"] = Work(
        jobs.train, MLP, f"{{steps}} steps of 100, {n} million weights", {"kernels": None}, images=2000, quick=200,
        hidden=widths, aims=SHARE,
    )  # fmt: skip
    WORKS[f"checkpoint_{n}m"] = Work(
        jobs.train, MLP, f"a checkpoint of {n} million weights and their slots", {"keras": None}, action="save",
        images=100, hidden=widths, check="MB",
    )  # fmt: skip
WORKS |= {
    name: Work(
        functools.partial(jobs.reach, post=post, goal=goal), recipe, f"process to {{goal}} on validation with {recipe}",
        {"keras": 5.0, "keras_best": 2.0}, action="reach", quick=6000, run=from_start, check="accuracy",
    )
    for name, (recipe, post, goal) in GOALS.items()
}  # fmt: skip
