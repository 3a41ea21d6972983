"""Calibration: is a network right nine times in ten where it says 0.9? One number, a temperature, makes it so.

python examples/calibration.py

Logits / T, T chosen on the validation part (Guo et al., arXiv:1706.04599).
"""

import functools

import numpy as np

from tfcore import losses, metrics, optimizers, training
from tfcore.data import load, preprocess
from tfcore.gradients import gradient
from tfcore.models import mlp
from tfcore.quiet import tf

config = mlp.Config(hidden=(256, 256))
forward = functools.partial(mlp.forward, config)


def calibration_error(logits, labels, bins=15):
    """The expected calibration error: the mean of |accuracy - confidence| over bins of confidence, by their size."""
    confidence, right = np.max(metrics.probabilities(logits), axis=1), metrics.predicted(logits).numpy() == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence.astype(float), minlength=bins)
    return np.abs(gaps).sum() / len(labels)


def temperature(logits, labels, steps=100):
    """The T at which the mean cross-entropy of logits / T is least, by Newton's steps in log T."""
    loss = lambda s: tf.reduce_mean(losses.softmax_cross_entropy(logits / tf.exp(s), labels))  # noqa: E731
    s = tf.zeros([], logits.dtype)
    for _ in range(steps):
        slope, curvature = gradient(loss, s), gradient(lambda s: gradient(loss, s), s)
        s -= tf.clip_by_value(slope / tf.abs(curvature), -0.5, 0.5)
    return float(tf.exp(s))


if __name__ == "__main__":
    data, optimizer = load("digits", train_examples=200), optimizers.adam(1e-3)
    state = training.init_state(*mlp.init(0, config), optimizer)
    loss_fn = training.mean_loss(forward, losses.softmax_cross_entropy)
    part = preprocess(data.train.images), data.train.labels
    training.train_epochs(state, part, range(200), batch_size=50, loss_fn=loss_fn, optimizer=optimizer)
    held_out, test = (training.predict(forward, state.weights, {}, p.images) for p in (data.validation, data.test))
    chosen, labels = temperature(held_out, data.validation.labels), data.test.labels
    print(f"test accuracy {metrics.accuracy(test, labels):.3f}")
    for t in (1.0, chosen):
        said = np.max(metrics.probabilities(test / t), axis=1).mean()
        error, loss = calibration_error(test / t, labels), np.mean(losses.softmax_cross_entropy(test / t, labels))
        print(f"T = {t:.2f}: mean confidence {said:.3f}, calibration error {error:.3f}, loss {loss:.3f}")
