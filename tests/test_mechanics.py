"""The mechanics against TensorFlow and SciPy, and a network that is trained with nothing else."""

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from tfcore import mechanics

WAYS = [(stride, padding) for stride in (1, 2, 3) for padding in ("VALID", "SAME")]


def picture_and_kernels(rng, size=(7, 6), kernel=(3, 2)):
    return rng.normal(size=[*size, 2]), rng.normal(size=[*kernel, 2, 4])


@pytest.mark.parametrize(("stride", "padding"), WAYS)
def test_three_ways_to_a_convolution_are_that_of_tensorflow(rng, stride, padding):
    x, w = picture_and_kernels(rng)
    wanted = tf.nn.conv2d(x[np.newaxis], w, stride, padding)[0]
    y = mechanics.conv2d(x, w, stride, padding)
    np.testing.assert_allclose(y, wanted, atol=1e-12)
    np.testing.assert_allclose(mechanics.conv2d_as_product(x, w, stride, padding), wanted, atol=1e-12)
    dense = mechanics.as_dense(w, x.shape, stride, padding)
    np.testing.assert_allclose(x.ravel() @ dense, y.ravel(), atol=1e-12)
    assert np.mean(dense == 0) > 0.7 and len(np.unique(dense)) <= w.size + 1  # sparse, and shared


def test_a_convolution_is_scipy_s_correlation(rng):
    x, w = rng.normal(size=[8, 9]), rng.normal(size=[3, 3])
    found = mechanics.conv2d(x[..., np.newaxis], w[..., np.newaxis, np.newaxis])[..., 0]
    np.testing.assert_allclose(found, scipy.signal.correlate2d(x, w, "valid"), atol=1e-12)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_the_gradients_of_a_convolution_are_convolutions(rng, padding):
    x, w = (tf.constant(part) for part in picture_and_kernels(rng))
    with tf.GradientTape() as tape:
        tape.watch([x, w])
        y = tf.nn.conv2d(x[tf.newaxis], w, 1, padding)[0]
        loss = tf.reduce_sum(tf.sin(y))
    dw, dx = mechanics.conv2d_gradients(x.numpy(), w.numpy(), np.cos(y), padding)
    for found, wanted in zip((dx, dw), tape.gradient(loss, [x, w])):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools_and_where_their_gradients_go(rng, kind):
    x, dy = tf.constant(rng.normal(size=[7, 6, 2])), rng.normal(size=[3, 3, 2])
    with tf.GradientTape() as tape:
        tape.watch(x)
        wanted = (tf.nn.max_pool2d if kind == "max" else tf.nn.avg_pool2d)(x[tf.newaxis], 2, 2, "VALID")[0]
    y, places = mechanics.max_pool(x.numpy()) if kind == "max" else (mechanics.avg_pool(x.numpy()), None)
    gradient = (
        mechanics.max_pool_gradient(dy, places, x.shape) if kind == "max" else mechanics.avg_pool_gradient(dy, x.shape)
    )
    np.testing.assert_allclose(y, wanted, atol=1e-12)
    np.testing.assert_allclose(gradient, tape.gradient(wanted, x, dy), atol=1e-12)


def test_edges_are_found_where_they_are():
    x = np.zeros([5, 6, 1])
    x[:, 3:] = 1  # bright from the fourth column on
    down, across = (
        mechanics.conv2d(x, kernel[..., np.newaxis, np.newaxis])[..., 0]
        for kernel in (mechanics.VERTICAL_EDGES, mechanics.HORIZONTAL_EDGES)
    )
    assert (down == [[0, 4, 4, 0]] * 3).all() and (across == 0).all()


def test_corners_are_seen_less_often():
    assert mechanics.touches((4, 4), (3, 3)).tolist() == [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]]
    same = mechanics.touches((4, 4), (3, 3), "SAME")
    assert same[0, 0] == 4 and same[1, 1] == 9


def test_the_numbers_of_the_posts():
    """A picture of 4096 x 2160 has 26,542,080 inputs; LeNet-5 brings 784 numbers to 120 with 32x32, 5x5 and pools."""
    inputs = 4096 * 2160 * 3
    assert inputs == 26_542_080 and mechanics.dense_parameters(inputs, 1) == 26_542_081
    assert mechanics.conv_parameters((3, 3), 3, 64) == 1792
    x = np.pad(np.zeros([28, 28, 1]), [(2, 2), (2, 2), (0, 0)])
    for channels in (6, 16, 120):
        x = mechanics.conv2d(x, np.zeros([5, 5, x.shape[2], channels]))
        x = mechanics.avg_pool(x) if channels < 120 else x
    assert x.shape == (1, 1, 120)
    assert mechanics.receptive_field([(5, 1), (2, 2), (5, 1), (2, 2), (5, 1)]) == 32
    assert mechanics.receptive_field([(3, 1), (3, 1)]) == 5


def forward(weights, x):
    """conv, relu, pool, dense in NumPy. Returns the logits and what the way back needs."""
    y = mechanics.conv2d(x, weights["conv"])
    y, slope = mechanics.relu(y)
    pooled, places = mechanics.max_pool(y)
    return pooled.ravel() @ weights["dense"], (slope, pooled, places, y.shape)


def gradients(weights, x, label):
    """Returns the loss of an example and its gradients, by the chain rule."""
    logits, (slope, pooled, places, shape) = forward(weights, x)
    loss, d = mechanics.softmax_cross_entropy(logits, label)
    back = mechanics.max_pool_gradient((weights["dense"] @ d).reshape(pooled.shape), places, shape)
    return loss, {"conv": mechanics.conv2d_gradients(x, weights["conv"], back * slope)[0], "dense": np.outer(pooled, d)}


def test_a_network_trained_with_these_alone_is_the_one_of_gradient_tape(rng):
    weights = {"conv": 0.5 * rng.normal(size=[3, 3, 1, 2]), "dense": 0.5 * rng.normal(size=[18, 3])}
    variables = {name: tf.Variable(w) for name, w in weights.items()}
    first = None
    for step in range(12):
        x, label = np.random.default_rng(step % 4).normal(size=[8, 8, 1]), step % 3
        loss, grads = gradients(weights, x, label)
        with tf.GradientTape() as tape:
            y = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x[np.newaxis], variables["conv"], 1, "VALID")), 2, 2, "VALID")
            logits = tf.reshape(y, [1, -1]) @ variables["dense"]
            wanted = tf.nn.sparse_softmax_cross_entropy_with_logits([label], logits)[0]
        for name, grad in tape.gradient(wanted, variables).items():
            variables[name].assign_sub(0.3 * grad)
            weights[name] = weights[name] - 0.3 * grads[name]
            np.testing.assert_allclose(weights[name], variables[name], atol=1e-10)
        np.testing.assert_allclose(loss, wanted, atol=1e-10)
        first = loss if first is None else first
    assert loss < first


E = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], np.float64)
A = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1]], np.float64)


def test_the_letters_e_and_a_are_told_apart_by_a_kernel_learned_from_noise(rng):
    """One kernel, the largest response, one threshold; noise at first, then gradient descent by the chain rule."""
    kernel, bias = 0.1 * rng.normal(size=[3, 3, 1, 1]), 0.0
    for _ in range(300):
        for letter, target in ((E, 1.0), (A, 0.0)):
            x = letter[..., np.newaxis]
            y = mechanics.conv2d(x, kernel)
            error = 1 / (1 + np.exp(-(y.max() + bias))) - target  # of a sigmoid and its cross-entropy
            dy = np.where(y == y.max(), error, 0.0)  # the pool sends it to the largest
            kernel = kernel - 0.3 * mechanics.conv2d_gradients(x, kernel, dy)[0]
            bias -= 0.3 * error
    scores = [mechanics.conv2d(letter[..., np.newaxis], kernel).max() + bias for letter in (E, A)]
    assert scores[0] > 2 and scores[1] < -2
