"""Every layer's output, of a forward pass that does not return it: as TensorFlow's own functions give it."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfcore.activations import activations
from tfcore.data.order import preprocess
from tfcore.layers import dense, dense_init
from tfcore.models import cnn, inception_v3, mlp


def test_the_layers_of_a_cnn_with_bias_relu_and_pool(rng):
    config = cnn.Config(image_shape=(9, 8, 2), blocks=((3, 4),), hidden=(5,), classes=3)
    weights, stats = cnn.init(0, config)
    x = rng.normal(size=[2, 9, 8, 2]).astype(np.float32)
    found = activations(functools.partial(cnn.forward, config), weights, stats, x)
    assert list(found) == ["conv1", "conv2", "dense1", "logits"]
    conv1 = tf.nn.relu(tf.nn.conv2d(x, weights["conv1"]["w"], 1, "VALID") + weights["conv1"]["b"])
    conv2 = tf.nn.relu(tf.nn.conv2d(conv1, weights["conv2"]["w"], 1, "VALID") + weights["conv2"]["b"])
    pooled = tf.nn.max_pool2d(conv2, 2, 2, "VALID")
    assert np.allclose(found["conv1"], conv1, atol=1e-5) and np.allclose(found["conv2"], pooled, atol=1e-5)
    logits, _ = cnn.forward(config, weights, stats, x, training=False)
    assert np.allclose(found["logits"], logits, atol=1e-5) and found["logits"].dtype == np.float32


def test_blocks_of_inception_are_its_endpoints(rng):
    config = inception_v3.Config(image_shape=(75, 75, 3), top=False, endpoint="mixed1")
    weights, stats = inception_v3.init(0, config)
    images = rng.integers(0, 256, [2, 75, 75, 3]).astype(np.uint8)
    found = activations(functools.partial(inception_v3.forward, config), weights, stats, images, preprocess=preprocess)
    wanted, _ = inception_v3.endpoints(config, weights, stats, preprocess(images), training=False)
    assert list(found) == list(wanted) == ["stem", "mixed0", "mixed1"]
    assert all(np.allclose(found[name], wanted[name], atol=1e-5) for name in found)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_anyones_layers_by_their_names_in_float32(dtype, rng):
    weights = tf.nest.map_structure(lambda w: tf.cast(w, dtype), {"a": dense_init(0, 4, 3), "b": dense_init(1, 3, 3)})

    def forward(weights, stats, x, *, training):
        x = tf.nn.tanh(dense(weights["a"], tf.cast(x, dtype), name="wide"))
        return dense(weights["b"], x, name="last"), stats

    found = activations(forward, weights, {}, rng.normal(size=[6, 4]))
    assert list(found) == ["wide", "last"] and all(y.shape == (6, 3) for y in found.values())
    assert {y.dtype for y in found.values()} == {np.dtype(np.float32)}


def test_a_traced_forward_shows_no_layers(rng):
    config = mlp.Config(image_shape=(2, 2, 1), hidden=(3,), classes=2)
    weights, stats = mlp.init(0, config)
    traced = tf.function(functools.partial(mlp.forward, config))
    assert activations(traced, weights, stats, rng.normal(size=[1, 4]).astype(np.float32)) == {}
