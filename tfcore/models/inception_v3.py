"""InceptionV3 (Szegedy et al., arXiv:1512.00567) as Keras publishes it with ImageNet weights; no auxiliary head.

The network is the table `BLOCKS`: a block is branches side by side, a branch is steps one after the other. A step is a
pool or a tuple of convolutions: one, or two that read the same input. Blocks bear the names they have in Keras.

A convolution has no bias and is followed by a batch norm without scale, then relu. Its weights are
``mixed7/b7x7/0/conv/w`` and ``mixed7/b7x7/0/norm/offset``, its stats ``mixed7/b7x7/0/mean`` and ``.../variance``:
the number counts the convolutions of a branch. ``stem/0`` is the first; the top is ``logits/w`` and ``logits/b``.

The published weights want pictures from `preprocess`, in [-1, 1]; `forward` does not call it.
"""

import dataclasses
import typing

from tfcore import tree
from tfcore.init import fold_in
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
from tfcore.quiet import tf

EPSILON = 1e-3  # of every batch norm
MIN_SIDE = 75  # a smaller picture has nothing left at mixed8
AVG_POOL = "avg_pool"  # 3x3, stride 1, SAME; padding is not counted
MAX_POOL = "max_pool"  # 3x3, stride 2, VALID


class Conv(typing.NamedTuple):
    """A convolution with its batch norm and relu: a row of the table."""

    channels: int
    kernel: tuple[int, int]
    stride: int
    padding: str


def _conv(channels, kernel=(1, 1), *, stride=1, padding="SAME"):
    """Returns a step of one convolution; the sum of two steps is a step of two side by side."""
    return (Conv(channels, kernel, stride, padding),)


def _mixed35(pool_channels):
    return {
        "b1x1": (_conv(64),),
        "b5x5": (_conv(48), _conv(64, (5, 5))),
        "b3x3dbl": (_conv(64), _conv(96, (3, 3)), _conv(96, (3, 3))),
        "pool": (AVG_POOL, _conv(pool_channels)),
    }


def _mixed17(c):
    return {
        "b1x1": (_conv(192),),
        "b7x7": (_conv(c), _conv(c, (1, 7)), _conv(192, (7, 1))),
        "b7x7dbl": (_conv(c), _conv(c, (7, 1)), _conv(c, (1, 7)), _conv(c, (7, 1)), _conv(192, (1, 7))),
        "pool": (AVG_POOL, _conv(192)),
    }


def _mixed8():
    wide, high = _conv(384, (1, 3)), _conv(384, (3, 1))
    return {
        "b1x1": (_conv(320),),
        "b3x3": (_conv(384), wide + high),
        "b3x3dbl": (_conv(448), _conv(384, (3, 3)), wide + high),
        "pool": (AVG_POOL, _conv(192)),
    }


STEM = (  # 299 x 299 x 3
    _conv(32, (3, 3), stride=2, padding="VALID"),  # 149 x 149 x 32
    _conv(32, (3, 3), padding="VALID"),  # 147 x 147 x 32
    _conv(64, (3, 3)),  # 147 x 147 x 64
    MAX_POOL,  # 73 x 73 x 64
    _conv(80),  # 73 x 73 x 80
    _conv(192, (3, 3), padding="VALID"),  # 71 x 71 x 192
    MAX_POOL,  # 35 x 35 x 192
)

BLOCKS = {  # in the order in which Keras creates (and numbers) its layers
    "stem": {"": STEM},
    "mixed0": _mixed35(32),  # 35 x 35 x 256
    "mixed1": _mixed35(64),  # 35 x 35 x 288
    "mixed2": _mixed35(64),  # 35 x 35 x 288
    "mixed3": {
        "b3x3": (_conv(384, (3, 3), stride=2, padding="VALID"),),
        "b3x3dbl": (_conv(64), _conv(96, (3, 3)), _conv(96, (3, 3), stride=2, padding="VALID")),
        "pool": (MAX_POOL,),
    },  # 17 x 17 x 768
    "mixed4": _mixed17(128),
    "mixed5": _mixed17(160),
    "mixed6": _mixed17(160),
    "mixed7": _mixed17(192),  # 17 x 17 x 768
    "mixed8": {
        "b3x3": (_conv(192), _conv(320, (3, 3), stride=2, padding="VALID")),
        "b7x7x3": (_conv(192), _conv(192, (1, 7)), _conv(192, (7, 1)), _conv(192, (3, 3), stride=2, padding="VALID")),
        "pool": (MAX_POOL,),
    },  # 8 x 8 x 1280
    "mixed9": _mixed8(),  # 8 x 8 x 2048
    "mixed10": _mixed8(),  # 8 x 8 x 2048
}


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
        if self.endpoint not in BLOCKS:
            raise ValueError(f"endpoint={self.endpoint!r} is not one of {', '.join(BLOCKS)}")
        _check_size("image_shape", self.image_shape)


def preprocess(x):
    """x / 127.5 - 1: what the published weights want. x: any shape, 0 ... 255, uint8 or floating -> float32."""
    return tf.cast(x, tf.float32) / 127.5 - 1.0


def blocks(config):
    """Returns {block: {path of a branch: its steps}} up to the endpoint, in order; the stem's one branch is "stem"."""
    names = list(BLOCKS)
    return {
        block: {f"{block}/{branch}" if branch else block: steps for branch, steps in BLOCKS[block].items()}
        for block in names[: names.index(config.endpoint) + 1]
    }


def units(config):
    """Returns {path: (Conv, input channels)} of every convolution up to the endpoint, in Keras' order of creation."""
    found, channels = {}, config.image_shape[2]
    for branches in blocks(config).values():
        for branch, steps in branches.items():
            width, number = channels, 0
            for step in steps:
                for conv in () if step in (AVG_POOL, MAX_POOL) else step:
                    found[f"{branch}/{number}"] = conv, width
                    number += 1
                width = _step_shape(step, (0, 0, width))[2]
        channels = sum(_branch_shape(steps, (0, 0, channels))[2] for steps in branches.values())
    return found


def feature_shape(config):
    """Returns (H, W, C) of the endpoint's activation: (7, 7, 768) of "mixed7" for pictures of 150 x 150."""
    shape = config.image_shape
    for branches in blocks(config).values():
        shapes = [_branch_shape(steps, shape) for steps in branches.values()]
        shape = (*shapes[0][:2], sum(channels for _, _, channels in shapes))
    return shape


def _branch_shape(steps, shape):
    for step in steps:
        shape = _step_shape(step, shape)
    return shape


def _step_shape(step, shape):
    """Returns (H, W, C) after a step. A step with a stride is VALID, so that all others keep or cut the sides."""
    height, width, channels = shape
    if step == AVG_POOL:
        return shape
    if step == MAX_POOL:
        return (height - 3) // 2 + 1, (width - 3) // 2 + 1, channels
    channels = sum(conv.channels for conv in step)
    _, (kh, kw), stride, padding = step[0]
    if padding == "SAME":
        return height, width, channels
    return (height - kh) // stride + 1, (width - kw) // stride + 1, channels


def init(seed, config):
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


def forward(config, weights, stats, x, *, training, seed=None):
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


def endpoints(config, weights, stats, x, *, training):
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
        x = activations[block] = _concat(outputs, name=block)
    if config.top:
        activations["logits"] = dense(weights["logits"], global_avg_pool(x), name="logits")
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
    x = conv2d(weights["conv"], x, stride=conv.stride, padding=conv.padding, name=f"{path}/conv")
    if "norm" not in weights:
        return tf.nn.relu(x), {}
    x, moved = batch_norm(weights["norm"], stats, x, training=training, epsilon=EPSILON, name=f"{path}/norm")
    return tf.nn.relu(x), {path: moved}


def fold(weights, stats):
    """Returns weights in which each batch norm is part of its convolution: w / sqrt(variance + epsilon) and a bias.

    `forward` takes them as they are, with stats {}, and gives the outputs of a frozen trunk (training=False) up to
    rounding; a folded layer ignores `training`. Leaves are tensors; those without a norm (the top) are shared.
    """
    if "norm" not in weights:
        return {key: fold(w, stats.get(key, {})) if isinstance(w, dict) else w for key, w in weights.items()}
    gain = tf.math.rsqrt(tf.convert_to_tensor(stats["variance"]) + EPSILON)  # [O]
    return {"conv": {"w": weights["conv"]["w"] * gain, "b": weights["norm"]["offset"] - stats["mean"] * gain}}


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
