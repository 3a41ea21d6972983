"""MAML: weights from which a few gradient steps on a few examples go far (Finn et al., arXiv:1703.03400).

python examples/maml.py

It learns on the digits 0 to 6, in tasks of three kinds with five pictures each, and is tested on 7, 8 and 9.
"""

import functools

import numpy as np

from tfcore import losses, metrics, optimizers, training, tree
from tfcore.data import load, preprocess
from tfcore.gradients import gradient
from tfcore.models import mlp
from tfcore.quiet import tf

CLASSES, SHOTS, QUERIES, STEPS, RATE = 3, 5, 10, 3, 0.1
config = mlp.Config(hidden=(64,), classes=CLASSES)
forward = functools.partial(mlp.forward, config, training=True)


def loss(weights, images, labels):
    return tf.reduce_mean(losses.softmax_cross_entropy(forward(weights, {}, images)[0], labels))


def adapted(weights, images, labels):
    """A few steps of gradient descent, as a function of the weights: it has a gradient itself."""
    for _ in range(STEPS):
        grads = gradient(lambda w: loss(w, images, labels), weights)
        weights = tree.map(lambda w, g: w - RATE * g, weights, grads)
    return weights


def draw(rng, pictures, digits):
    """A task: support and query pictures of three kinds; a kind is a digit, turned by 0, 90, 180 or 270 degrees."""
    parts = []
    for kind in rng.choice(len(digits) * 4, CLASSES, replace=False):
        rows = rng.choice(np.flatnonzero(pictures.labels == digits[kind // 4]), SHOTS + QUERIES, replace=False)
        parts.append(preprocess(np.rot90(pictures.images[rows], kind % 4, axes=(1, 2))))
    return [(np.concatenate(x), np.arange(CLASSES).repeat(x.shape[1])) for x in np.split(np.stack(parts), [SHOTS], 1)]


def loss_fn(weights, stats, tasks, seed):
    """The loss on other pictures of each task, after the steps: its gradient goes through their gradients."""
    return tf.reduce_mean([loss(adapted(weights, *support), *query) for support, query in tasks]), ({}, stats)


if __name__ == "__main__":
    rng, data, optimizer = np.random.default_rng(0), load("digits"), optimizers.adam(1e-3)
    state = training.init_state(*mlp.init(0, config), optimizer)
    fresh = tree.variables(state.weights)
    step = tf.function(lambda tasks: training.train_step(state, tasks, 0, loss_fn=loss_fn, optimizer=optimizer))
    for _ in range(600):
        step([draw(rng, data.train, range(7)) for _ in range(4)])
    tests = [draw(rng, data.test, [7, 8, 9]) for _ in range(50)]
    for name, start in (("a random start", fresh), ("the learned start", state.weights)):
        right = [metrics.accuracy(forward(adapted(start, *s), {}, q[0])[0], q[1]) for s, q in tests]
        print(f"new digits, {STEPS} steps on {SHOTS} pictures of each, from {name}: accuracy {np.mean(right):.3f}")
