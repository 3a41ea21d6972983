"""What a run trains, as a value that anyone can make."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from tfcore import training
from tfcore.data import Splits
from tfcore.optimizers import Optimizer
from tfcore.training import TrainState
from tfcore.types import Array, Forward, Inference, LearningRate, Loss, LossFn, Seed, Structure, Tensor, Tree


@dataclasses.dataclass(frozen=True, repr=False)
class Task:
    """Data, network, loss and optimizer; the first five fields are enough.

    splits: a `tfcore.data.Splits`: images of any dtype, labels [N] integers, three parts and the classes' names.
    init: (seed) -> weights, stats: dictionaries of variables; stats may be empty.
    forward: (weights, stats, images, *, training, seed=None) -> logits [N, C], new_stats; images as they are stored.
    loss: (logits, labels) -> [N], reported, and its mean minimized; None where `loss_fn` says what is minimized and
      the cross-entropy that fits the logits is reported.
    optimizer: a `tfcore.optimizers.Optimizer`: init(weights) -> slots, update(weights, grads, slots, step). Where its
      slots hold "average", that is what is validated, tested and exported.
    name: of what is trained, for people.
    config: JSON values that say what the functions above do; a run with another config is another run.
    learns: (path) -> whether a weight learns; the others are frozen.
    augment: (images [N, ...], draws [N, 9] in -1 .. 1) -> images: changes training images, in the graph.
    measures: (logits [N, C], labels [N]) -> {name: number}: more measures of a whole part, beside loss and accuracy.
    loss_fn: what is minimized where a loss per example is not enough, as `training.train_step` takes it.
    test_forward: takes the place of `forward` in the test, such as a mean over views of a picture.
    learning_rate: a number or a schedule, for its curve only.
    pictures: `Splits` with as many examples of validation and test in the same order, to be looked at where the images
      themselves are features.

    Raises:
      ValueError: a field is not what it should be; it is named.
    """

    splits: Splits
    init: Callable[[Seed], tuple[Tree, Tree]]
    forward: Forward
    loss: Loss | None
    optimizer: Optimizer
    name: str = "task"
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    learns: Callable[[str], bool] = lambda path: True
    augment: Callable[[Array, Tensor], Tensor] | None = None
    measures: Callable[[np.ndarray, np.ndarray], dict[str, float]] | None = None
    loss_fn: LossFn | None = None
    test_forward: Inference | None = None
    learning_rate: LearningRate | None = None
    pictures: Splits | None = None

    def __post_init__(self):
        if not self.loss and not self.loss_fn:
            raise ValueError("task: it has neither loss nor loss_fn, so there is nothing to minimize")
        for name in ("init", "forward", "learns", "loss", "augment", "measures", "loss_fn", "test_forward"):
            value = getattr(self, name)
            if not callable(value) and (value is not None or name in ("init", "forward", "learns")):
                raise ValueError(f"task: {name} is {value!r}, not a function")
        if not all(callable(getattr(self.optimizer, part, None)) for part in Optimizer._fields):
            raise ValueError("task: optimizer must be an Optimizer(init, update), such as optimizers.adam()")
        try:
            json.dumps(self.config, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"task: config must be made of JSON values ({error})") from None

    def __repr__(self):
        return f"Task({self.name}, {self.splits!r})"


def loss_fn_of(task: Task) -> LossFn:
    """Returns loss_fn(weights, stats, (images, labels), seed) -> loss, (metrics, new_stats), for `train_step`."""
    return task.loss_fn or training.mean_loss(task.forward, task.loss)  # type: ignore[arg-type]  # it has one of them


def metric_names(task: Task, state: TrainState, batch: Structure) -> tuple[str, ...]:
    """Returns the names of the metrics that a step of `task` reports beside the loss. batch: tf.TensorSpecs."""
    return training.metric_names(task.loss_fn, state, batch, 0) if task.loss_fn else ("accuracy",)
