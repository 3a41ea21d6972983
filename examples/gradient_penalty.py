"""A penalty on the gradient of the loss in the picture: what a little noise can do (Drucker & LeCun, 1992).

python examples/gradient_penalty.py
"""

import functools

import numpy as np

from tfcore import losses, metrics, optimizers, training
from tfcore.data import load, preprocess
from tfcore.gradients import gradient, value_and_gradient
from tfcore.models import mlp
from tfcore.quiet import tf

config = mlp.Config(hidden=(64,))
forward = functools.partial(mlp.forward, config)


def example_losses(weights, x, labels):
    return losses.softmax_cross_entropy(forward(weights, {}, x, training=True)[0], labels)


def penalized(penalty):
    """Returns the loss_fn of mean(loss + penalty |d loss / dx|^2); its gradient in the weights is a second one."""

    def loss_fn(weights, stats, batch, seed):
        values, slopes = value_and_gradient(lambda x: example_losses(weights, x, batch[1]), batch[0])
        squares = tf.reduce_sum(slopes**2, axis=[1, 2, 3])
        loss = tf.reduce_mean(values)
        return loss + penalty * tf.reduce_mean(squares), ({"loss": loss, "slope": tf.reduce_mean(squares)}, stats)

    return loss_fn


if __name__ == "__main__":
    data, optimizer = load("digits"), optimizers.adam(3e-3)
    part = preprocess(data.train.images), data.train.labels
    test, labels = preprocess(data.test.images), data.test.labels
    norm = functools.partial(tf.norm, axis=(1, 2), keepdims=True)
    print(f"pictures have a norm of {np.mean(norm(test)):.1f}; each is moved by 1 along its gradient")
    for penalty in (0.0, 0.1, 1.0):
        state, loss_fn = training.init_state(*mlp.init(0, config), optimizer), penalized(penalty)
        training.train_epochs(state, part, range(20), batch_size=50, loss_fn=loss_fn, optimizer=optimizer)
        slopes = gradient(lambda x: example_losses(state.weights, x, labels), test)  # noqa: B023
        pictures = {"plain": test, "moved": test + slopes / norm(slopes)}
        right = {name: metrics.accuracy(forward(state.weights, {}, x, training=False)[0], labels)
                 for name, x in pictures.items()}  # fmt: skip
        print(f"penalty {penalty}: test accuracy {right['plain']:.3f}, of moved pictures {right['moved']:.3f}")
