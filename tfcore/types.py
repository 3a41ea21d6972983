"""The types that signatures name, for people and for type checkers; nothing is computed here."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from typing_extensions import TypeAliasType  # keeps its name in the reference; the statement `type` is of Python 3.12

from tfcore.quiet import tf

# What comes out of TensorFlow.
Tensor = TypeAliasType("Tensor", tf.Tensor)

# What goes in: variables, tensors and NumPy arrays are taken alike.
Array = TypeAliasType("Array", tf.Tensor | tf.Variable | np.ndarray)

# A nested dictionary of arrays, as in tfcore.tree: what a key leads to, a tree or an array, only its path says.
Tree = TypeAliasType("Tree", dict[str, Any])

# An array, or tuples, lists and dictionaries of them, as in tf.nest: a batch, for example.
Structure = TypeAliasType("Structure", Any)

# A Python integer, or two integers in an array [2].
Seed = TypeAliasType("Seed", int | Array)

# (logits [N, C], labels [N]) -> [N].
Loss = TypeAliasType("Loss", Callable[[Array, Array], Array])

# (weights, stats, batch, seed) -> loss, (metrics, new_stats).
LossFn = TypeAliasType("LossFn", Callable[[Tree, Tree, Structure, Seed], tuple[Tensor, tuple[dict[str, Tensor], Tree]]])

# A side, or a pair (height, width).
Size = TypeAliasType("Size", int | tuple[int, int])

# What tf.function makes, and what that makes of one signature.
Function = TypeAliasType("Function", tf.types.experimental.PolymorphicFunction | tf.types.experimental.ConcreteFunction)

# step -> the learning rate, a float32 scalar.
Schedule = TypeAliasType("Schedule", Callable[[Array], Tensor])

# A number, or a schedule.
LearningRate = TypeAliasType("LearningRate", float | Tensor | Schedule)


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
