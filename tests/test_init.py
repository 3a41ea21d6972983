"""Initializers against the distributions of their papers; seeds as pure values."""

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfcore import init

VARIANCES = {  # of a weight with i inputs and o outputs
    "he_normal": lambda i, o: 2 / i,
    "he_uniform": lambda i, o: 2 / i,
    "glorot_normal": lambda i, o: 2 / (i + o),
    "glorot_uniform": lambda i, o: 2 / (i + o),
    "lecun_normal": lambda i, o: 1 / i,
    "lecun_uniform": lambda i, o: 1 / i,
}
SHAPES = {"dense": ([200, 300], 200, 300), "conv": ([3, 5, 32, 64], 480, 960)}


def distribution(name, variance):
    """The distribution that the initializer draws from, by SciPy."""
    std = math.sqrt(variance)
    if name.endswith("uniform"):
        return scipy.stats.uniform(-std * math.sqrt(3), 2 * std * math.sqrt(3))
    return scipy.stats.truncnorm(-2, 2, scale=std / scipy.stats.truncnorm(-2, 2).std())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", VARIANCES)
def test_draws_follow_the_formula(name, shape):
    shape, i, o = SHAPES[shape]
    values = init.weight(name, 3, shape).numpy()
    wanted = distribution(name, VARIANCES[name](i, o))
    assert values.shape == tuple(shape) and values.dtype == np.float32
    assert values.std() == pytest.approx(math.sqrt(VARIANCES[name](i, o)), rel=0.01)
    assert values.mean() == pytest.approx(0, abs=5 * wanted.std() / math.sqrt(values.size))
    low, high = wanted.support()
    assert low * 1.000001 <= values.min() < 0.98 * low
    assert 0.98 * high < values.max() <= high * 1.000001
    assert scipy.stats.kstest(values.ravel(), wanted.cdf).pvalue > 1e-3


def test_normal_draws_weights_and_biases_of_unit_variance():
    values = init.weight("normal", 5, [200, 300]).numpy().ravel()
    assert scipy.stats.kstest(values, scipy.stats.norm.cdf).pvalue > 1e-3
    biases = init.bias("normal", 6, 20000).numpy()
    assert biases.shape == (20000,)
    assert scipy.stats.kstest(biases, scipy.stats.norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", [*VARIANCES, "zeros"])
def test_other_initializers_leave_biases_at_zero(name):
    biases = init.bias(name, 1, 7)
    assert biases.dtype == tf.float32 and biases.numpy().tolist() == [0.0] * 7


def test_zeros_are_zeros():
    assert not init.weight("zeros", 1, [4, 5]).numpy().any()


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="init='xavier' is not one of he_normal, he_uniform, glorot_normal"):
        init.weight("xavier", 0, [2, 2])


@pytest.mark.parametrize("name", [*VARIANCES, "normal"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_other_values(name):
    first, again, other = (init.weight(name, seed, [8, 9]).numpy() for seed in (11, 11, 12))
    assert first.tobytes() == again.tobytes()
    assert (first != other).all()


def test_a_seed_does_not_depend_on_the_global_generator():
    tf.random.set_seed(1)
    first = init.weight("normal", 4, [10] * 2).numpy()
    tf.random.set_seed(2)
    tf.random.normal([3])
    assert first.tobytes() == init.weight("normal", 4, [10] * 2).numpy().tobytes()


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (5, [0, 5]),
        (np.int64(5), [0, 5]),
        (3 * 2**32 + 5, [3, 5]),
        (2**32 - 1, [0, -1]),
        (-1, [-1, -1]),
        ([3, 5], [3, 5]),
        (np.array([3, 5]), [3, 5]),
        (tf.constant([3, 5]), [3, 5]),
        (tf.constant([3, 5], tf.int64), [3, 5]),
        (tf.constant(5), [0, 5]),
        (tf.constant(5, tf.int64), [0, 5]),
        (tf.Variable(5, dtype=tf.int64), [0, 5]),
    ],
    ids=repr,
)
def test_a_seed_is_an_integer_or_a_pair_in_any_form(seed, words):
    assert init.as_seed(seed).numpy().tolist() == words


@pytest.mark.parametrize("seed", [3 * 2**32 + 5, -1, 2**31], ids=str)
def test_an_int64_tensor_is_the_same_seed_as_the_python_number(seed):
    assert init.as_seed(tf.constant(seed, tf.int64)).numpy().tolist() == init.as_seed(seed).numpy().tolist()


@pytest.mark.parametrize(
    ("seed", "words"), [(1.5, r"float32\[\]"), ([1, 2, 3], r"int32\[3\]"), ([1.0, 2.0], r"float32\[2\]")], ids=str
)
def test_another_seed_is_refused(seed, words):
    with pytest.raises(ValueError, match="a seed is an integer or two integers, not " + words):
        init.as_seed(seed)


def test_fold_in_gives_different_values_for_different_paths_steps_and_seeds():
    paths = ["w", "b", "conv1", "conv2", "conv10", "dense1", "logits", 0, 1, 2, 100]
    seeds = {tuple(init.fold_in(seed, path).numpy().tolist()) for seed in (0, 1, 2**32) for path in paths}
    assert len(seeds) == 3 * len(paths)
    draws = [init.weight("normal", init.fold_in(0, path), [4, 4]).numpy() for path in paths]
    assert all((a != b).all() for i, a in enumerate(draws) for b in draws[:i])


def test_fold_in_is_a_pure_function_and_its_order_counts():
    assert init.fold_in(7, "a").numpy().tolist() == init.fold_in(7, "a").numpy().tolist()
    one, other = init.fold_in(init.fold_in(7, "a"), "b"), init.fold_in(init.fold_in(7, "b"), "a")
    assert one.numpy().tolist() != other.numpy().tolist()


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_fold_in_takes_a_number_and_a_tensor_alike(dtype):
    number = tf.random.stateless_uniform([4], init.fold_in(7, 3)).numpy()
    tensor = tf.random.stateless_uniform([4], init.fold_in(7, tf.constant(3, dtype))).numpy()
    assert number.tolist() == tensor.tolist()


def test_fold_in_is_the_same_in_a_graph_with_a_changing_step():
    step = tf.Variable(0, dtype=tf.int64)
    folded = tf.function(lambda: init.fold_in(7, step))
    graph, eager = [], []
    for _ in range(3):
        graph.append(folded().numpy().tolist())
        eager.append(init.fold_in(7, step).numpy().tolist())
        step.assign_add(1)
    assert graph == eager and len({tuple(seed) for seed in graph}) == 3
    assert folded.experimental_get_tracing_count() == 1
