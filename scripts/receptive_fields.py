"""What one output of a network's convolutions sees of the picture: in theory a square, in effect a spot inside it.

Luo, Li, Urtasun, Zemel: Understanding the Effective Receptive Field in Deep Convolutional Neural Networks, 2016,
arXiv:1701.04128.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from tfcore import mechanics
from tfcore.models import cnn
from tfcore.quiet import tf

SHARE = 0.5  # of the squared gradient: what the effective field holds


class Field(NamedTuple):
    """Of the output in the middle: the side of its square, where that begins, and the mean gradient of each pixel."""

    side: int
    begin: tuple[int, int]  # row and column of the picture, below 0 in the padding
    gradients: np.ndarray  # [H, W], the largest is 1

    @property
    def effective(self):
        """The side of a square of as few pixels as hold SHARE of the squared gradient together."""
        held = np.cumsum(np.sort(np.square(self.gradients), axis=None)[::-1])
        return float(np.sqrt(1 + np.searchsorted(held, SHARE * held[-1])))


def layers(config):
    """Returns the convolutions and pools of a `cnn.Config` as layers of `mechanics`."""
    found = []
    for block in config.blocks:
        found += [mechanics.Layer("conv", config.kernel, 1, channels, config.padding) for channels in block]
        found.append(mechanics.Layer("pool", config.pool, config.pool, None))
    return found


def stack(count):
    """Returns a network of so many convolutions of 3 x 3 and no pool, for pictures of what its one output sees."""
    side = 2 * count + 1
    return cnn.Config(image_shape=(side, side, 1), blocks=((16,) * count,), pool=1, top=False)


def cut(config):
    """Returns the network for pictures of what one output sees, which is quick to measure.

    With zeros around the picture, "SAME", it stays as it is: where its edges are changes what an output sees.
    """
    if config.padding == "SAME":
        return config
    side, _ = square(config, (0, 0))
    return dataclasses.replace(config, image_shape=(side, side, config.image_shape[2]), top=False)


def square(config, place):
    """Returns of the square that the output at `place` sees its side, and (row, column) where it begins."""
    step, before, below = 1, 0, []
    for layer in layers(config):
        before += step * ((layer.side - 1) // 2 if layer.padding == "SAME" else 0)
        step *= layer.stride
        below.append((layer.side, layer.stride))
    return mechanics.receptive_field(below), tuple(i * step - before for i in place)


def measure(config, pictures=32, draws=16, seed=0):
    """Returns the `Field` of a `cnn.Config` with its first weights: the root of the mean square of its gradients.

    Args:
      pictures: how many pictures of noise to take with each draw of the weights.
      draws: how often to draw the weights.
    """
    config = dataclasses.replace(config, top=False)
    rows, columns, _ = cnn.feature_shape(config)
    middle = rows // 2, columns // 2
    squares = np.mean([_squares(config, middle, pictures, seed + i) for i in range(draws)], axis=0)
    return Field(*square(config, middle), np.sqrt(squares / squares.max()))


def _squares(config, place, pictures, seed):
    """Returns the mean square of d(output at `place`) / d(pixel), over pictures and colours. -> [H, W]."""
    generator = np.random.default_rng(seed)
    weights, stats = cnn.init(seed, config)
    x = tf.constant(generator.normal(size=[pictures, *config.image_shape]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, _ = cnn.forward(config, weights, stats, x, training=False)
        y = y[:, place[0], place[1]]  # [N, C]; a random sign for each, so that channels do not cancel out
        output = tf.reduce_sum(y * generator.choice([-1, 1], y.shape).astype(np.float32))
    return np.mean(np.square(tape.gradient(output, x)), axis=(0, 3))
