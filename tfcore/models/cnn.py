"""The convolutional network: blocks of convolutions with a pool after each block, then dense layers."""

import dataclasses
from collections.abc import Callable

from tfcore import settings
from tfcore.init import INITIALIZERS, fold_in
from tfcore.layers import (
    batch_norm,
    batch_norm_init,
    conv2d,
    conv2d_init,
    dense,
    dense_init,
    dropout,
    flatten,
    global_avg_pool,
    max_pool,
)
from tfcore.quiet import tf
from tfcore.types import Array, Seed, Tensor, Tree

ACTIVATIONS = {"relu": tf.nn.relu, "linear": tf.identity}


@dataclasses.dataclass(frozen=True)
class Config:
    """conv 64, pool, conv 64, pool, dense 64, 10 classes unless told otherwise.

    image_shape: (H, W, C) of a picture.
    blocks: the channels of each convolution, grouped; a max pool ends each group.
    kernel: the side of every convolution's window.
    pool: the side of every max pool's window, and its stride.
    padding: "VALID" or "SAME", of the convolutions.
    hidden: the width of each dense layer before the logits.
    hidden_activation: a name in ACTIVATIONS, "relu" or "linear".
    classes: the width of the logits.
    top: False ends in the features after the last block, [N, H', W', C'], for transfer.
    batch_norm: normalize after each convolution (which then has no bias).
    hidden_norm: normalize after each hidden dense layer: where it reads very many values, a step would else change
      what it gives by far too much.
    pool_features: the mean over height and width instead of flattening.
    dropout: the drop probability before each dense layer.
    init: the name of an initializer.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    blocks: tuple[tuple[int, ...], ...] = ((64,), (64,))
    kernel: int = 3
    pool: int = 2
    padding: str = "VALID"
    hidden: tuple[int, ...] = (64,)
    hidden_activation: str = "relu"
    classes: int = 10
    top: bool = True
    batch_norm: bool = False
    hidden_norm: bool = False
    pool_features: bool = False
    dropout: float = 0.0
    init: str = "he_normal"

    def __post_init__(self):
        """Raises ValueError: a setting is of another type or out of its range, or pictures are too small."""
        settings.integers("image_shape", self.image_shape, length=3)
        nested = isinstance(self.blocks, tuple) and all(settings.is_widths(block) and block for block in self.blocks)
        rule = "must be a tuple of blocks, each a tuple of its convolutions' channels, such as ((8,), (16,))"
        settings.require(nested, "blocks", self.blocks, rule)
        settings.integers("hidden", self.hidden)
        for name in ("kernel", "pool", "classes"):
            settings.integer(name, getattr(self, name))
        for name in ("top", "batch_norm", "hidden_norm", "pool_features"):
            settings.flag(name, getattr(self, name))
        settings.one_of("padding", self.padding, ("SAME", "VALID"))
        settings.one_of("hidden_activation", self.hidden_activation, ACTIVATIONS)
        settings.fraction("dropout", self.dropout)
        settings.one_of("init", self.init, INITIALIZERS)
        feature_shape(self)


def fit(config: Config, *, image_shape: tuple[int, int, int], classes: int) -> Config:
    """Returns the configuration for other pictures and classes."""
    return dataclasses.replace(config, image_shape=(*image_shape,), classes=classes)


def init(seed: Seed, config: Config) -> tuple[Tree, Tree]:
    """Draws the weights conv1, ..., dense1, ..., logits. Returns weights, stats."""
    weights, stats = {}, {}
    height, width, features = feature_shape(config)
    channels = config.image_shape[2]
    for name, out_channels, _ in _convolutions(config):
        weights[name] = conv2d_init(
            fold_in(seed, name), config.kernel, channels, out_channels, bias=not config.batch_norm, init=config.init
        )
        if config.batch_norm:
            weights[name]["norm"], stats[name] = batch_norm_init(out_channels)
        channels = out_channels
    if not config.top:
        return weights, stats
    widths = [features if config.pool_features else height * width * features, *config.hidden]
    names = [f"dense{i}" for i in range(1, len(config.hidden) + 1)]
    for name, in_dim, out_dim in zip(names, widths, widths[1:]):
        weights[name] = dense_init(fold_in(seed, name), in_dim, out_dim, init=config.init)
        if config.hidden_norm:
            del weights[name]["b"]
            weights[name]["norm"], stats[name] = batch_norm_init(out_dim)
    weights["logits"] = dense_init(fold_in(seed, "logits"), widths[-1], config.classes, init=config.init)
    return weights, stats


def feature_shape(config: Config) -> tuple[int, int, int]:
    """Returns (H, W, C) after the last block.

    Raises:
      ValueError: a picture of `image_shape` is too small for the blocks.
    """
    height, width, features = config.image_shape
    for name, channels, ends_block in _convolutions(config):
        features = channels
        cut = config.kernel - 1 if config.padding == "VALID" else 0
        height, width = ((side - cut) // (config.pool if ends_block else 1) for side in (height, width))
        if min(height, width) < 1:
            shape = "x".join(map(str, config.image_shape))
            raise ValueError(f"{name}: pictures of {shape} are too small for blocks={config.blocks}")
    return height, width, features


def forward(
    config: Config, weights: Tree, stats: Tree, x: Array, *, training: bool, seed: Seed | None = None
) -> tuple[Tensor, Tree]:
    """Returns logits [N, classes], or without a top the features [N, H', W', C'], and the new stats.

    Args:
      weights, stats: as `init` returns them; variables, tensors or arrays.
      x: [N, H, W, C] floating.
      training: batch norm takes the batch's moments; with a `seed`, dropout is on.
    """
    new_stats = {}
    for name, _, ends_block in _convolutions(config):
        with tf.name_scope(name):
            layer = weights[name]
            if config.batch_norm:
                x = conv2d({"w": layer["w"]}, x, padding=config.padding)
                x, new_stats[name] = batch_norm(layer["norm"], stats[name], x, training=training, name="norm")
                x = tf.nn.relu(_pool(config, x) if ends_block else x)
            elif training and ends_block:  # bias and relu are monotone: the same after the pool, on a quarter of values
                x = conv2d({"w": layer["w"]}, x, padding=config.padding)
                x = tf.nn.relu(tf.nn.bias_add(_pool(config, x), layer["b"]))
            else:  # in this order LiteRT has one kernel for the three, and no integers for what relu cuts off
                x = tf.nn.relu(conv2d(layer, x, padding=config.padding))
                x = _pool(config, x) if ends_block else x
    if not config.top:
        return x, new_stats
    x = global_avg_pool(x) if config.pool_features else flatten(x)
    for i in range(1, len(config.hidden) + 1):
        name, layer = f"dense{i}", weights[f"dense{i}"]
        with tf.name_scope(name):
            x = dense(layer, _drop(config, x, training, seed, i))
            if config.hidden_norm:
                x, new_stats[name] = batch_norm(layer["norm"], stats[name], x, training=training, name="norm")
            x = ACTIVATIONS[config.hidden_activation](x)
    with tf.name_scope("logits"):
        return dense(weights["logits"], _drop(config, x, training, seed, 0)), new_stats


def parts(config: Config) -> list[str]:
    """Returns the names of the convolutions, in order: where a transfer may begin to learn."""
    return [name for name, _, _ in _convolutions(config)]


def learns(config: Config) -> Callable[[str], bool]:
    """Returns the predicate of the weights that learn: all."""
    return lambda path: True


def _convolutions(config):
    """Yields (name, output channels, whether a pool follows) of each convolution."""
    number = 0
    for block in config.blocks:
        for i, channels in enumerate(block):
            number += 1
            yield f"conv{number}", channels, i == len(block) - 1


def _pool(config, x):
    return max_pool(x, size=config.pool, stride=config.pool)


def _drop(config, x, training, seed, layer):
    """Dropout before a dense layer, off without a seed and outside training."""
    mask = fold_in(seed, layer) if training and seed is not None and config.dropout else None
    return dropout(x, rate=config.dropout, seed=mask)
