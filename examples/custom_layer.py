"""A layer of one's own with a gradient of one's own: the cosine between a picture's features and each class.

python examples/custom_layer.py

y = s cos(x, w) = s (x / |x|) . (w / |w|). The gradient of x / |x| is written by hand, as one projection.
"""

import numpy as np

from tfcore import check, layers, losses, optimizers, training
from tfcore.data import load, preprocess
from tfcore.init import fold_in
from tfcore.quiet import tf


@tf.custom_gradient
def unit(x):
    """x / |x| along the last axis. Its gradient is what is left of g across x: (g - y (y . g)) / |x|."""
    size = tf.maximum(tf.norm(x, axis=-1, keepdims=True), 1e-12)
    y = x / size
    return y, lambda g: (g - y * tf.reduce_sum(y * g, axis=-1, keepdims=True)) / size


def cosine_init(seed, in_dim, out_dim, *, scale=10.0):
    """Draws the weights of `cosine`: {"w": [O, I], "scale": []}."""
    w = tf.random.stateless_normal([out_dim, in_dim], fold_in(seed, "w"))
    return {"w": tf.Variable(w), "scale": tf.Variable(scale)}


def cosine(weights, x):
    """scale times the cosine of the angle between each row of x and each of w: [N, I] -> [N, O]."""
    return weights["scale"] * tf.matmul(unit(x), unit(weights["w"]), transpose_b=True)


def init(seed):
    hidden = layers.dense_init(fold_in(seed, "hidden"), 784, 64)
    return {"hidden": hidden, "cosine": cosine_init(fold_in(seed, "cosine"), 64, 10)}, {}


def forward(weights, stats, x, *, training, seed=None):
    features = tf.nn.relu(layers.dense(weights["hidden"], layers.flatten(x)))
    return cosine(weights["cosine"], features), stats


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    at = {"weights": {"w": rng.normal(size=[3, 5]), "scale": np.array(2.0)}, "x": rng.normal(size=[4, 5])}
    print(check.gradient(lambda at: cosine(at["weights"], at["x"]), at))
    data, optimizer = load("digits"), optimizers.adam(3e-3)
    print(*check.forward(forward, *init(0), preprocess(data.train.images[:8])), sep="\n")
    state, part = training.init_state(*init(0), optimizer), (preprocess(data.train.images), data.train.labels)
    loss_fn = training.mean_loss(forward, losses.softmax_cross_entropy)
    training.train_epochs(state, part, range(20), batch_size=50, loss_fn=loss_fn, optimizer=optimizer)
    accuracy = training.evaluate(forward, state.weights, {}, data.test)["accuracy"]
    print(f"a network that ends in this layer: test accuracy {accuracy:.3f}")
