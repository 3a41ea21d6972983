"""Differentially private SGD: a clipped gradient of each example, and noise on their sum (arXiv:1607.00133).

python examples/private_sgd.py
"""

import functools
import math

import numpy as np

from tfcore import losses, optimizers, training, tree
from tfcore.data import load, preprocess
from tfcore.gradients import per_example
from tfcore.models import mlp
from tfcore.quiet import tf

config = mlp.Config(hidden=(64,))
forward = functools.partial(mlp.forward, config)


def loss(weights, example):
    image, label = example
    return losses.softmax_cross_entropy(forward(weights, {}, image[None], training=True)[0], label[None])[0]


@tf.function(reduce_retracing=True)
def clipped_sum(weights, examples, most):
    """The sum of the examples' gradients, each scaled down to a norm of at most `most`."""
    grads = per_example(loss, weights, examples)
    squares = [tf.reduce_sum(g**2, axis=range(1, len(g.shape))) for g in tree.leaves(grads)]
    scale = most / tf.maximum(tf.sqrt(tf.add_n(squares)), most)
    return tree.map(lambda g: tf.tensordot(scale, g, 1), grads)


def spent(noise, rate, steps, delta):
    """The epsilon of (epsilon, delta) privacy, by Renyi's divergences of whole orders (arXiv:1908.10530)."""
    found = []
    for a in range(2, 33):
        terms = [math.comb(a, k) * (1 - rate) ** (a - k) * rate**k * math.exp(k * (k - 1) / 2 / noise**2)
                 for k in range(a + 1)]  # fmt: skip
        found.append((steps * math.log(math.fsum(terms)) - math.log(delta)) / (a - 1))
    return min(found)


if __name__ == "__main__":
    data, most, rate, steps, optimizer = load("digits"), 1.0, 0.05, 300, optimizers.momentum(0.1)
    x, labels = preprocess(data.train.images).numpy(), data.train.labels
    for noise in (0.0, 1.0, 2.0):
        (weights, _), rng = mlp.init(0, config), np.random.default_rng(0)
        slots = optimizer.init(weights)
        for i in tf.range(steps):
            rows = rng.random(len(x)) < rate  # each example is drawn by itself: the proof wants it so
            grads = clipped_sum(weights, (x[rows], labels[rows]), most)
            drawn = tree.map(lambda g: rng.normal(0, most * noise, g.shape).astype(np.float32), grads)  # noqa: B023
            optimizer.update(weights, tree.map(lambda g, n: (g + n) / (rate * len(x)), grads, drawn), slots, i)
        accuracy = training.evaluate(forward, weights, {}, data.test)["accuracy"]
        promise = f"epsilon {spent(noise, rate, steps, 1e-4):.2f} at delta 0.0001" if noise else "no promise"
        print(f"noise {noise}: test accuracy {accuracy:.3f}, {promise}")
