"""What a run shows of itself in pictures: its data, what it says of them, what its network has learned."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfcore import metrics, plots, training, tree
from tfcore.activations import activations, recorded
from tfcore.data import augment
from tfcore.data.order import Rows
from tfcore.data.splits import Arrays
from tfcore.plots.figures import drawable
from tfcore.quiet import tf
from tfcore.run.task import Task
from tfcore.types import Inference, Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAST = "training_pictures"  # of the drawings of the data: where its file is, the others are too
SHOWN = 25  # pictures of a gallery
PROJECTED = 1000  # examples of the Projector
SPRITE = 32  # the longest side of a picture there


def are_pictures(images: np.ndarray | Rows) -> bool:
    """True when images can be looked at: [N, H, W, C] uint8 in gray or in colour, not features."""
    return images.dtype == np.uint8 and len(images.shape) == 4 and images.shape[3] in (1, 3)


def of_data(task: Task, seed: int) -> "dict[str, Figure]":
    """Returns {name: figure}: the first training pictures with their classes, and what augmentation makes of some."""
    images, labels = (task.pictures or task.splits).train
    if not are_pictures(images):
        return {}
    names = drawable(task.splits.class_names)
    drawn = {}
    if task.augment:
        rows = first_rows(labels, 5)
        sheet = augment.examples(task.augment, seed, images[rows], rows, len(labels), epochs=5)
        titles = [f"{names[label]}{', as it is' * (i == 0)}" for label in labels[rows] for i in range(sheet.shape[1])]
        drawn["augmented"] = plots.gallery(sheet.reshape(-1, *sheet.shape[2:]), titles, columns=sheet.shape[1])
    rows = first_rows(labels, SHOWN)
    drawn[LAST] = plots.gallery(images[rows], [names[label] for label in labels[rows]])
    return drawn


def first_rows(labels: np.ndarray, count: int) -> np.ndarray:
    """Returns which examples to show: the first `count`, or as many all over a part that is sorted by its classes."""
    rows, spread = np.arange(min(count, len(labels))), np.linspace(0, len(labels) - 1, min(count, len(labels)))
    spread = spread.astype(int)
    return spread if len(set(labels[rows])) <= len(set(labels[spread])) / 2 else rows


def of_predictions(logits: np.ndarray, part: Arrays, class_names: Sequence[str]) -> "dict[str, Figure]":
    """Returns {name: figure} of what logits, [N, C], say of a part: which classes are taken for which, and pictures.

    Of two classes also thresholds, precision and recall, ROC, calibration and the predictions as points.
    """
    p = metrics.probabilities(logits).numpy()
    confusion = metrics.confusion_matrix(part.labels, metrics.predicted(logits), p.shape[1])
    drawn = {"confusion": plots.confusion_matrix(confusion, class_names)}
    if p.shape[1] == 2:
        drawn["measures"] = plots.overview(p[:, 1], part.labels, class_names)
    if are_pictures(part.images):
        worst = metrics.most_wrong(logits, part.labels, SHOWN)
        for name, chosen in (("predictions", first_rows(part.labels, SHOWN)), ("most_wrong", worst)):
            drawn[name] = plots.predictions(part.images[chosen], p[chosen], part.labels[chosen], class_names)
    return drawn


def of_network(task: Task, weights: Tree, stats: Tree, image: np.ndarray, title: str = "") -> "dict[str, Figure]":
    """Returns {name: figure}: what each layer makes of a picture, [H, W, C], and the filters of the first."""
    if task.pictures or not are_pictures(image[np.newaxis]):  # a network that reads features has nothing to look at
        return {}
    return of_layers(task.forward, weights, stats, image, title=title, class_names=task.splits.class_names)


def of_layers(
    forward: Inference, weights: Tree, stats: Tree, image: np.ndarray, *, title: str, class_names: Sequence[str]
) -> "dict[str, Figure]":
    """Returns {"layers": figure, "filters": figure}, those of them that there are; `forward` as in `Task`."""
    outputs = activations(forward, weights, stats, image[np.newaxis], preprocess=tf.convert_to_tensor)
    outputs = {name: y[0] for name, y in outputs.items()}
    drawn, (path, kernels) = {}, first_filters(weights, image.shape)
    if outputs:
        found = kernels_of(weights, outputs, image.shape)
        drawn["layers"] = plots.layers(image, outputs, found, title=title, class_names=class_names)
    if kernels is not None:
        drawn["filters"] = plots.titled(plots.filters(kernels, name=path), title)
    return drawn


def kernels_of(
    weights: Tree, layers: dict[str, np.ndarray], image_shape: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Returns {layer: [h, w, I, O]} of the layers that are one convolution, and of one that compares with templates."""
    leaves, found = tree.flatten(weights), {}
    first, templates = first_filters(weights, image_shape)
    for layer in layers:
        convolutions = [np.asarray(w) for path, w in leaves.items() if layer in path.split("/") and len(w.shape) == 4]
        if len(convolutions) == 1:
            found[layer] = convolutions[0]
        elif templates is not None and not convolutions and layer in first.split("/"):
            found[layer] = templates
    return found


def first_filters(weights: Tree, image_shape: tuple[int, int, int]) -> tuple[str, np.ndarray | None]:
    """Returns path and values, [h, w, C, O], of the first weight that reads pictures: of a convolution, or templates.

    An empty path where no weight does.
    """
    for path, leaf in tree.flatten(weights).items():
        if leaf.shape.rank == 4 and leaf.shape[2] == image_shape[2]:
            return path, np.asarray(leaf)
        if leaf.shape.rank == 2 and leaf.shape[0] == np.prod(image_shape):
            return path, np.asarray(leaf).reshape(*image_shape, -1)
    return "", None


def projected(task: Task, weights: Tree, stats: Tree) -> tuple[np.ndarray, list[str], np.ndarray | None] | None:
    """Returns what the Projector shows of the first validation examples: vectors, names, pictures or None.

    Vectors are what the last layer before the logits gives, [N, D]; None where the layers cannot be told.
    """
    rows = first_rows(task.splits.validation.labels, PROJECTED)
    images, labels = (array[rows] for array in task.splits.validation)
    one = functools.partial(tf.function(recorded(task.forward), autograph=False), weights, stats, training=False)
    layers = list(one(tf.constant(images[:1]))[0])
    if len(layers) < 2:
        return None

    def last_hidden(weights, stats, x, *, training):
        y = recorded(task.forward)(weights, stats, x, training=training)[0][layers[-2]]
        return tf.reduce_mean(y, list(range(1, y.shape.rank - 1))), stats

    traced = tf.function(last_hidden, autograph=False)
    y = training.predict(traced, weights, stats, images, batch_size=50, preprocess=tf.convert_to_tensor)
    names = [task.splits.class_names[label] for label in labels]
    pictures = (task.pictures or task.splits).validation.images[rows]
    return y, names, sprites(pictures) if are_pictures(pictures) else None


def sprites(images: np.ndarray) -> np.ndarray:
    """Returns small pictures in colour. [N, H, W, C] uint8 -> [N, h, w, 3] uint8, no side longer than SPRITE."""
    scale = min(1.0, SPRITE / max(images.shape[1:3]))
    sides = [max(1, round(side * scale)) for side in images.shape[1:3]]
    small = tf.image.resize(images, sides, "area").numpy().round().astype(np.uint8)
    return np.broadcast_to(small, [*small.shape[:3], 3])
