"""Networks that learn with the mechanics alone, beside TensorFlow's GradientTape."""

import numpy as np
import pytest
import tensorflow as tf

from tfcore import mechanics


def forward(weights, x):
    """conv, relu, conv, relu, max pool, dense in NumPy. Returns the logits and what the way back needs."""
    hidden, slope1 = mechanics.relu(mechanics.conv2d(x, weights["conv1/w"]) + weights["conv1/b"])
    y, slope2 = mechanics.relu(mechanics.conv2d(hidden, weights["conv2/w"], padding="SAME") + weights["conv2/b"])
    pooled, places = mechanics.max_pool(y)
    logits = pooled.ravel() @ weights["dense/w"] + weights["dense/b"]
    return logits, (hidden, slope1, slope2, pooled, places)


def gradients(weights, x, label):
    """Returns the loss of an example and its gradients, by the chain rule."""
    logits, (hidden, slope1, slope2, pooled, places) = forward(weights, x)
    loss, d = mechanics.softmax_cross_entropy(logits, label)
    grads = {"dense/w": np.outer(pooled, d), "dense/b": d}
    dy = (weights["dense/w"] @ d).reshape(pooled.shape)
    dy = mechanics.max_pool_gradient(dy, places, slope2.shape) * slope2
    grads["conv2/b"] = dy.sum((0, 1))
    grads["conv2/w"], dy = mechanics.conv2d_gradients(hidden, weights["conv2/w"], dy, "SAME")
    dy *= slope1
    grads["conv1/b"] = dy.sum((0, 1))
    grads["conv1/w"] = mechanics.conv2d_gradients(x, weights["conv1/w"], dy)[0]
    return loss, grads


def loss_of(variables, x, label):
    """The same network in TensorFlow."""
    y = tf.nn.relu(tf.nn.conv2d(x[np.newaxis], variables["conv1/w"], 1, "VALID") + variables["conv1/b"])
    y = tf.nn.relu(tf.nn.conv2d(y, variables["conv2/w"], 1, "SAME") + variables["conv2/b"])
    y = tf.reshape(tf.nn.max_pool2d(y, 2, 2, "VALID"), [1, -1])
    logits = y @ variables["dense/w"] + variables["dense/b"]
    return tf.nn.sparse_softmax_cross_entropy_with_logits([label], logits)[0]


def test_a_network_trained_with_these_alone_is_the_one_of_gradient_tape(rng):
    shapes = {
        "conv1/w": [3, 3, 2, 3], "conv1/b": [3], "conv2/w": [3, 2, 3, 4], "conv2/b": [4],
        "dense/w": [36, 3], "dense/b": [3],
    }  # fmt: skip
    weights = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
    variables = {name: tf.Variable(w) for name, w in weights.items()}
    pictures, losses = rng.normal(size=[3, 8, 8, 2]), []
    for step in range(30):
        x, label = pictures[step % 3], step % 3
        loss, grads = gradients(weights, x, label)
        with tf.GradientTape() as tape:
            wanted = loss_of(variables, x, label)
        np.testing.assert_allclose(loss, wanted, rtol=0, atol=1e-9)
        for name, grad in tape.gradient(wanted, variables).items():
            assert np.abs(grad).max() > 0, f"{name} is not trained"
            variables[name].assign_sub(0.1 * grad)
            weights[name] = weights[name] - 0.1 * grads[name]
            np.testing.assert_allclose(weights[name], variables[name], rtol=0, atol=1e-9, err_msg=f"{step} {name}")
        losses.append(loss)
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])


# E and A


def accuracy(kernels, pictures, labels):
    return np.mean([mechanics.strongest(x, kernels)[0].argmax() for x in pictures] == labels)


def stroke_kernels():
    return np.stack([mechanics.VERTICAL_STROKE, mechanics.DIAGONAL_STROKE], axis=-1)[:, :, np.newaxis]


def test_letters_stand_anywhere_in_noise(rng):
    pictures, labels = mechanics.letters(rng, 60, size=12, noise=0.0)
    assert pictures.shape == (60, 12, 12, 1) and set(labels) == {0, 1}
    ink = {0: mechanics.E.sum(), 1: mechanics.A.sum()}
    assert [picture.sum() for picture in pictures] == [ink[label] for label in labels]
    assert len({tuple(np.argwhere(picture)[0]) for picture in pictures}) > 20  # the first dark pixel


def test_a_vertical_and_a_diagonal_kernel_tell_the_letters_apart(rng):
    for noise, least in ((0.0, 1.0), (0.1, 0.99), (0.3, 0.85)):
        assert accuracy(stroke_kernels(), *mechanics.letters(rng, 200, noise=noise)) >= least


def test_the_gradient_of_the_strongest_answer_is_that_of_gradient_tape(rng):
    (x,), (label,) = mechanics.letters(rng, 1)
    kernels = tf.constant(rng.normal(size=[3, 3, 1, 2]))
    with tf.GradientTape() as tape:
        tape.watch(kernels)
        answers = tf.reduce_max(tf.nn.conv2d(x[np.newaxis], kernels, 1, "VALID"), axis=(1, 2))
        wanted = tf.nn.sparse_softmax_cross_entropy_with_logits([label], answers)[0]
    loss, gradient = mechanics.strongest_gradients(x, label, kernels.numpy())
    np.testing.assert_allclose(loss, wanted, atol=1e-12)
    np.testing.assert_allclose(gradient, tape.gradient(wanted, kernels), atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kernels_learn_the_letters_from_noise(seed):
    rng = np.random.default_rng(seed)
    noise = 0.1 * rng.normal(size=[3, 3, 1, 2])
    losses, kernels = zip(*mechanics.learn(noise, *mechanics.letters(rng, 500)))
    others = mechanics.letters(np.random.default_rng(100 + seed), 200)
    assert accuracy(noise, *others) < 0.8 and accuracy(kernels[-1], *others) >= 0.95
    assert np.mean(losses[-50:]) < 0.5 * np.mean(losses[:50])
