"""Gradients of functions of trees: of weights, of a picture, of anything that is made of tensors."""

from tfcore.quiet import tf


def value_and_gradient(f, at):
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


def gradient(f, at):
    """Returns the gradient of f at `at` alone, as in `value_and_gradient`."""
    return value_and_gradient(f, at)[1]


def per_example(f, at, examples):
    """Returns the gradient of f(at, example) in `at` for each example: the structure of `at`, each leaf [N, ...].

    f is traced once and vectorized over the examples, so N of them cost little more than their sum.

    Args:
      f: (at, example) -> a scalar; `example` is a row of each array of `examples`.
      examples: arrays [N, ...], or a structure of them.
    """
    examples = tf.nest.map_structure(tf.convert_to_tensor, examples)
    return tf.vectorized_map(lambda example: gradient(lambda at: f(at, example), at), examples)
