"""The blocks of InceptionV3 as a table: what `inception_v3` reads.

A block is branches side by side, a branch is steps one after the other. A step is a pool or a tuple of convolutions:
one, or two that read the same input. Blocks bear the names they have in Keras.
"""

import typing
from collections.abc import Sequence

AVG_POOL: typing.Final = "avg_pool"  # 3x3, stride 1, SAME; padding is not counted
MAX_POOL: typing.Final = "max_pool"  # 3x3, stride 2, VALID


class Conv(typing.NamedTuple):
    """A convolution with its batch norm and relu: a row of the table."""

    channels: int
    kernel: tuple[int, int]
    stride: int
    padding: str


Step = typing.Literal["avg_pool", "max_pool"] | tuple[Conv, ...]  # a pool, or convolutions that read the same input


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


def branch_shape(steps: Sequence[Step], shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Returns (H, W, C) after the steps of a branch."""
    for step in steps:
        shape = step_shape(step, shape)
    return shape


def step_shape(step: Step, shape: tuple[int, int, int]) -> tuple[int, int, int]:
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
