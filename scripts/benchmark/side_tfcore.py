"""tfcore's side of the comparisons: what a run does, and nothing else."""

import functools
import itertools
import shutil
import tempfile
from pathlib import Path

import kernels
import numpy as np
import ours
from process import serve
from sides import read_arrays

from tfcore import checkpoint, training
from tfcore.data import augment
from tfcore.data.order import batch_indices
from tfcore.quiet import tf


def train(job):
    """Training; (side "float32") in that precision, whatever the recipe says; (side "kernels") the limit of it."""
    images, labels, values = read_arrays(job)
    if job["side"] == "kernels":
        return {"epoch": kernels.epoch_of(job, images.shape[1:])}
    if job["side"] == "float32":
        job = {**job, "recipe": {**job["recipe"], "precision": "float32"}}
    recipe, weights = ours.load(job, values)
    size, epochs = recipe.batch_size, itertools.count()
    over, state = ours.trainer(recipe, lambda seed: (weights, {}), (images, labels), job["steps"])

    def take_steps(count):
        return {"result": over(batch_indices(0, next(epochs), count * size, size))}

    def save():
        return {"result": checkpoint.save(Path(job["folder"]) / "checkpoints", state).stat().st_size / 1e6}

    return {"step": lambda: take_steps(1), "epoch": lambda: take_steps(job["steps"]), "save": save}


def reach(job):
    """Training from the recipe's own first weights until the validation accuracy is the job's, looked at each epoch."""
    images, labels, values = read_arrays(job)
    recipe, weights = ours.load(job, values)
    held_out = (np.load(Path(job["folder"]) / f"validation_{name}.npy") for name in ("images", "labels"))
    shown, answers = held_out
    over, state = ours.trainer(recipe, lambda seed: (weights, {}), (images, labels), job["steps"])
    logits_of, loss = ours.predictor(recipe)

    def train_until():
        for epoch in range(recipe.epochs):
            over(batch_indices(recipe.seed, epoch, len(labels), recipe.batch_size)[: job["steps"]])
            logits = logits_of(training.averages(state.weights, state.slots), state.stats, shown)
            accuracy = training.summarize(logits, answers, loss=loss)["accuracy"]
            if accuracy >= job["goal"]:
                return {"result": accuracy, "form": f"epoch {epoch + 1}"}
        raise SystemExit(f"{accuracy:.4f} after {recipe.epochs} epochs, the goal is {job['goal']}")

    return {"reach": train_until}


def scale(job):
    """Training on a part of a file of pictures that is mapped, never read as a whole; job["sizes"]: how large."""
    recipe, weights = ours.load(job, read_arrays(job)[2])
    n, size, steps = job["sizes"][job["side"]], recipe.batch_size, job["steps"]
    images = np.memmap(
        Path(job["folder"]) / "images.u8", np.uint8, "r", shape=(max(job["sizes"].values()), *job["shape"])
    )
    over, _ = ours.trainer(
        recipe, lambda seed: (weights, {}), (images[:n], np.load(Path(job["folder"]) / "labels.npy")), steps
    )
    orders = (batch_indices(0, number, n, size) for number in itertools.count())
    batches = itertools.chain.from_iterable(orders)  # as in a run whose epochs have `steps` steps: of several passes
    return {"some": lambda: {"result": over(np.stack(list(itertools.islice(batches, steps))))}}


def predict(job):
    """Prediction and evaluation of a whole set, as at the end of each epoch."""
    images, labels, values = read_arrays(job)
    recipe, weights = ours.load(job, values)
    logits_of, loss = ours.predictor(recipe)
    return {
        "predict": lambda: {"result": float(np.abs(logits_of(weights, {}, images)).mean())},
        "evaluate": lambda: {"result": training.summarize(logits_of(weights, {}, images), labels, loss=loss)["loss"]},
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
        return {"result": float(pictures.mean())}

    return {"batches": batches}


def loading(job):
    """A zip of pictures: decoded, and from the finished cache."""
    from tfcore.data.folders import load_folder

    path, cache = Path(job["folder"]) / "pictures.zip", Path(job["folder"]) / "cache"

    def cached():
        found = load_folder(path, image_size=job["size"], cache_dir=cache, progress=False)
        return {"result": float(found.images[::50].mean())}

    def decode():
        shutil.rmtree(cache, ignore_errors=True)
        return cached()

    return {"decode": decode, "cached": cached}


def transfer_learning(job):
    """The head of a transfer: from pictures to the last epoch. The trunk runs once, its features are kept."""
    images, labels, _ = read_arrays(job)
    config, _ = ours.trunk_forward(job)
    trunk = checkpoint.import_keras_h5(Path(job["folder"]) / "trunk.h5", config)

    def fit():
        with tempfile.TemporaryDirectory() as logdir:
            measured = ours.train_head(job, images, labels, trunk, logdir)
        return {"result": measured["accuracy"]}

    return {"fit": fit}


def trunk(job):
    """The frozen trunk's forward pass over some pictures, its batch norm folded into the convolutions or not."""
    from tfcore.models import inception_v3

    images = np.load(Path(job["folder"]) / "images.npy")
    config, forward = ours.trunk_forward(job)
    weights, stats = checkpoint.import_keras_h5(Path(job["folder"]) / "trunk.h5", config)
    if job["side"] == "tfcore":
        weights, stats = inception_v3.fold(weights, stats), {}
    features = functools.partial(training.predict, tf.function(forward), batch_size=50, preprocess=tf.convert_to_tensor)
    return {"forward": lambda: {"result": float(features(weights, stats, images).mean())}}


KINDS = {
    "train": train, "reach": reach, "scale": scale, "predict": predict, "augmentation": augmentation,
    "loading": loading, "transfer": transfer_learning, "trunk": trunk,
}  # fmt: skip

if __name__ == "__main__":
    serve(KINDS, {"tensorflow": tf.__version__})
