"""Gradients of functions of trees: of weights, of a picture, of anything that is made of tensors."""

from collections.abc import Callable
from typing import Any

from tfcore.quiet import tf
from tfcore.types import Structure, Tensor


def value_and_gradient(f: Callable[[Any], Tensor], at: Structure) -> tuple[Tensor, Structure]:
    """Returns f(at) and its gradient there, in the structure of `at`; 0 where f does not depend on a leaf.

    Both are differentiable again, as often as you like: f may itself contain gradients.

    Args:
      f: (at) -> a tensor; of one that is no scalar, the gradient is that of the sum.
      at: a tensor, a variable, or a tree of them.
    """
    at = tf.nest.map_structure(tf.convert_to_tensor, at)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(at)
        value = f(at)
    return value, tape.gradient(value, at, unconnected_gradients="zero")


def gradient(f: Callable[[Any], Tensor], at: Structure) -> Structure:
    """Returns the gradient of f at `at` alone, as in `value_and_gradient`."""
    return value_and_gradient(f, at)[1]


def per_example(f: Callable[[Any, Any], Tensor], at: Structure, examples: Structure) -> Structure:
    """Returns the gradient of f(at, example) in `at` for each example: the structure of `at`, each leaf [N, ...].

    f is traced once and vectorized over the examples, so N of them cost little more than their sum.

    Args:
      f: (at, example) -> a scalar; `example` is a row of each array of `examples`.
      examples: arrays [N, ...], or a structure of them.
    """
    examples = tf.nest.map_structure(tf.convert_to_tensor, examples)
    return tf.vectorized_map(lambda example: gradient(lambda at: f(at, example), at), examples)
