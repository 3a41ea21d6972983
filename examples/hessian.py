"""The curvature of a loss: products of its Hessian with vectors, and the top of its spectrum by Lanczos.

python examples/hessian.py

A product costs about two gradients, whatever the number of weights (Pearlmutter, Neural Computation 6, 1994).
"""

import functools

import numpy as np

from tfcore import layers, losses, optimizers, training, tree
from tfcore.data import load, preprocess
from tfcore.gradients import gradient
from tfcore.models import mlp
from tfcore.quiet import tf

config = mlp.Config(image_shape=(7, 7, 1), hidden=(8,))
forward = functools.partial(mlp.forward, config)
loss_fn = training.mean_loss(forward, losses.softmax_cross_entropy)


def hessian_product(f, at, v):
    """H v, the gradient of the slope of f along v."""
    return gradient(lambda x: tf.tensordot(gradient(f, x), tf.stop_gradient(v), 1), at)


def lanczos(product, size, steps, seed=0):
    """Returns the eigenvalues of a symmetric matrix in the space of v, A v, A^2 v, ...: the outermost are A's own."""
    q = np.random.default_rng(seed).normal(size=size)
    basis, diagonal, beside = [q / np.linalg.norm(q)], [], []
    for _ in range(steps):
        w = product(basis[-1])
        diagonal.append(w @ basis[-1])
        for _ in range(2):  # twice: rounding would bring the first directions back
            w = w - np.array(basis).T @ (np.array(basis) @ w)
        beside.append(np.linalg.norm(w))
        basis.append(w / beside[-1])
    return np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))


if __name__ == "__main__":
    part, optimizer = load("digits").train, optimizers.adam(1e-2)
    x = layers.avg_pool(preprocess(part.images), size=4, stride=4).numpy()
    state = training.init_state(*mlp.init(0, config), optimizer)
    learn = functools.partial(training.train_epochs, batch_size=32, loss_fn=loss_fn, optimizer=optimizer)

    def loss(vector):
        return loss_fn(tree.from_vector(vector, state.weights), {}, (x.astype(float), part.labels), 0)[0]

    product = tf.function(functools.partial(hessian_product, loss))
    for epochs in (range(1), range(1, 20)):
        learn(state, (x, part.labels), epochs)
        at = tf.cast(tree.to_vector(state.weights), tf.float64)
        top = lanczos(lambda v: product(at, v).numpy(), len(at), 40)  # noqa: B023
        dense = np.linalg.eigvalsh([product(at, v).numpy() for v in np.eye(len(at))])
        print(f"loss {loss(at):.3f} after {epochs.stop} epochs, {len(at)} weights; the Hessian's largest eigenvalues:")
        for name, values in (("by Lanczos, from 40 products", top), ("of the dense matrix", dense)):
            print(f"  {name:<28}", *(f"{value:7.4f}" for value in values[:-6:-1]))
