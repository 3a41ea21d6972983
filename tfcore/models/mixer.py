"""The MLP-Mixer (Tolstikhin et al., arXiv:2105.01601): dense layers only, along patches and along channels in turn.

A picture is cut into patches; each becomes a row of channels by one dense layer that all patches share. A block adds
to this matrix what a perceptron along its columns (over the patches) says, then one along its rows (over the channels).
The end is the mean over the patches and a dense layer. Nothing slides over the picture: there is no convolution.
"""

import dataclasses
from collections.abc import Callable

from tfcore import settings
from tfcore.init import INITIALIZERS, fold_in
from tfcore.layers import batch_norm, batch_norm_init, dense, dense_init, dropout
from tfcore.quiet import tf
from tfcore.types import Array, Seed, Tensor, Tree

NORMS = ("norm1", "norm2")


@dataclasses.dataclass(frozen=True)
class Config:
    """Patches of 4x4, 64 channels, 4 blocks unless told otherwise.

    image_shape: (H, W, C) of a picture; H and W are multiples of `patch`.
    patch: the side of a patch.
    channels: the width of a patch's row.
    blocks: how many.
    hidden: the widths inside a block's two perceptrons, over patches and over channels.
    classes: the width of the logits.
    dropout: the drop probability before the logits.
    init: the name of an initializer.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    patch: int = 4
    channels: int = 64
    blocks: int = 4
    hidden: tuple[int, int] = (64, 128)
    classes: int = 10
    dropout: float = 0.0
    init: str = "lecun_normal"

    def __post_init__(self):
        """Raises ValueError: a setting is of another type or out of its range, or patches do not fill a picture."""
        settings.integers("image_shape", self.image_shape, length=3)
        for name in ("patch", "channels", "blocks", "classes"):
            settings.integer(name, getattr(self, name))
        settings.integers("hidden", self.hidden, length=2)
        settings.fraction("dropout", self.dropout)
        settings.one_of("init", self.init, INITIALIZERS)
        height, width, _ = self.image_shape
        whole = height % self.patch == 0 and width % self.patch == 0
        settings.require(whole, "patch", self.patch, f"does not divide pictures of {height}x{width}")


def fit(config: Config, *, image_shape: tuple[int, int, int], classes: int) -> Config:
    """Returns the configuration for other pictures and classes."""
    return dataclasses.replace(config, image_shape=(*image_shape,), classes=classes)


def init(seed: Seed, config: Config) -> tuple[Tree, Tree]:
    """Draws the weights: patches, block1/over_patches1, ..., logits. Returns weights, stats."""
    height, width, depth = config.image_shape
    patches, channels = (height // config.patch) * (width // config.patch), config.channels
    sizes = {"patches": (config.patch * config.patch * depth, channels)}
    weights: Tree = {}
    stats: Tree = {}
    for i in range(1, config.blocks + 1):
        over_patches, over_channels = config.hidden
        sizes[f"block{i}/over_patches1"] = patches, over_patches
        sizes[f"block{i}/over_patches2"] = over_patches, patches
        sizes[f"block{i}/over_channels1"] = channels, over_channels
        sizes[f"block{i}/over_channels2"] = over_channels, channels
    sizes["logits"] = channels, config.classes
    for path, (in_dim, out_dim) in sizes.items():
        *block, name = path.split("/")
        node = weights.setdefault(block[0], {}) if block else weights
        node[name] = dense_init(fold_in(seed, path), in_dim, out_dim, init=config.init)
    for i in range(1, config.blocks + 1):
        norms = {norm: batch_norm_init(channels) for norm in NORMS}
        weights[f"block{i}"] |= {norm: pair[0] for norm, pair in norms.items()}
        stats[f"block{i}"] = {norm: pair[1] for norm, pair in norms.items()}
    return weights, stats


def forward(
    config: Config, weights: Tree, stats: Tree, x: Array, *, training: bool, seed: Seed | None = None
) -> tuple[Tensor, Tree]:
    """Returns logits [N, classes] and the new stats.

    Args:
      weights, stats: as `init` returns them; variables, tensors or arrays.
      x: [N, H, W, C] floating.
      training: batch norm takes the batch's moments; with a `seed`, dropout is on.
    Raises:
      ValueError: `x` is not of `config.image_shape`.
    """
    x = tf.convert_to_tensor(x)
    if x.shape[1:] != config.image_shape:
        raise ValueError(f"x has shape {x.shape}, this mixer wants [N, {', '.join(map(str, config.image_shape))}]")
    with tf.name_scope("patches"):
        x = _rows(weights["patches"], _patches(x, config.patch), name="dense")  # N x P x channels
    new_stats = {}
    for i in range(1, config.blocks + 1):
        name = f"block{i}"
        with tf.name_scope(name):
            x, new_stats[name] = _block(weights[name], stats[name], x, training=training)
    with tf.name_scope("logits"):
        mask = fold_in(seed, "logits") if training and seed is not None and config.dropout else None
        x = dropout(tf.reduce_mean(x, axis=1), rate=config.dropout, seed=mask)
        return dense(weights["logits"], x), new_stats


def learns(config: Config) -> Callable[[str], bool]:
    """Returns the predicate of the weights that learn: all."""
    return lambda path: True


def _block(weights, stats, x, *, training):
    """x + perceptron over the patches, then x + perceptron over the channels. x: [N, P, channels]."""
    y, moved1 = batch_norm(weights["norm1"], stats["norm1"], x, training=training, name="norm1")
    x = x + tf.transpose(_perceptron("over_patches", weights, tf.transpose(y, [0, 2, 1])), [0, 2, 1])
    y, moved2 = batch_norm(weights["norm2"], stats["norm2"], x, training=training, name="norm2")
    return x + _perceptron("over_channels", weights, y), {"norm1": moved1, "norm2": moved2}


def _perceptron(name, weights, x):
    """Two dense layers along the rows of x, with a relu between them: [N, P, I] -> [N, P, I]."""
    x = tf.nn.relu(_rows(weights[f"{name}1"], x, name=f"{name}1"))
    return _rows(weights[f"{name}2"], x, name=f"{name}2")


def _rows(weights, x, *, name):
    """`dense` on each row of x: [N, P, I] -> [N, P, O]."""
    rows, out_dim = x.shape[1], weights["w"].shape[1]
    return tf.reshape(dense(weights, tf.reshape(x, [-1, x.shape[2]]), name=name), [-1, rows, out_dim])


def _patches(x, side):
    """Cuts pictures into patches, row by row. x: [N, H, W, C] -> [N, H/side * W/side, side * side * C]."""
    _, height, width, channels = x.shape
    x = tf.reshape(x, [-1, height // side, side, width // side, side, channels])
    x = tf.transpose(x, [0, 1, 3, 2, 4, 5])
    return tf.reshape(x, [-1, (height // side) * (width // side), side * side * channels])
