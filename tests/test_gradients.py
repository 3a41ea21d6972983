"""Gradients of functions of trees against calculus by hand, and their gradients in turn."""

import numpy as np
import pytest
import tensorflow as tf

from tfcore.gradients import gradient, per_example, value_and_gradient


def cubes(at):
    return tf.reduce_sum(at["a"]["w"] ** 3) * at["b"]


@pytest.mark.parametrize("kind", [tf.constant, tf.Variable, np.array])
def test_the_gradient_has_the_structure_of_the_tree(kind):
    value, grads = value_and_gradient(cubes, {"b": kind(2.0), "a": {"w": kind([1.0, -3.0])}})
    assert float(value) == -52 and list(grads) == ["b", "a"]
    assert grads["a"]["w"].numpy().tolist() == [6, 54] and float(grads["b"]) == -26


def test_a_gradient_has_a_gradient():
    second = gradient(lambda x: gradient(lambda x: tf.reduce_sum(x**3), x), tf.constant([1.0, -3.0]))
    third = gradient(lambda x: gradient(lambda x: gradient(lambda x: x**3, x), x), tf.constant(2.0))
    assert second.numpy().tolist() == [6, -18] and float(third) == 6


def test_what_f_does_not_depend_on_has_the_gradient_0():
    grads = gradient(lambda at: at["a"] ** 2, {"a": tf.constant(3.0), "b": tf.constant([1.0, 2.0])})
    assert float(grads["a"]) == 6 and grads["b"].numpy().tolist() == [0, 0]


def test_per_example_is_one_gradient_for_each(rng):
    w, x, y = rng.normal(size=3), rng.normal(size=[5, 3]), rng.normal(size=5)
    grads = per_example(lambda w, e: (tf.reduce_sum(w["w"] * e[0]) - e[1]) ** 2, {"w": tf.constant(w)}, (x, y))
    np.testing.assert_allclose(grads["w"], 2 * (x @ w - y)[:, None] * x, rtol=1e-12)
