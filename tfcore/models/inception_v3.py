"""InceptionV3 (Szegedy et al., arXiv:1512.00567) as Keras publishes it with ImageNet weights; no auxiliary head.

The network is the table `inception_v3_blocks.BLOCKS`; here are its weights and the way through it.

A convolution has no bias and is followed by a batch norm without scale, then relu. Its weights are
``mixed7/b7x7/0/conv/w`` and ``mixed7/b7x7/0/norm/offset``, its stats ``mixed7/b7x7/0/mean`` and ``.../variance``:
the number counts the convolutions of a branch. ``stem/0`` is the first; the top is ``logits/w`` and ``logits/b``.

The published weights want pictures from `preprocess`, in [-1, 1]; `forward` does not call it.
"""

import dataclasses
from collections.abc import Callable

from tfcore import settings, tree
from tfcore.init import INITIALIZERS, fold_in
from tfcore.layers import (
    avg_pool,
    batch_norm,
    batch_norm_init,
    conv2d,
    conv2d_init,
    dense,
    dense_init,
    global_avg_pool,
    max_pool,
)
from tfcore.models.inception_v3_blocks import AVG_POOL, BLOCKS, MAX_POOL, Conv, Step, branch_shape, step_shape
from tfcore.quiet import tf
from tfcore.types import Array, Seed, Tensor, Tree

EPSILON = 1e-3  # of every batch norm
MIN_SIDE = 75  # a smaller picture has nothing left at mixed8


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole network for ImageNet's classes unless told otherwise.

    image_shape: (H, W, C) of a picture, 75 x 75 or larger.
    classes: the width of the logits; without a top it is not used.
    top: end in the mean over height and width and a dense layer to `classes`; False ends in the features.
    endpoint: the last block, "stem" or "mixed0" ... "mixed10"; later ones are not created.
    init: the name of an initializer.

    Transfer learning reads the features of ``Config(top=False, endpoint="mixed7")``: [N, 7, 7, 768] of 150 x 150 x 3.
    """

    image_shape: tuple[int, int, int] = (150, 150, 3)
    classes: int = 1000
    top: bool = True
    endpoint: str = "mixed10"
    init: str = "he_normal"

    def __post_init__(self):
        """Raises ValueError: a setting is of another type or out of its range, or pictures are too small."""
        settings.integers("image_shape", self.image_shape, length=3)
        settings.integer("classes", self.classes)
        settings.flag("top", self.top)
        settings.one_of("endpoint", self.endpoint, BLOCKS)
        settings.one_of("init", self.init, INITIALIZERS)
        _check_size("image_shape", self.image_shape)


def fit(config: Config, *, image_shape: tuple[int, int, int], classes: int) -> Config:
    """Returns the configuration for other pictures and classes."""
    return dataclasses.replace(config, image_shape=(*image_shape,), classes=classes)


def preprocess(x: Array) -> Tensor:
    """x / 127.5 - 1: what the published weights want. x: any shape, 0 ... 255, uint8 or floating -> float32."""
    return tf.cast(x, tf.float32) / 127.5 - 1.0


def blocks(config: Config) -> dict[str, dict[str, tuple[Step, ...]]]:
    """Returns {block: {path of a branch: its steps}} up to the endpoint, in order; the stem's one branch is "stem"."""
    names = list(BLOCKS)
    return {
        block: {f"{block}/{branch}" if branch else block: steps for branch, steps in BLOCKS[block].items()}
        for block in names[: names.index(config.endpoint) + 1]
    }


def units(config: Config) -> dict[str, tuple[Conv, int]]:
    """Returns {path: (Conv, input channels)} of every convolution up to the endpoint, in Keras' order of creation."""
    found, channels = {}, config.image_shape[2]
    for branches in blocks(config).values():
        for branch, steps in branches.items():
            width, number = channels, 0
            for step in steps:
                for conv in () if isinstance(step, str) else step:  # a pool has none
                    found[f"{branch}/{number}"] = conv, width
                    number += 1
                width = step_shape(step, (0, 0, width))[2]
        channels = sum(branch_shape(steps, (0, 0, channels))[2] for steps in branches.values())
    return found


def parts(config: Config) -> list[str]:
    """Returns the names of the blocks up to the endpoint, in order: where a transfer may begin to learn."""
    return list(blocks(config))


def feature_shape(config: Config) -> tuple[int, int, int]:
    """Returns (H, W, C) of the endpoint's activation: (7, 7, 768) of "mixed7" for pictures of 150 x 150."""
    shape = config.image_shape
    for branches in blocks(config).values():
        shapes = [branch_shape(steps, shape) for steps in branches.values()]
        shape = (*shapes[0][:2], sum(channels for _, _, channels in shapes))
    return shape


def init(seed: Seed, config: Config) -> tuple[Tree, Tree]:
    """Draws the weights. Returns weights, stats.

    With 1000 classes 23,817,352 weights and 34,432 stats (23,851,784, as Keras counts), 21,768,352 weights without a
    top (21,802,784 with the stats): a batch norm of C channels has C weights and 2 C stats.
    """
    weights, stats = {}, {}
    for path, (conv, channels) in units(config).items():
        kernel = conv2d_init(fold_in(seed, path), conv.kernel, channels, conv.channels, bias=False, init=config.init)
        norm, stats[path] = batch_norm_init(conv.channels, scale=False)
        weights[path] = {"conv": kernel, "norm": norm}
    if config.top:
        channels = feature_shape(config)[2]
        weights["logits"] = dense_init(fold_in(seed, "logits"), channels, config.classes, init=config.init)
    return tree.unflatten(weights), tree.unflatten(stats)


def forward(
    config: Config, weights: Tree, stats: Tree, x: Array, *, training: bool, seed: Seed | None = None
) -> tuple[Tensor, Tree]:
    """Returns logits [N, classes], or without a top the endpoint's features [N, H', W', C'], and the new stats.

    Args:
      weights, stats: as `init` returns them, or weights from `fold` (the stats of folded layers are not read then,
        and are not in the new stats); variables, tensors or arrays. Parts behind the endpoint are not read.
      x: [N, H, W, C] floating, 75 x 75 or larger; it need not be of `config.image_shape`.
      training: batch norm takes the batch's moments and moves the stats. False for a frozen trunk: stats come back.
      seed: not used, nothing here is random.
    Raises:
      ValueError: `x` is too small, or has other channels than the weights.
    """
    activations, new_stats = endpoints(config, weights, stats, x, training=training)
    return activations["logits" if config.top else config.endpoint], new_stats


def learns(config: Config) -> Callable[[str], bool]:
    """Returns the predicate of the weights that learn: all."""
    return lambda path: True


def endpoints(
    config: Config, weights: Tree, stats: Tree, x: Array, *, training: bool
) -> tuple[dict[str, Tensor], Tree]:
    """Returns {"stem": [N, H', W', C'], "mixed0": ..., up to the endpoint, "logits": with a top} and the new stats.

    Arguments and errors are those of `forward`.
    """
    x = tf.convert_to_tensor(x)
    _check_size("x", x.shape[1:])
    activations, new_stats = {}, {}
    for block, branches in blocks(config).items():
        outputs = []
        for branch, steps in branches.items():
            y, moved = _branch(branch, steps, _at(weights, branch), _at(stats, branch), x, training=training)
            outputs.append(y)
            new_stats.update(moved)
        x = activations[block] = _concat(outputs, name=f"{block}/concat")
    if config.top:
        with tf.name_scope("logits"):
            activations["logits"] = dense(weights["logits"], global_avg_pool(x))
    return activations, tree.unflatten(new_stats)


def _branch(name, steps, weights, stats, x, *, training):
    """Returns the output of a branch and {path: new stats} of its convolutions."""
    new_stats, number = {}, 0
    for step in steps:
        if step == AVG_POOL:
            x = avg_pool(x, size=3, stride=1, padding="SAME", name=f"{name}/pool")
        elif step == MAX_POOL:
            x = max_pool(x, size=3, stride=2, name=f"{name}/pool")
        else:
            outputs = []
            for conv in step:
                key, path = str(number), f"{name}/{number}"
                y, moved = _unit(path, conv, weights[key], stats.get(key), x, training=training)
                outputs.append(y)
                new_stats.update(moved)
                number += 1
            x = _concat(outputs, name=f"{name}/concat")
    return x, new_stats


def _unit(path, conv, weights, stats, x, *, training):
    """relu(norm(conv(x))), or relu(conv(x) + b) where the norm is folded. Returns y and {path: new stats}, or {}."""
    with tf.name_scope(path):
        x = conv2d(weights["conv"], x, stride=conv.stride, padding=conv.padding, name="conv")
        if "norm" not in weights:
            return tf.nn.relu(x), {}
        x, moved = batch_norm(weights["norm"], stats, x, training=training, epsilon=EPSILON, name="norm")
        return tf.nn.relu(x), {path: moved}


def fold(weights: Tree, stats: Tree) -> Tree:
    """Returns weights in which each batch norm is part of its convolution: w / sqrt(variance + epsilon) and a bias.

    `forward` takes them as they are, with stats {}, and gives the outputs of a frozen trunk (training=False) up to
    rounding; a folded layer ignores `training`. Leaves are tensors; those without a norm (the top) are shared.
    """
    if "norm" not in weights:
        return {key: fold(w, stats.get(key, {})) if isinstance(w, dict) else w for key, w in weights.items()}
    w = tf.convert_to_tensor(weights["conv"]["w"])
    gain = tf.math.rsqrt(tf.convert_to_tensor(stats["variance"]) + EPSILON)  # [O]
    gain, mean = tf.cast(gain, w.dtype), tf.cast(stats["mean"], w.dtype)
    return {"conv": {"w": w * gain, "b": weights["norm"]["offset"] - mean * gain}}


def _concat(outputs, name):
    return outputs[0] if len(outputs) == 1 else tf.concat(outputs, -1, name=name)


def _at(weights, path):
    """Returns the sub-dictionary at `path`; {} where a branch has none, as a max pool alone."""
    for key in path.split("/"):
        weights = weights.get(key, {})
    return weights


def _check_size(name, shape):
    if len(shape) != 3 or any(side is not None and side < MIN_SIDE for side in shape[:2]):
        found = "x".join(str(side) for side in shape)
        raise ValueError(f"{name}: pictures of {found}, InceptionV3 wants HxWxC of {MIN_SIDE}x{MIN_SIDE} or larger")
