"""The residual network (He et al., arXiv:1512.03385) in its basic form, with the shortcuts of arXiv:1812.01187."""

import dataclasses

import tensorflow as tf

from tfcore.init import fold_in
from tfcore.layers import (
    avg_pool,
    batch_norm,
    batch_norm_init,
    conv2d,
    conv2d_init,
    dense,
    dense_init,
    dropout,
    global_avg_pool,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Each 4x4 pixels become one of 48 channels (arXiv:2003.13630), a convolution, then stages of residual blocks.

    Each stage after the first halves height and width.

    image_shape: (H, W, C) of a picture; H and W are multiples of 4.
    stages: for each stage its channels and its number of blocks.
    classes: the width of the logits.
    top: False ends in the features of the last stage, [N, H', W', C'], for transfer.
    dropout: the drop probability before the logits.
    init: the name of an initializer.
    """

    image_shape: tuple[int, int, int] = (128, 128, 3)
    stages: tuple[tuple[int, int], ...] = ((64, 2), (128, 2), (256, 2), (512, 2))
    classes: int = 10
    top: bool = True
    dropout: float = 0.0
    init: str = "he_normal"


def init(seed, config):
    """Draws the weights stem, stage1_1, ..., logits. Returns weights, stats.

    The scale of a block's last normalization begins at 0: each block begins as its shortcut (arXiv:1706.02677).

    Raises:
      ValueError: height or width is no multiple of 4.
    """
    feature_shape(config)
    weights, stats = {}, {}
    channels = config.stages[0][0]
    weights["stem"], stats["stem"] = _unit_init(seed, "stem", config, 3, 16 * config.image_shape[2], channels)
    for name, width, stride in _blocks(config):
        shapes = {"conv1": (3, channels, width), "conv2": (3, width, width)}
        if stride > 1 or channels != width:
            shapes["shortcut"] = (1, channels, width)
        units = {part: _unit_init(seed, f"{name}/{part}", config, *shape) for part, shape in shapes.items()}
        units["conv2"][0]["norm"]["scale"] = tf.Variable(tf.zeros([width]))
        weights[name], stats[name] = ({part: unit[i] for part, unit in units.items()} for i in (0, 1))
        channels = width
    if config.top:
        weights["logits"] = dense_init(fold_in(seed, "logits"), channels, config.classes, init=config.init)
    return weights, stats


def feature_shape(config):
    """Returns (H, W, C) after the last stage.

    Raises:
      ValueError: height or width is no multiple of 4.
    """
    height, width = config.image_shape[:2]
    if height % 4 or width % 4:
        raise ValueError(f"pictures of {height}x{width}: height and width must be multiples of 4")
    shrink = 4 * 2 ** (len(config.stages) - 1)
    return -(-height // shrink), -(-width // shrink), config.stages[-1][0]


def forward(config, weights, stats, x, *, training, seed=None):
    """Returns logits [N, classes], or without a top the features [N, H', W', C'], and the new stats.

    Args:
      weights, stats: as `init` returns them; variables, tensors or arrays.
      x: [N, H, W, C] floating.
      training: batch norm takes the batch's moments; with a `seed`, dropout is on.
    """
    new_stats = {}
    x = tf.nn.space_to_depth(x, 4)
    x, new_stats["stem"] = _unit(weights["stem"], stats["stem"], x, training, "stem")
    x = tf.nn.relu(x)
    for name, _, stride in _blocks(config):
        x, new_stats[name] = _block(weights[name], stats[name], x, training, name, stride)
    if not config.top:
        return x, new_stats
    mask = fold_in(seed, "logits") if training and seed is not None else None
    x = dropout(global_avg_pool(x), rate=config.dropout, seed=mask)
    return dense(weights["logits"], x, name="logits"), new_stats


def _block(weights, stats, x, training, name, stride):
    """relu(shortcut(x) + conv2(relu(conv1(x)))); a shortcut that changes the size is a mean pool and a 1x1."""
    new_stats, shortcut = {}, x
    if "shortcut" in weights:
        pooled = avg_pool(x, padding="SAME") if stride > 1 else x
        shortcut, new_stats["shortcut"] = _unit(
            weights["shortcut"], stats["shortcut"], pooled, training, f"{name}/shortcut"
        )
    y, new_stats["conv1"] = _unit(weights["conv1"], stats["conv1"], x, training, f"{name}/conv1", stride=stride)
    y, new_stats["conv2"] = _unit(weights["conv2"], stats["conv2"], tf.nn.relu(y), training, f"{name}/conv2")
    return tf.nn.relu(shortcut + y), new_stats


def _unit_init(seed, name, config, kernel, in_channels, out_channels):
    """Draws a convolution without bias and its normalization."""
    weights = conv2d_init(fold_in(seed, name), kernel, in_channels, out_channels, bias=False, init=config.init)
    weights["norm"], stats = batch_norm_init(out_channels)
    return weights, stats


def _unit(weights, stats, x, training, name, stride=1):
    x = conv2d({"w": weights["w"]}, x, stride=stride, name=name)
    return batch_norm(weights["norm"], stats, x, training=training, name=f"{name}/norm")


def _blocks(config):
    """Yields (name, channels, stride) of each block; the first of each stage but the first has stride 2."""
    for i, (channels, count) in enumerate(config.stages, 1):
        for j in range(1, count + 1):
            yield f"stage{i}_{j}", channels, 2 if i > 1 and j == 1 else 1
