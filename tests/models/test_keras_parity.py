"""The same start and the same batches through Keras and through tfcore: the same losses."""

import keras
import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf

from tfcore import losses, training, tree
from tfcore.models import cnn, mlp
from tfcore.optimizers import adam

STEPS = 50


def keras_perceptron(config):
    x = inputs = keras.Input(config.image_shape)
    x = keras.layers.Flatten()(x)
    for width in config.hidden:
        x = keras.layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(config.classes)(x))


def keras_cnn(config):
    x = inputs = keras.Input(config.image_shape)
    for (filters,) in config.blocks:
        x = keras.layers.Conv2D(filters, 3, activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    for width in config.hidden:
        x = keras.layers.Dense(width)(x)
    return keras.Model(inputs, keras.layers.Dense(config.classes)(x))


def keras_cnn_with_batch_norm(config):
    x = inputs = keras.Input(config.image_shape)
    for (filters,) in config.blocks:
        x = keras.layers.Conv2D(filters, 3, use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-3)(x)
        x = keras.layers.MaxPooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.Flatten()(x)
    for width in config.hidden:
        x = keras.layers.Dense(width)(x)
    return keras.Model(inputs, keras.layers.Dense(config.classes)(x))


LINEAR = {"hidden_activation": "linear"}
PAIRS = {
    "perceptron": (mlp, mlp.Config((8, 8, 1)), keras_perceptron, 32),
    "fashion_cnn": (cnn, cnn.Config((12, 12, 1), **LINEAR), keras_cnn, 16),
    "cnn with batch norm": (
        cnn,
        cnn.Config((12, 12, 1), ((16,), (16,)), **LINEAR, batch_norm=True),
        keras_cnn_with_batch_norm,
        16,
    ),
}


def digits(size, batch_size):
    """STEPS batches of scikit-learn's handwritten digits, 8x8, with a border up to `size`."""
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    border = (size - 8) // 2
    images = np.pad(images.reshape(-1, 8, 8, 1) / 16, [(0, 0), (border, border), (border, border), (0, 0)])
    order = np.random.default_rng(1).permutation(len(labels))
    chosen = np.resize(order, [STEPS, batch_size])
    return tf.constant(images[chosen], tf.float32), tf.constant(labels[chosen], tf.int32)


def keras_losses(model, images, labels):
    """The loss of each step of Keras's Adam on its own cross-entropy."""
    optimizer = keras.optimizers.Adam(1e-3)
    cost = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = cost(y, model(x, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return [step(x, y).numpy() for x, y in zip(images, labels)]


def our_losses(model, config, state, optimizer, images, labels):
    def loss_fn(weights, stats, batch, seed):
        logits, new_stats = model.forward(config, weights, stats, batch[0], training=True, seed=seed)
        return tf.reduce_mean(losses.softmax_cross_entropy(logits, batch[1])), ({}, new_stats)

    @tf.function
    def step(x, y):
        return training.train_step(state, (x, y), 0, loss_fn=loss_fn, optimizer=optimizer)["loss"]

    return [step(x, y).numpy() for x, y in zip(images, labels)]


@pytest.mark.parametrize("name", PAIRS)
def test_fifty_steps_of_adam_give_the_losses_of_keras(name):
    model, config, build, batch_size = PAIRS[name]
    optimizer = adam(1e-3)
    state = training.init_state(*model.init(3, config), optimizer)
    reference = build(config)
    ours = tree.leaves(state.weights)  # kernel, then bias or scale and offset, layer by layer: the order of Keras
    assert [tuple(w.shape) for w in ours] == [tuple(v.shape) for v in reference.trainable_variables]
    for w, variable in zip(ours, reference.trainable_variables):
        variable.assign(w.numpy())
    images, labels = digits(config.image_shape[0], batch_size)
    wanted = keras_losses(reference, images, labels)
    found = our_losses(model, config, state, optimizer, images, labels)
    assert np.mean(wanted[-5:]) < 0.8 * np.mean(wanted[:5])  # it has learned, so later losses say something
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    for w, variable in zip(ours, reference.trainable_variables):
        np.testing.assert_allclose(w, variable.numpy(), rtol=1e-3, atol=1e-4)
    for s, variable in zip(tree.leaves(state.stats), reference.non_trainable_variables):
        np.testing.assert_allclose(s, variable.numpy(), rtol=1e-3, atol=1e-4)
    logits, _ = model.forward(config, state.weights, state.stats, images[0], training=False)
    np.testing.assert_allclose(logits, reference(images[0], training=False), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", PAIRS)
def test_keras_and_tfcore_count_the_same_parameters(name):
    model, config, build, _ = PAIRS[name]
    weights, stats = model.init(0, config)
    assert tree.count(weights) + tree.count(stats) == build(config).count_params()
