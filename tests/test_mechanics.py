"""The mechanics against TensorFlow and SciPy, and against published numbers."""

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


def test_touches_are_counted_window_by_window():
    for padding, zeros in (("VALID", 0), ("SAME", 1)):
        counts = np.zeros([5 + 2 * zeros, 7 + 2 * zeros])
        for i, j in np.ndindex(counts.shape[0] - 2, counts.shape[1] - 2):
            counts[i : i + 3, j : j + 3] += 1
        wanted = counts[zeros : zeros + 5, zeros : zeros + 7]
        np.testing.assert_array_equal(mechanics.touches((5, 7), (3, 3), padding), wanted)


def test_a_picture_of_4096_x_2160_has_26_542_080_inputs():
    inputs = 4096 * 2160 * 3
    assert inputs == 26_542_080 and mechanics.dense_parameters(inputs, 1) == 26_542_081
    assert mechanics.conv_parameters((3, 3), 3, 64) == 1792  # the first layer of VGG-16
    assert mechanics.dense_parameters(25_088, 4096) == 102_764_544  # and its first dense one


def test_lenet5_brings_784_numbers_to_120():
    """C1, C5 and F6 have the parameters that LeCun et al. publish; 61,706 is the usual count of the network today."""
    names = [layer.name for layer in mechanics.LENET5]
    stages = dict(zip(names, mechanics.stages((28, 28, 1), mechanics.LENET5)))
    assert stages == {
        "C1": ((28, 28, 6), 156, 5),
        "S2": ((14, 14, 6), 0, 6),
        "C3": ((10, 10, 16), 2_416, 14),
        "S4": ((5, 5, 16), 0, 16),
        "C5": ((1, 1, 120), 48_120, 32),
        "F6": ((1, 1, 84), 10_164, 32),
        "output": ((1, 1, 10), 850, 32),
    }
    assert sum(parameters for _, parameters, _ in stages.values()) == 61_706


def test_the_stages_are_what_the_layers_make(rng):
    x, shapes = rng.normal(size=[28, 28, 1]), []
    for layer in mechanics.LENET5:
        w = rng.normal(size=[layer.side, layer.side, x.shape[2], layer.channels or 1])
        x = mechanics.conv2d(x, w, layer.stride, layer.padding) if layer.channels else mechanics.avg_pool(x)
        shapes.append(x.shape)
    assert shapes == [shape for shape, _, _ in mechanics.stages((28, 28, 1), mechanics.LENET5)]


def test_the_receptive_field_is_what_a_gradient_reaches(rng):
    layers = [(3, 1), (2, 2), (5, 1), (3, 3), (3, 2)]  # side and stride of convolutions of ones
    x = tf.constant(np.ones([1, 60, 60, 1]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for side, stride in layers:
            y = tf.nn.conv2d(y, np.ones([side, side, 1, 1]), stride, "VALID")
        y = y[0, 1, 1, 0]
    reached = np.argwhere(tape.gradient(y, x)[0, ..., 0])
    assert np.ptp(reached[:, 0]) + 1 == np.ptp(reached[:, 1]) + 1 == mechanics.receptive_field(layers)
    assert mechanics.receptive_field([(3, 1), (3, 1)]) == 5
