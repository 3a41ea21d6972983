"""tfcore's side of the comparisons in benchmark.py: what a run does, and nothing else."""

import dataclasses
import functools
import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
from benchmark_process import serve

from tfcore import build, recipes, training, tree
from tfcore.data import augment
from tfcore.data.order import batch_indices, blocks, take
from tfcore.init import as_seed
from tfcore.quiet import tf


def load(job):
    """Returns images, labels and the network's weights and stats that the parent left."""
    recipe = recipes.from_dict(job["recipe"])
    with np.load(Path(job["folder"]) / "data.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
        weights, stats = recipes.model_of(recipe).init(0, recipe.model)
        paths = tree.flatten(weights)
        tree.assign(weights, tree.unflatten({path: arrays[f"weight{i}"] for i, path in enumerate(paths)}))
    return recipe, (images, labels), weights, stats


def train(job):
    """Training as in `tfcore.run`: blocks gathered by a thread, many steps in one call."""
    recipe, arrays, weights, stats = load(job)
    n = len(arrays[1])
    take_steps = stepper(recipe, arrays, weights, stats, n // recipe.batch_size)
    epochs = itertools.count()
    return {
        "step": lambda: take_steps(np.arange(recipe.batch_size)[np.newaxis]),
        "epoch": lambda: take_steps(batch_indices(0, next(epochs), n, recipe.batch_size)),
    }


def stepper(recipe, arrays, weights, stats, steps):
    """Returns take_steps(indices [steps, batch_size]) -> {"loss": the mean over the steps}."""
    optimizer, _ = build.make_optimizer(recipe, steps)
    state = training.init_state(weights, stats, optimizer)
    block, k, seed = build.make_block(recipe, state, optimizer), min(recipe.steps_per_loop, steps), as_seed(0)
    draws = tf.zeros([k, recipe.batch_size, 0])

    def take_steps(indices):
        total = 0.0
        for count, _, images, labels in blocks(arrays, indices, k):
            total += float(block(images, labels, draws, tf.constant(count), seed)["loss"])
        return {"loss": total / len(indices)}

    return take_steps


def scale(job):
    """Training on a part of a file of pictures that is mapped, never read as a whole; job["examples"]: how large."""
    recipe = recipes.from_dict(job["recipe"])
    shape, n = recipe.model.image_shape, job["examples"][job["side"]]
    images = np.memmap(Path(job["folder"]) / "images.u8", np.uint8, "r", shape=(n, *shape))
    labels = np.load(Path(job["folder"]) / "labels.npy")[:n]
    weights, stats = recipes.model_of(recipe).init(0, recipe.model)
    arrays = take(images, np.arange(n)), labels
    take_steps = stepper(recipe, arrays, weights, stats, n // recipe.batch_size)
    orders = (batch_indices(0, epoch, n, recipe.batch_size) for epoch in itertools.count())
    steps = job["steps"]  # as many for every n: a part of an epoch, or several
    parts = (order[start : start + steps] for order in orders for start in range(0, len(order), steps))
    number = max(1, steps // (n // recipe.batch_size))
    return {"some": lambda: [take_steps(part) for part in itertools.islice(parts, number)][-1]}


def predict(job):
    """Prediction and evaluation of a whole set, as at the end of each epoch."""
    recipe, (images, labels), weights, stats = load(job)
    logits_of = build.make_predict(recipe)

    def evaluate():
        return training.summarize(logits_of(weights, stats, images), labels, loss=build.make_loss(recipe))

    return {
        "predict": lambda: {"loss": float(np.abs(logits_of(weights, stats, images)).mean())},
        "evaluate": evaluate,
    }


def augmentation(job):
    """Augmentation of one batch, again and again, each time with other draws."""
    config = augment.Augment(**job["augment"])
    images = tf.constant(np.load(Path(job["folder"]) / "images.npy"))
    n = images.shape[0]

    @tf.function
    def changed(epoch):
        return augment.apply(config, images, augment.draw(0, epoch, n))

    def batches():
        for epoch in range(job["calls"]):
            pictures = changed(tf.constant(epoch)).numpy()
        return {"loss": float(pictures.mean())}

    return {"batches": batches}


def loading(job):
    """A zip of pictures: decoded, and from the finished cache."""
    from tfcore.data.folders import load_folder

    path, cache = Path(job["folder"]) / "pictures.zip", Path(job["folder"]) / "cache"

    def cached():
        found = load_folder(path, image_size=job["size"], cache_dir=cache, progress=False)
        return {"loss": float(found.images[::50].mean())}

    def decode():
        shutil.rmtree(cache, ignore_errors=True)
        return cached()

    return {"decode": decode, "cached": cached}


def transfer_learning(job):
    """The head of a transfer: from pictures to the last epoch. The trunk runs once, its features are kept."""
    from tfcore import checkpoint, transfer
    from tfcore.data import Arrays, Splits

    recipe, folder = recipes.from_dict(job["recipe"]), Path(job["folder"])
    with np.load(folder / "data.npz") as arrays:
        part = Arrays(arrays["images"], arrays["labels"])
    held = Arrays(*(array[:64] for array in part))
    trunk = checkpoint.import_keras_h5(folder / "trunk.h5", recipe.model.trunk)

    def fit():
        with tempfile.TemporaryDirectory() as logdir:
            result = transfer.train(recipe, logdir, trunk, Splits(part, held, held, ("Dog", "Cat"), "cats_vs_dogs"))
        return {"loss": result.train["loss"], "accuracy": result.train["accuracy"]}

    return {"fit": fit}


def trunk(job):
    """The frozen trunk's forward pass over some pictures, its batch norm folded into the convolutions or not."""
    from tfcore import checkpoint
    from tfcore.models import inception_v3

    recipe, folder = recipes.from_dict(job["recipe"]), Path(job["folder"])
    images = np.load(folder / "images.npy")
    config = recipe.model.trunk
    weights, stats = checkpoint.import_keras_h5(folder / "trunk.h5", config)
    if job["side"] == "tfcore":
        weights, stats = inception_v3.fold(weights, stats), {}
    forward = tf.function(build.make_forward(dataclasses.replace(recipe, model=config)))
    features = functools.partial(training.predict, forward, batch_size=50, preprocess=tf.convert_to_tensor)
    return {"forward": lambda: {"loss": float(features(weights, stats, images).mean())}}


KINDS = {
    "train": train, "scale": scale, "predict": predict, "augmentation": augmentation, "loading": loading,
    "transfer": transfer_learning, "trunk": trunk,
}  # fmt: skip

if __name__ == "__main__":
    serve(KINDS, {"tensorflow": tf.__version__})
