"""Every layer against NumPy by hand and finite differences, and the properties that all layers share."""

import re
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from tfcore import check, layers

# The references: naive loops over NumPy arrays.


def windows(size, window, stride, padding):
    """For each output position along one axis: the pairs (index in the window, index in x) that lie inside x."""
    if padding == "VALID":
        outputs, before = len(range(0, size - window + 1, stride)), 0
    else:
        outputs = -(-size // stride)
        before = max((outputs - 1) * stride + window - size, 0) // 2
    starts = [i * stride - before for i in range(outputs)]
    return [[(a, start + a) for a in range(window) if 0 <= start + a < size] for start in starts]


def naive_conv2d(weights, x, stride=(1, 1), padding="SAME"):
    w = weights["w"]
    rows, columns = (windows(x.shape[d + 1], w.shape[d], stride[d], padding) for d in (0, 1))
    y = np.zeros([len(x), len(rows), len(columns), w.shape[3]])
    for n, i, j, o in np.ndindex(*y.shape):
        for a, r in rows[i]:
            for b, c in columns[j]:
                for channel in range(x.shape[3]):
                    y[n, i, j, o] += x[n, r, c, channel] * w[a, b, channel, o]
    return y + weights.get("b", 0)


def naive_pool(reduce, x, size, stride, padding):
    rows, columns = (windows(x.shape[d + 1], size[d], stride[d], padding) for d in (0, 1))
    y = np.zeros([len(x), len(rows), len(columns), x.shape[3]])
    for n, i, j, channel in np.ndindex(*y.shape):
        y[n, i, j, channel] = reduce([x[n, r, c, channel] for _, r in rows[i] for _, c in columns[j]])
    return y


def naive_batch_norm(weights, x, *, training, epsilon=1e-3):
    y = np.zeros_like(x)
    for channel in range(x.shape[-1]):
        values = x[..., channel]
        mean = values.mean() if training else weights["mean"][channel]
        variance = ((values - mean) ** 2).mean() if training else weights["variance"][channel]
        scale = weights["scale"][channel] if "scale" in weights else 1
        y[..., channel] = (values - mean) / np.sqrt(variance + epsilon) * scale + weights["offset"][channel]
    return y


# The table: each layer with its weights' shapes and an input's shape.


class Case(NamedTuple):
    apply: Callable  # (weights, x) -> y
    reference: Callable | None  # the same in NumPy
    weights: dict  # {name: shape}
    x: tuple  # shape


def conv(kernel, x, *, bias=True, **options):
    weights = {"w": (*kernel, x[-1], 2), **({"b": (2,)} if bias else {})}
    stride = options.get("stride", 1)
    pair = (stride, stride) if isinstance(stride, int) else stride
    padding = options.get("padding", "SAME")
    return Case(
        lambda weights, x: layers.conv2d(weights, x, **options),
        lambda weights, x: naive_conv2d(weights, x, pair, padding),
        weights,
        x,
    )


def pool(layer, reduce, x, size, stride, padding):
    def pair(value):
        return (value, value) if isinstance(value, int) else value

    return Case(
        lambda weights, x: layer(x, size=size, stride=stride, padding=padding),
        lambda weights, x: naive_pool(reduce, x, pair(size), pair(stride), padding),
        {},
        x,
    )


def norm(x, *, training, scale=True):
    def apply(weights, x):
        learned = {key: weights[key] for key in ("scale", "offset") if key in weights}
        return layers.batch_norm(learned, {key: weights[key] for key in ("mean", "variance")}, x, training=training)[0]

    names = ("scale", "offset", "mean", "variance") if scale else ("offset", "mean", "variance")
    return Case(apply, lambda w, x: naive_batch_norm(w, x, training=training), dict.fromkeys(names, x[-1:]), x)


CASES = {
    "dense": Case(layers.dense, lambda w, x: x @ w["w"] + w["b"], {"w": (5, 3), "b": (3,)}, (4, 5)),
    "dense without bias": Case(layers.dense, lambda w, x: x @ w["w"], {"w": (5, 3)}, (4, 5)),
    "conv same odd": conv((3, 3), (2, 5, 7, 3)),
    "conv same even": conv((3, 3), (2, 4, 6, 3)),
    "conv same even kernel": conv((2, 4), (2, 5, 6, 2)),
    "conv same stride 2 even": conv((3, 3), (2, 6, 4, 2), stride=2),
    "conv same stride 2 odd": conv((3, 3), (2, 7, 5, 2), stride=2),
    "conv same small image": conv((5, 5), (2, 2, 3, 2)),
    "conv valid": conv((3, 3), (2, 5, 6, 2), padding="VALID"),
    "conv valid stride 2 even": conv((3, 3), (2, 6, 8, 2), padding="VALID", stride=2),
    "conv valid stride 2 odd": conv((3, 3), (2, 7, 5, 2), padding="VALID", stride=2),
    "conv valid tall, strides 1 and 3": conv((3, 1), (2, 5, 8, 2), padding="VALID", stride=(1, 3)),
    "conv 1x7 same": conv((1, 7), (2, 3, 9, 2)),
    "conv 1x1 without bias": conv((1, 1), (2, 3, 4, 3), bias=False),
    "max pool even": pool(layers.max_pool, max, (2, 4, 6, 3), 2, 2, "VALID"),
    "max pool odd": pool(layers.max_pool, max, (2, 5, 7, 3), 2, 2, "VALID"),
    "max pool 3 stride 2 same": pool(layers.max_pool, max, (2, 6, 5, 2), 3, 2, "SAME"),
    "max pool 3 stride 1 same": pool(layers.max_pool, max, (2, 4, 5, 2), 3, 1, "SAME"),
    "max pool pairs": pool(layers.max_pool, max, (2, 5, 6, 2), (3, 2), (1, 2), "VALID"),
    "avg pool even": pool(layers.avg_pool, np.mean, (2, 4, 6, 3), 2, 2, "VALID"),
    "avg pool odd": pool(layers.avg_pool, np.mean, (2, 5, 7, 3), 2, 2, "VALID"),
    "avg pool 3 stride 1 same": pool(layers.avg_pool, np.mean, (2, 4, 5, 2), 3, 1, "SAME"),
    "avg pool 3 stride 2 same": pool(layers.avg_pool, np.mean, (2, 6, 5, 2), 3, 2, "SAME"),
    "global avg pool": Case(lambda w, x: layers.global_avg_pool(x), lambda w, x: x.mean((1, 2)), {}, (2, 3, 5, 4)),
    "flatten": Case(lambda w, x: layers.flatten(x), lambda w, x: x.reshape(len(x), -1), {}, (2, 3, 5, 4)),
    "batch norm training": norm((4, 3, 2, 3), training=True),
    "batch norm training, matrix": norm((7, 3), training=True),
    "batch norm training without scale": norm((4, 3, 2, 3), training=True, scale=False),
    "batch norm inference": norm((4, 3, 2, 3), training=False),
    "batch norm inference without scale": norm((7, 3), training=False, scale=False),
    "dropout": Case(lambda w, x: layers.dropout(x, rate=0.4, seed=3), None, {}, (4, 5)),
    "dropout off": Case(lambda w, x: layers.dropout(x, rate=0.4, seed=None), lambda w, x: x, {}, (4, 5)),
}
every_layer = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
WITH_RANDOM_MASK = CASES["dropout"]


def draw(case, rng, dtype=np.float64):
    """Random weights and x; a variance is positive, and no two values of x are so close that a maximum is unclear."""
    weights = {key: rng.normal(size=shape) for key, shape in case.weights.items()}
    if "variance" in weights:
        weights["variance"] = rng.uniform(0.5, 2, case.weights["variance"])
    x = rng.permutation(np.prod(case.x)).reshape(case.x) * 0.05 - 1 + rng.uniform(0, 0.01, case.x)
    return {key: value.astype(dtype) for key, value in weights.items()}, x.astype(dtype)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reference])
def test_layer_equals_numpy_by_hand(name, rng):
    case = CASES[name]
    weights, x = draw(case, rng)
    wanted = case.reference(weights, x)
    y = case.apply(weights, x).numpy()
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, rtol=1e-10, atol=1e-10)


@every_layer
def test_gradients_equal_finite_differences_in_weights_and_x(case, rng):
    weights, x = draw(case, rng)
    f = tf.function(lambda at: case.apply({key: at[key] for key in weights}, at["x"]), autograph=False)
    found = check.gradient(f, {**weights, "x": x}, entries=None, tolerance=1e-6)
    assert found, found


@every_layer
def test_layer_does_not_change_its_inputs(case, rng):
    weights, x = draw(case, rng, np.float32)
    variables = {key: tf.Variable(value) for key, value in weights.items()}
    given, x_given = dict(weights), x.copy()
    case.apply(weights, x)
    case.apply(variables, x)
    assert list(weights) == list(given) and all(weights[key] is given[key] for key in given)
    assert x.tobytes() == x_given.tobytes()
    before, _ = draw(case, np.random.default_rng(20240611), np.float32)
    for key, value in before.items():
        assert weights[key].tobytes() == value.tobytes() == variables[key].numpy().tobytes()


@every_layer
def test_variables_tensors_and_arrays_give_the_same_bits(case, rng):
    weights, x = draw(case, rng, np.float32)
    wanted = case.apply(weights, x).numpy()
    for kind in (tf.Variable, tf.constant):
        y = case.apply({key: kind(value) for key, value in weights.items()}, kind(x)).numpy()
        assert y.dtype == np.float32
        assert y.tobytes() == wanted.tobytes()


@every_layer
def test_layer_in_a_graph_of_unknown_sizes_equals_eager(case, rng):
    weights, x = draw(case, rng, np.float32)
    spec = tf.TensorSpec([None] * x.ndim, tf.float32)
    graph = tf.function(lambda x: case.apply(weights, x), input_signature=[spec])
    np.testing.assert_allclose(graph(x), case.apply(weights, x), rtol=1e-5, atol=1e-5)


@every_layer
def test_layer_compiles_with_xla_and_equals_eager(case, rng):
    weights, x = draw(case, rng, np.float32)
    y = tf.function(case.apply, jit_compile=True)(weights, tf.constant(x)).numpy()
    if case is WITH_RANDOM_MASK:  # XLA draws other bits, so only the values are compared
        assert np.all((y == 0) | np.isclose(y, x / 0.6))
    else:
        np.testing.assert_allclose(y, case.apply(weights, x), rtol=1e-5, atol=1e-5)


@every_layer
def test_bfloat16_stays_bfloat16_and_near_float32(case, rng):
    weights, x = draw(case, rng, np.float32)
    half = {key: tf.cast(value, tf.bfloat16) for key, value in weights.items()}
    if "offset" in weights:  # batch norm keeps float32 weights and statistics
        half = weights
    x = tf.cast(x, tf.bfloat16)
    y = case.apply(half, x)
    wanted = case.apply(weights, tf.cast(x, tf.float32)).numpy()
    assert y.dtype == tf.bfloat16
    if case is WITH_RANDOM_MASK:
        wanted = np.where(y.numpy() == 0, 0, x.numpy().astype(np.float32) / 0.6)
    np.testing.assert_allclose(tf.cast(y, tf.float32), wanted, rtol=0.02, atol=0.02 * abs(wanted).max())


# Errors, in the exact words.

X = np.zeros([2, 4, 5, 3], np.float32)
W = np.zeros([3, 3, 1, 64], np.float32)
OFFSET = {"offset": np.zeros([4], np.float32)}
STATS = {"mean": np.zeros([4], np.float32), "variance": np.ones([4], np.float32)}
ERRORS = {
    "conv1: x has 3 channels, w [3, 3, 1, 64] wants 1": lambda: layers.conv2d({"w": W}, X, name="conv1"),
    "conv2d: x has shape [4, 5, 3], conv2d wants [N, H, W, 1]": lambda: layers.conv2d({"w": W}, X[0]),
    "conv2: x is 2x5, smaller than the 3x3 window (padding VALID)": lambda: layers.conv2d(
        {"w": W}, X[:, :2, :, :1], padding="VALID", name="conv2"
    ),
    "dense1: x has 20 columns, w [784, 10] wants 784": lambda: layers.dense(
        {"w": np.zeros([784, 10], np.float32)}, np.zeros([2, 20], np.float32), name="dense1"
    ),
    "dense: x has shape [2, 4, 5, 3], dense wants [N, 60]: flatten it first": lambda: layers.dense(
        {"w": np.zeros([60, 10], np.float32)}, X
    ),
    "max_pool: x has shape [2, 4], a pool wants [N, H, W, C]": lambda: layers.max_pool(X[:, :, 0, 0]),
    "max_pool: x is 1x5, smaller than the 2x2 window (padding VALID)": lambda: layers.max_pool(X[:, :1]),
    "pool3: x is 4x2, smaller than the 3x3 window (padding VALID)": lambda: layers.avg_pool(
        X[:, :, :2], size=3, name="pool3"
    ),
    "global_avg_pool: x has shape [2, 4, 5], a pool wants [N, H, W, C]": lambda: layers.global_avg_pool(X[..., 0]),
    "norm: x has shape [2, 4, 5, 3], offset [4] wants 4 channels": lambda: layers.batch_norm(
        OFFSET, STATS, X, training=False, name="norm"
    ),
    "dropout: rate is 1.0, a drop probability is in [0, 1)": lambda: layers.dropout(X, rate=1.0, seed=1),
    "conv1: padding='same' is not one of SAME, VALID": lambda: layers.conv2d(
        {"w": W}, X[..., :1], padding="same", name="conv1"
    ),
    "max_pool: padding='same' is not one of SAME, VALID": lambda: layers.max_pool(X, padding="same"),
    "dense1: x is uint8, w is float32: preprocess(images) makes it floating": lambda: layers.dense(
        {"w": W[0, 0]}, np.zeros([2, 1], np.uint8), name="dense1"
    ),
    "dense: x is float64, w is float32: they must be alike": lambda: layers.dense({"w": W[0, 0]}, np.zeros([2, 1])),
    "conv2d: x is bool, w is float32: preprocess(images) makes it floating": lambda: layers.conv2d(
        {"w": W}, X[..., :1] > 0
    ),
    "conv2d: x is float32, w is bfloat16: they must be alike": lambda: layers.conv2d(
        {"w": tf.cast(W, tf.bfloat16)}, X[..., :1]
    ),
    "norm: x is uint8, offset is float32: preprocess(images) makes it floating": lambda: layers.batch_norm(
        OFFSET, STATS, np.zeros([2, 4], np.uint8), training=False, name="norm"
    ),
    "batch_norm: x is float64, offset is float32: they must be alike": lambda: layers.batch_norm(
        OFFSET, STATS, np.zeros([2, 4]), training=True
    ),
    "global_avg_pool: x is uint8: preprocess(images) makes it floating": lambda: layers.global_avg_pool(
        X.astype(np.uint8)
    ),
    "dropout: x is uint8: preprocess(images) makes it floating": lambda: layers.dropout(
        X.astype(np.uint8), rate=0.5, seed=None
    ),
    "drop2: rate is -0.1, a drop probability is in [0, 1)": lambda: layers.dropout(X, rate=-0.1, seed=1, name="drop2"),
}


@pytest.mark.parametrize("message", ERRORS)
def test_what_does_not_fit_is_refused_in_these_words(message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        ERRORS[message]()


@pytest.mark.parametrize("message", [key for key in ERRORS if "rate" not in key])
def test_the_graph_refuses_in_the_same_words(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tf.function(ERRORS[message], autograph=False)()


def test_a_window_as_large_as_the_image_fits():
    assert layers.conv2d({"w": np.ones([4, 5, 3, 1], np.float32)}, X, padding="VALID").shape == [2, 1, 1, 1]
    assert layers.max_pool(X, size=(4, 5)).shape == [2, 1, 1, 3]


def test_conv2d_is_the_cross_correlation_of_scipy(rng):
    x, w = rng.normal(size=[9, 8]), rng.normal(size=[3, 4])
    y = layers.conv2d({"w": w[:, :, None, None]}, x[None, :, :, None], padding="VALID").numpy()[0, :, :, 0]
    np.testing.assert_allclose(y, scipy.signal.correlate2d(x, w, mode="valid"), rtol=1e-10)


# The weights that the initializers return.


def test_dense_init_returns_float32_variables_of_these_shapes():
    weights = layers.dense_init(1, 20, 30)
    assert list(weights) == ["w", "b"]
    assert all(isinstance(v, tf.Variable) and v.dtype == tf.float32 and v.trainable for v in weights.values())
    assert weights["w"].shape == [20, 30] and weights["b"].shape == [30]
    assert not weights["b"].numpy().any() and weights["w"].numpy().any()


@pytest.mark.parametrize(("kernel", "size"), [(3, [3, 3]), ((1, 7), [1, 7])])
def test_conv2d_init_takes_a_size_or_a_pair(kernel, size):
    weights = layers.conv2d_init(1, kernel, 4, 6)
    assert list(weights) == ["w", "b"]
    assert weights["w"].shape == [*size, 4, 6] and weights["b"].shape == [6]
    assert list(layers.conv2d_init(1, kernel, 4, 6, bias=False)) == ["w"]


def test_he_normal_takes_the_field_of_the_kernel_into_account():
    assert layers.conv2d_init(2, 5, 32, 64)["w"].numpy().std() == pytest.approx((2 / (25 * 32)) ** 0.5, rel=0.02)
    assert layers.dense_init(2, 400, 100)["w"].numpy().std() == pytest.approx((2 / 400) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    "make",
    [lambda s: layers.dense_init(s, 5, 5, init="normal"), lambda s: layers.conv2d_init(s, 1, 5, 5, init="normal")],
    ids=["dense", "conv2d"],
)
def test_weights_are_a_function_of_the_seed_and_normal_draws_biases(make):
    first, again, other = make(1), make(1), make(2)
    for key in ("w", "b"):
        assert first[key].numpy().tobytes() == again[key].numpy().tobytes()
        assert (first[key].numpy() != other[key].numpy()).all()
    assert not np.isin(first["b"].numpy(), first["w"].numpy()).any()


# Batch norm.


def test_batch_norm_init_is_the_identity_of_unit_statistics():
    weights, stats = layers.batch_norm_init(3)
    assert {key: v.numpy().tolist() for key, v in weights.items()} == {"scale": [1.0] * 3, "offset": [0.0] * 3}
    assert {key: v.numpy().tolist() for key, v in stats.items()} == {"mean": [0.0] * 3, "variance": [1.0] * 3}
    assert all(v.trainable for v in weights.values()) and not any(v.trainable for v in stats.values())
    assert list(layers.batch_norm_init(3, scale=False)[0]) == ["offset"]


@pytest.mark.parametrize("shape", [(8, 5, 6, 3), (16, 3)], ids=["images", "matrix"])
def test_batch_norm_equals_keras_in_training_and_inference(shape, rng):
    reference = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    reference.build(shape)
    scale, offset = rng.uniform(0.5, 2, 3).astype(np.float32), rng.normal(size=3).astype(np.float32)
    reference.gamma.assign(scale)
    reference.beta.assign(offset)
    weights, (_, stats) = {"scale": scale, "offset": offset}, layers.batch_norm_init(3)
    for _ in range(5):
        x = (rng.normal(size=shape) * [1, 2, 3] + [0, 1, -2]).astype(np.float32)
        y, stats = layers.batch_norm(weights, stats, x, training=True, decay=0.9)
        np.testing.assert_allclose(y, reference(x, training=True), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stats["mean"], reference.moving_mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stats["variance"], reference.moving_variance, rtol=1e-5, atol=1e-6)
    y, kept = layers.batch_norm(weights, stats, x, training=False)
    np.testing.assert_allclose(y, reference(x, training=False), rtol=1e-4, atol=1e-5)
    assert kept is stats


def test_batch_norm_moves_the_averages_by_the_biased_moments(rng):
    x = rng.normal(3, 2, size=[6, 2, 2, 1]).astype(np.float32)
    weights, stats = layers.batch_norm_init(1)
    _, moved = layers.batch_norm(weights, stats, x, training=True, decay=0.75)
    np.testing.assert_allclose(moved["mean"], [0.25 * x.mean()], rtol=1e-5)
    np.testing.assert_allclose(moved["variance"], [0.75 + 0.25 * x.var()], rtol=1e-5)
    assert stats["mean"].numpy() == 0 and stats["variance"].numpy() == 1


@pytest.mark.parametrize("mean", [0.0, 3.0, 30.0], ids=lambda mean: f"mean {mean:g}")
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_batch_norm_of_bfloat16_is_right_to_its_last_places(training, mean, rng):
    x = tf.cast(rng.normal(mean, 1, size=[500, 4]), tf.bfloat16)
    exact = tf.cast(x, tf.float64).numpy()
    weights, (_, stats) = layers.batch_norm_init(4)[0], layers.batch_norm_init(4)
    if not training:
        stats = {"mean": exact.mean(0).astype(np.float32), "variance": exact.var(0).astype(np.float32)}
    y, new_stats = layers.batch_norm(weights, stats, x, training=training)
    assert y.dtype == tf.bfloat16
    assert all(value.dtype == tf.float32 for value in new_stats.values())
    wanted = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-3)
    np.testing.assert_allclose(tf.cast(y, tf.float64), wanted, rtol=2**-7, atol=2**-7)


def test_batch_norm_takes_the_moments_of_bfloat16_in_float32(rng):
    x = tf.cast(rng.uniform(0, 1, size=[4000, 1]), tf.bfloat16)  # a bfloat16 sum would stop growing at 256
    weights, stats = layers.batch_norm_init(1)
    _, moved = layers.batch_norm(weights, stats, x, training=True, decay=0.0)
    np.testing.assert_allclose(moved["mean"], [tf.cast(x, tf.float64).numpy().mean()], rtol=1e-5)


def norm_inputs(rng, *, scale, dtype=np.float32):
    """Weights, stats and x [3, 4, 2, 5], every channel with a mean and a spread of its own."""
    weights = {"offset": rng.normal(size=5).astype(dtype)}
    if scale:
        weights["scale"] = rng.uniform(0.5, 2, 5).astype(dtype)
    stats = {"mean": rng.normal(size=5).astype(dtype), "variance": rng.uniform(0.5, 2, 5).astype(dtype)}
    x = rng.normal(size=[3, 4, 2, 5]) * [0.5, 1, 2, 3, 0.01] + [0, 1, -2, 5, 0]
    return weights, stats, x.astype(dtype)


def norm_gradients(weights, stats, x, direction):
    """y, the new stats, and the gradients of sum(y direction) in the weights and x."""
    tensors = {**{key: tf.convert_to_tensor(value) for key, value in weights.items()}, "x": tf.convert_to_tensor(x)}
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y, new_stats = layers.batch_norm({k: tensors[k] for k in weights}, stats, tensors["x"], training=True)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * direction)
    return y, new_stats, tape.gradient(loss, tensors)


with_and_without_scale = pytest.mark.parametrize("scale", [True, False], ids=["scale", "no scale"])


@with_and_without_scale
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16], ids=["float32", "bfloat16"])
def test_fused_batch_norm_equals_numpy_in_y_and_in_the_biased_moments(scale, dtype, rng):
    weights, stats, x = norm_inputs(rng, scale=scale)
    x = tf.cast(x, dtype)
    exact = tf.cast(x, tf.float64).numpy()
    y, moved = layers.batch_norm(weights, stats, x, training=True, decay=0.0)
    assert y.dtype == dtype and all(value.dtype == tf.float32 for value in moved.values())
    places = 1e-5 if dtype == tf.float32 else 2**-7
    wanted = naive_batch_norm(weights, exact, training=True)
    np.testing.assert_allclose(tf.cast(y, tf.float64), wanted, rtol=places, atol=places)
    np.testing.assert_allclose(moved["mean"], exact.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved["variance"], exact.var((0, 1, 2)), rtol=1e-4)


def test_batch_norm_of_pictures_in_training_is_one_kernel(rng):
    weights, stats, x = norm_inputs(rng, scale=True)

    def kernels(x, training):
        wide = tf.float64 if x.dtype == tf.float64 else tf.float32
        w, s = ({key: tf.cast(leaf, wide) for key, leaf in part.items()} for part in (weights, stats))
        graph = tf.function(lambda x: layers.batch_norm(w, s, x, training=training)).get_concrete_function(x)
        return [op.type for op in graph.graph.get_operations() if op.type.startswith("FusedBatchNorm")]

    assert kernels(tf.constant(x), True) == kernels(tf.cast(x, tf.bfloat16), True) == ["FusedBatchNormV3"]
    for other in (tf.constant(x[0, 0]), tf.cast(x, tf.float64), tf.cast(x, tf.float16)):
        assert kernels(other, True) == []
    assert kernels(tf.constant(x), False) == []


@with_and_without_scale
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "xla"])
def test_fused_batch_norm_equals_the_general_path_on_a_matrix(scale, jit, rng):
    weights, stats, x = norm_inputs(rng, scale=scale)
    direction = rng.normal(size=x.shape).astype(np.float32)
    function = tf.function(norm_gradients, jit_compile=True) if jit else norm_gradients
    y, moved, grads = function(weights, stats, tf.constant(x), tf.constant(direction))
    flat_y, flat_moved, flat_grads = norm_gradients(weights, stats, x.reshape(-1, 5), direction.reshape(-1, 5))
    np.testing.assert_allclose(y, tf.reshape(flat_y, x.shape), rtol=1e-4, atol=1e-5)
    for key in moved:
        np.testing.assert_allclose(moved[key], flat_moved[key], rtol=1e-4, atol=1e-6, err_msg=key)
    assert grads.keys() == flat_grads.keys() == {*weights, "x"}
    for key, g in grads.items():
        np.testing.assert_allclose(np.ravel(g), np.ravel(flat_grads[key]), rtol=1e-3, atol=1e-3, err_msg=key)


def finite_differences(f, array, step=1e-6):
    """The gradient of the scalar f() in each entry of `array`, which is changed in place and restored."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(*array.shape):
        kept = array[index]
        array[index] = kept + step
        above = f()
        array[index] = kept - step
        gradient[index] = (above - f()) / (2 * step)
        array[index] = kept
    return gradient


@with_and_without_scale
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["fused", "general"])
def test_batch_norm_gradients_equal_finite_differences_of_numpy(scale, dtype, rng):
    """The reference is NumPy by hand in float64, also for the kernel in float32."""
    weights, stats, x = norm_inputs(rng, scale=scale, dtype=np.float64)
    x[..., 4] *= 50  # where all values are alike, 1 / sqrt(variance) bends too much for float32
    direction = rng.normal(size=x.shape)
    arrays = {**weights, "x": x}

    def loss():
        return np.sum(naive_batch_norm(weights, x, training=True) * direction)

    wanted = {key: finite_differences(loss, array) for key, array in arrays.items()}
    _, _, found = norm_gradients(
        {key: value.astype(dtype) for key, value in weights.items()}, stats, x.astype(dtype), direction.astype("f")
    )
    places = 1e-4 if dtype == np.float32 else 1e-6
    for key, g in found.items():
        np.testing.assert_allclose(g, wanted[key], rtol=places, atol=places, err_msg=key)


@with_and_without_scale
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "xla"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16], ids=["float32", "bfloat16"])
def test_batch_norm_of_a_single_pixel_is_finite(scale, jit, dtype, rng):
    """Its variance is 0: y is the offset, no gradient reaches x."""
    weights, stats, x = norm_inputs(rng, scale=scale)
    x = tf.cast(x[:1, :1, :1], dtype)
    function = tf.function(norm_gradients, jit_compile=True) if jit else norm_gradients
    y, moved, grads = function(weights, stats, x, tf.ones_like(x, tf.float32))
    np.testing.assert_allclose(tf.cast(y, tf.float32)[0, 0, 0], weights["offset"], rtol=2**-7)
    np.testing.assert_allclose(moved["variance"], 0.99 * stats["variance"], rtol=1e-5)
    mean = 0.99 * stats["mean"] + 0.01 * tf.cast(x, tf.float32).numpy().ravel()
    np.testing.assert_allclose(moved["mean"], mean, rtol=1e-4)
    assert all(np.isfinite(tf.cast(g, tf.float32)).all() for g in grads.values())
    np.testing.assert_allclose(tf.cast(grads["x"], tf.float32), 0, atol=1e-3)


# Dropout.


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "xla"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_the_fraction_and_scales_the_rest(rate, jit):
    n = 40000
    x = np.arange(1, n + 1, dtype=np.float32)

    def drop():
        return layers.dropout(x, rate=rate, seed=5)

    y = (tf.function(drop, jit_compile=True) if jit else drop)().numpy()
    dropped = y == 0
    assert dropped.mean() == pytest.approx(rate, abs=5 * (rate * (1 - rate) / n) ** 0.5)
    np.testing.assert_allclose(y[~dropped], x[~dropped] / (1 - rate), rtol=1e-6)
    both = (dropped[1:] & dropped[:-1]).mean()  # neighbours are dropped independently
    assert both == pytest.approx(rate**2, abs=0.02)


def test_dropout_is_a_function_of_the_seed_and_not_of_the_values():
    ones, twos = np.ones([50, 20], np.float32), np.full([50, 20], 2, np.float32)
    first = layers.dropout(ones, rate=0.5, seed=[1, 2]).numpy()
    assert first.tobytes() == layers.dropout(ones, rate=0.5, seed=tf.constant([1, 2])).numpy().tobytes()
    assert (2 * first == layers.dropout(twos, rate=0.5, seed=[1, 2]).numpy()).all()
    assert (first != layers.dropout(ones, rate=0.5, seed=[1, 3]).numpy()).mean() > 0.3


@pytest.mark.parametrize(("rate", "seed"), [(0.5, None), (0.0, 3), (0.0, None)])
def test_dropout_without_a_seed_or_a_rate_is_the_identity(rate, seed, rng):
    x = rng.normal(size=[5, 4]).astype(np.float32)
    assert layers.dropout(x, rate=rate, seed=seed).numpy().tobytes() == x.tobytes()


def test_flatten_of_a_vector_is_a_column_and_of_an_empty_batch_is_empty():
    assert layers.flatten(np.zeros([3])).shape == [3, 1]
    assert layers.flatten(np.zeros([0, 4, 5, 2])).shape == [0, 40]
    spec = tf.TensorSpec([None, 4, 5, 2], tf.float32)
    assert tf.function(layers.flatten, input_signature=[spec]).get_concrete_function().output_shapes.as_list() == [
        None,
        40,
    ]


def test_names_label_the_operations():
    graph = (
        tf.function(lambda x: layers.conv2d({"w": W}, x, name="conv1"))
        .get_concrete_function(tf.TensorSpec([2, 4, 5, 1]))
        .graph
    )
    assert any(
        operation.type == "Conv2D" and operation.name.startswith("conv1/") for operation in graph.get_operations()
    )
