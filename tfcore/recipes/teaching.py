"""Distillation: a run that learns what a trained network says of each picture (Hinton et al., arXiv:1503.02531).

Both see the same picture, however augmentation has changed it (Beyer et al., arXiv:2106.05237).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tfcore import losses, metrics, run, tree
from tfcore.data.splits import Splits
from tfcore.quiet import tf
from tfcore.recipes.assemble import TEMPERATURE, make_forward, on_this_processor
from tfcore.recipes.finished import load_run
from tfcore.types import Array, Tensor


class Teacher(NamedTuple):
    """A trained network that says what a picture shows.

    says: images [N, H, W, C], as stored -> logits [N, classes].
    temperature: that its logits, and those of who learns from it, are divided by: a higher one tells more of the
      unlikely classes.
    config: JSON values that tell it from other teachers; they make a run that learns from it another one.
    """

    says: Callable[[Array], Tensor]
    temperature: float
    config: dict[str, Any]


def load_teacher(run_dir: str | Path, splits: Splits, *, temperature: float = TEMPERATURE) -> Teacher:
    """Returns the network of a run as a teacher. It says what it says of one picture: no mean over views.

    Raises:
      ValueError: it is of other classes or of pictures of another size; `temperature` is not above 0. Else as
        `load_run`.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above 0")
    recipe, weights, stats, facts = load_run(run_dir)
    shape, wanted = tuple(recipe.model.image_shape), tuple(splits.train.images.shape[1:])
    if (shape, facts["class_names"]) != (wanted, list(splits.class_names)):
        raise ValueError(
            f"teacher={run_dir} tells {', '.join(facts['class_names'][:3])}, ... in pictures of {shape}, "
            f"the set has {', '.join(splits.class_names[:3])}, ... in pictures of {wanted}"
        )
    forward = make_forward(on_this_processor(recipe))
    digest = tree.digest({"weights": weights, "stats": stats})
    weights, stats = tree.map(tf.constant, weights), tree.map(tf.constant, stats)
    return Teacher(
        lambda images: forward(weights, stats, images, training=False)[0],
        temperature,
        {"digest": digest, "recipe": recipe.name, "temperature": temperature},
    )


def taught(task: run.Task, teacher: Teacher) -> run.Task:
    """Returns the task that minimizes T^2 times the cross-entropy to the teacher's word, both at its temperature T.

    It reports the task's own loss and accuracy, as validation and test do; a label smoothing has no part in it.

    Raises:
      ValueError: the task has no loss to report, but a `loss_fn` alone.
    """
    if task.loss is None:
        raise ValueError("taught: the task has a loss_fn alone; its `loss` is what is reported beside the teacher's")
    loss, t = task.loss, teacher.temperature

    def loss_fn(weights, stats, batch, seed):
        images, labels = batch
        logits, new_stats = task.forward(weights, stats, images, training=True, seed=seed)
        says = teacher.says(images) / t
        if logits.shape[-1] == 1:
            values = losses.sigmoid_cross_entropy(logits / t, tf.sigmoid(says))
        else:
            values = losses.softmax_cross_entropy(logits / t, tf.nn.softmax(says))
        reported = {"loss": tf.reduce_mean(loss(logits, labels)), "accuracy": metrics.accuracy(logits, labels)}
        return t**2 * tf.reduce_mean(values), (reported, new_stats)

    return dataclasses.replace(task, loss_fn=loss_fn, config={**task.config, "teacher": teacher.config})
