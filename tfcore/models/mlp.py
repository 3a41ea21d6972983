"""The multi-layer perceptron: dense layers with an activation between them."""

import dataclasses
import itertools
import math
from collections.abc import Callable

from tfcore import settings
from tfcore.init import INITIALIZERS, fold_in
from tfcore.layers import dense, dense_init, dropout, flatten
from tfcore.quiet import tf
from tfcore.types import Array, Seed, Tensor, Tree


@dataclasses.dataclass(frozen=True)
class Config:
    """784-256-256-10 unless told otherwise.

    image_shape: (H, W, C) of a picture; the network reads it as H * W * C numbers.
    hidden: the width of each hidden layer.
    classes: the width of the logits.
    dropout: the drop probability after each hidden layer.
    init: the name of an initializer; "normal" is the MNIST post's N(0, 1) for weights and biases.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    hidden: tuple[int, ...] = (256, 256)
    classes: int = 10
    dropout: float = 0.0
    init: str = "he_normal"

    def __post_init__(self):
        """Raises ValueError: a setting is of another type or out of its range."""
        settings.integers("image_shape", self.image_shape, length=3)
        settings.integers("hidden", self.hidden)
        settings.integer("classes", self.classes)
        settings.fraction("dropout", self.dropout)
        settings.one_of("init", self.init, INITIALIZERS)


def fit(config: Config, *, image_shape: tuple[int, int, int], classes: int) -> Config:
    """Returns the configuration for other pictures and classes."""
    return dataclasses.replace(config, image_shape=(*image_shape,), classes=classes)


def init(seed: Seed, config: Config) -> tuple[Tree, Tree]:
    """Draws the weights: dense1, dense2, ..., logits. Returns weights, stats; stats is empty."""
    widths = [math.prod(config.image_shape), *config.hidden]
    weights = {}
    for i, (in_dim, out_dim) in enumerate(itertools.pairwise(widths), start=1):
        weights[f"dense{i}"] = dense_init(fold_in(seed, f"dense{i}"), in_dim, out_dim, init=config.init)
    weights["logits"] = dense_init(fold_in(seed, "logits"), widths[-1], config.classes, init=config.init)
    return weights, {}


def forward(
    config: Config, weights: Tree, stats: Tree, x: Array, *, training: bool, seed: Seed | None = None
) -> tuple[Tensor, Tree]:
    """Returns logits [N, classes] and `stats` unchanged.

    Args:
      weights: as `init` returns them; variables, tensors or arrays.
      x: [N, H, W, C] or [N, D] floating, where D = H * W * C.
      training: with a `seed`, dropout is on.
    """
    x = flatten(x)
    for i in range(1, len(config.hidden) + 1):
        with tf.name_scope(f"dense{i}"):
            x = tf.nn.relu(dense(weights[f"dense{i}"], x))
            mask = fold_in(seed, i) if training and seed is not None and config.dropout else None
            x = dropout(x, rate=config.dropout, seed=mask)
    return dense(weights["logits"], x, name="logits"), stats


def learns(config: Config) -> Callable[[str], bool]:
    """Returns the predicate of the weights that learn: all."""
    return lambda path: True
