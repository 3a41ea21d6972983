"""The types that signatures name, for people and for type checkers; nothing is computed here."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from typing_extensions import TypeAliasType  # keeps its name in the reference; the statement `type` is of Python 3.12

from tfcore.quiet import tf

Tensor = TypeAliasType("Tensor", tf.Tensor)
"""A tf.Tensor: what comes out."""

Array = TypeAliasType("Array", tf.Tensor | tf.Variable | np.ndarray)
"""What goes in: tensors, variables and NumPy arrays are taken alike."""

Tree = TypeAliasType("Tree", dict[str, Any])
"""A nested dictionary of arrays, as in tfcore.tree. Whether a key leads to a tree or to an array, its path says."""

Structure = TypeAliasType("Structure", Any)
"""An array, or tuples, lists and dictionaries of them, as in tf.nest: a batch, for example."""

Seed = TypeAliasType("Seed", int | Array)
"""An integer, or two integers in an array [2]."""

Size = TypeAliasType("Size", int | tuple[int, int])
"""A side, or a pair (height, width)."""

Loss = TypeAliasType("Loss", Callable[[Array, Array], Array])
"""(logits [N, C], labels [N]) -> [N]."""

LossFn = TypeAliasType("LossFn", Callable[[Tree, Tree, Structure, Seed], tuple[Tensor, tuple[dict[str, Tensor], Tree]]])
"""(weights, stats, batch, seed) -> loss, (metrics, new_stats)."""

Schedule = TypeAliasType("Schedule", Callable[[Array], Tensor])
"""step -> the learning rate, a float32 scalar."""

LearningRate = TypeAliasType("LearningRate", float | Tensor | Schedule)
"""A number, or a schedule."""

Function = TypeAliasType("Function", tf.types.experimental.PolymorphicFunction | tf.types.experimental.ConcreteFunction)
"""What tf.function makes, and what that makes of one signature."""


class Inference(Protocol):
    """A forward pass that is not asked for anything random: what evaluation and prediction call."""

    def __call__(self, weights: Tree, stats: Tree, x: Array, /, *, training: bool) -> tuple[Tensor, Tree]:
        """Returns logits [N, C] and the new stats."""
        ...


class Forward(Protocol):
    """A forward pass: a model's `forward` with its config bound."""

    def __call__(
        self, weights: Tree, stats: Tree, x: Array, /, *, training: bool, seed: Seed | None = None
    ) -> tuple[Tensor, Tree]:
        """Returns logits [N, C] and the new stats; with a seed, what is random in training is on."""
        ...
