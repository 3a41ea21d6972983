"""What logits say about a part of the data, as numbers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfcore import binary, metrics, training
from tfcore.data import Arrays
from tfcore.data.order import epoch_order, take
from tfcore.distribution import ALONE, Team
from tfcore.quiet import tf
from tfcore.run.blocks import Block, NotFinite
from tfcore.run.task import Task
from tfcore.types import Inference

BOXED = 32  # examples that a black box keeps of a part


def predictor(forward: Inference, image_shape: tuple[int, ...], team: Team = ALONE) -> Callable[..., np.ndarray]:
    """Returns predict(weights, stats, images) -> logits [N, C] in NumPy; `forward` and images as in `Task`.

    team: whose workers take a part of the images each; all of them get all logits.
    """
    size = max(min(2**22 // math.prod(image_shape), 500), 1)  # large pictures need no more memory
    traced = tf.function(forward, autograph=False)

    def predict(weights, stats, images):
        shared = len(images) >= team.workers
        mine = images[team.rows(len(images))] if shared and team.workers > 1 else images
        logits = training.predict(traced, weights, stats, mine, batch_size=size, preprocess=tf.convert_to_tensor)
        return team.joined(logits) if shared else logits

    return predict


def validation_part(part: Arrays, count: int, *, seed: int, epoch: int) -> Arrays:
    """Returns `count` examples of the part, other ones in each epoch; all of it where that is 0."""
    if not 0 < count < len(part.labels):
        return part
    rows = np.sort(epoch_order(seed + 1, epoch, len(part.labels))[:count])
    return Arrays._make(take(array, rows) for array in part)


def measure(task: Task, logits: np.ndarray, part: Arrays, when: str) -> dict[str, float]:
    """Returns {name: Python float}: loss, accuracy, of two classes those of `binary.measures`, and the task's own.

    Args:
      logits: [N, C] in NumPy.
      part: `Arrays` whose labels are [N].
      when: the words to begin an error with; the first is the part's name.
    Raises:
      NotFinite: the logits, or the loss, are not finite.
      ValueError: the task's measures are not numbers by name.
    """
    bad = ~np.isfinite(logits)
    if bad.any():
        raise _not_finite(f"{when}: {bad.sum():,} of {logits.size:,} logits are not finite", part, bad.any(1), when)
    values = training.summarize(logits, part.labels, loss=task.loss)
    if not np.isfinite(values["loss"]):
        raise _not_finite(f"{when}: the loss is {values['loss']}", part, np.ones(len(logits), bool), when)
    if logits.shape[-1] <= 2:
        values |= binary.measures(probabilities(logits), part.labels, class_names=task.splits.class_names)
    try:
        own = task.measures(logits, part.labels) if task.measures else {}
        return values | {str(name): float(value) for name, value in own.items()}
    except (TypeError, AttributeError) as error:
        raise ValueError(f"measures: it must return a dictionary of numbers by name ({error})") from None


def _not_finite(message, part, where, when):
    """Returns the NotFinite of the first of the examples `where` something is not finite."""
    rows = np.flatnonzero(where)[:BOXED]
    batch = Block(tf.constant(part.images[rows])[tf.newaxis], tf.constant(part.labels[rows])[tf.newaxis],
                  tf.zeros([1, len(rows), 0]))  # fmt: skip
    return NotFinite(message, batch=batch, loss=None, paths=["logits"], part=when.split()[0])


def of_classes(logits: np.ndarray, part: Arrays) -> dict[str, Any]:
    """Returns the top 3 accuracy, and per class precision, recall and confusion."""
    classes = max(logits.shape[-1], 2)
    confusion = metrics.confusion_matrix(part.labels, metrics.predicted(logits), classes)
    precision, recall = metrics.precision_recall(confusion)
    return {
        **({"top_3": metrics.top_k(logits, part.labels, 3)} if classes > 3 else {}),
        "precision": [round(float(p), 4) for p in precision],
        "recall": [round(float(r), 4) for r in recall],
        "confusion": confusion.tolist(),
    }


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the probability of class 1, [N], of logits [N, 1] or [N, 2]."""
    return metrics.probabilities(logits).numpy()[:, 1]
