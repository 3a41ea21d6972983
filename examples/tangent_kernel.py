"""The neural tangent kernel: how far a step on one picture moves what is said of another (arXiv:1806.07572).

python examples/tangent_kernel.py

In a wide network it hardly changes; then training is regression with a fixed kernel, which has a formula.
"""

import numpy as np

from tfcore import layers, optimizers, training
from tfcore.data import load, preprocess
from tfcore.gradients import per_example
from tfcore.init import fold_in
from tfcore.quiet import tf

RATE, STEPS = 0.1, 1000


def init(seed, width):
    """N(0, 1) everywhere: the sizes stand in `output`, so that a wide network moves as much as a narrow one."""
    shapes = {"hidden": [49, width], "out": [width, 1]}
    return {name: tf.Variable(tf.random.stateless_normal(s, fold_in(seed, name))) for name, s in shapes.items()}


def output(weights, x):
    """sqrt(2 / width) relu(x hidden / sqrt(49)) out. x: [N, 49] -> [N]."""
    hidden = tf.nn.relu(x @ weights["hidden"] / 7)
    return (hidden @ weights["out"])[:, 0] * (2 / hidden.shape[1]) ** 0.5


def kernel(weights, a, b):
    """K[i, j] = the product of the gradients of output(a_i) and output(b_j) in all weights: J(a) J(b)^T."""
    rows = [per_example(lambda w, row: output(w, row[None])[0], weights, x) for x in (a, b)]
    return sum(tf.einsum("iab,jab->ij", rows[0][name], rows[1][name]) for name in weights)


def linear_training(weights, x, y, new):
    """What gradient descent with a fixed kernel makes of `new`: errors shrink by 1 - 2 RATE eigenvalue / N a step."""
    values, vectors = tf.linalg.eigh(kernel(weights, x, x))
    values = tf.maximum(values, 1e-6)
    undone = (1 - (1 - 2 * RATE * values / len(x)) ** STEPS) / values
    error = tf.linalg.matvec(vectors, y - output(weights, x), transpose_a=True)
    return output(weights, new) + tf.linalg.matvec(kernel(weights, new, x) @ vectors, undone * error)


if __name__ == "__main__":
    train, _, test = load("digits")[:3]
    images = np.concatenate([train.images[train.labels < 2][:100], test.images[test.labels < 2]])
    pixels = layers.flatten(layers.avg_pool(preprocess(images), size=4, stride=4))
    x, new, y = pixels[:100], pixels[100:], np.float32(2 * train.labels[train.labels < 2][:100] - 1)  # -1: 0, 1: 1
    mse = lambda weights, _, batch, seed: (tf.reduce_mean((output(weights, batch[0]) - batch[1]) ** 2), ({}, {}))  # noqa: E731
    for width in (16, 128, 1024, 8192):
        weights, optimizer = init(0, width), optimizers.sgd(RATE)
        before, expected = kernel(weights, x, x), linear_training(weights, x, y, new)
        state = training.init_state(weights, {}, optimizer)
        training.train_epochs(state, (x, y), range(STEPS), batch_size=100, loss_fn=mse, optimizer=optimizer)
        moved = tf.norm(kernel(weights, x, x) - before) / tf.norm(before)
        apart = np.mean((output(weights, new) - expected) ** 2) ** 0.5
        print(f"width {width:4}: the kernel moves by {moved:6.1%}; outputs are {apart:.4f} from those of a fixed one")
