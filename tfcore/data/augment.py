"""Augmentation in the graph: a move of pixels and a change of tone per image, drawn from (seed, epoch, index)."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from tfcore.init import fold_in
from tfcore.quiet import tf
from tfcore.types import Array, Seed, Tensor

DRAWS = 9  # random numbers for each image
FILLS = ("nearest", "constant", "reflect")
# At a shear of 90 degrees or a zoom of 1 the whole image would be a single line.
LIMITS = {
    "shift": 1.0, "shear": 89.0, "zoom": 0.99, "rotation": 180.0, "brightness": 1.0, "contrast": 1.0,
    "elastic": 0.5,
}  # fmt: skip
WAVES = ((1, 0), (0, 1), (1, 1), (1, -1))  # of elastic distortions: cycles a picture, along x and along y


@dataclasses.dataclass(frozen=True)
class Augment:
    """The ranges to draw from; all zero changes nothing.

    shift: the largest move along each axis, as a fraction of the side, 0 .. 1.
    shear: the largest angle, in degrees, below 90: lines that lean by it become upright.
    zoom: the largest relative change of the part of the image that is seen, drawn for each axis, below 1:
      the picture appears at 1 / (1 - zoom) to 1 / (1 + zoom) of its size.
    rotation: the largest angle, in degrees, up to 180.
    elastic: the root mean square of a smooth displacement along each axis, as a fraction of the side, up to 0.5: what
      a hand does to a letter (Simard et al., ICDAR 2003, with waves in place of smoothed noise).
    flip: mirror left and right, each image with probability one half.
    brightness: the largest addition, as a fraction of the range of pixels, 0 .. 1.
    contrast: the largest relative change of the distance to the image's mean, 0 .. 1.
    whole_pixels: round shifts to whole pixels: without other moves nothing is blurred.
    fill: what lies outside: "nearest" (the edge repeated), "constant" (black) or "reflect" (cba|abc|cba).

    Raises:
      ValueError: a range is outside these limits, or `fill` is none of the three.
    """

    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    rotation: float = 0.0
    elastic: float = 0.0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    fill: str = "nearest"
    whole_pixels: bool = False

    def __post_init__(self):
        for name, limit in LIMITS.items():
            if not 0 <= getattr(self, name) <= limit:  # in this form NaN is refused too
                raise ValueError(f"augmentation {name}={getattr(self, name)} must be between 0 and {limit}")
        if self.fill not in FILLS:
            raise ValueError(f"augmentation fill={self.fill!r} is not one of {', '.join(FILLS)}")

    @property
    def changes(self) -> bool:
        """True when images change at all."""
        return self.moves or self.tones

    @property
    def moves(self) -> bool:
        """True when pixels change place."""
        return any((self.shift, self.shear, self.zoom, self.rotation, self.elastic, self.flip))

    @property
    def tones(self) -> bool:
        """True when pixels change value."""
        return any((self.brightness, self.contrast))


def draw(seed: Seed, epoch: int, n: int) -> Tensor:
    """Draws n changes, [n, 9] float32 in -1 .. 1: a pure function of its arguments. Row i belongs to image i."""
    return tf.random.stateless_uniform([n, DRAWS], fold_in(fold_in(seed, "augment"), epoch), -1.0, 1.0)


def examples(
    change: Callable[[Array, Tensor], Tensor],
    seed: Seed,
    images: np.ndarray,
    rows: np.ndarray,
    n: int,
    *,
    epochs: int = 7,
) -> np.ndarray:
    """Returns each image as it is and as the first epochs show it: [N, 1 + epochs, H, W, C] in NumPy.

    Args:
      change: (images, draws [N, 9]) -> images: `apply` with its configuration bound, or a function of yours.
      images: N of the n training images, and rows: [N] integers, which ones.
    """
    draws = (tf.gather(draw(seed, epoch, n), rows) for epoch in range(epochs))
    shown = [np.asarray(change(images, drawn)) for drawn in draws]
    return np.stack([images, *shown], axis=1)


def affine(config: Augment, draws: Tensor, height: int, width: int) -> Tensor:
    """Returns the maps from output to input pixels: (x, y) -> (a0 x + a1 y + a2, b0 x + b1 y + b2).

    input - centre = flip · zoom · rotation · shear · (output - centre - shift): seen from the image, it is flipped,
    zoomed, rotated (a positive draw: counter-clockwise), sheared, then moved (right and down).

    Args:
      draws: [N, 9] as `draw` makes them.
      height, width: of the image.
    Returns: [N, 8] float32: a0, a1, a2, b0, b1, b2, 0, 0.
    """
    dx, dy, shear, zoom_x, zoom_y, turn, mirror, _, _ = tf.unstack(draws, axis=1)
    turn, shear = turn * math.radians(config.rotation), shear * math.radians(config.shear)
    zoom_x, zoom_y = 1 + config.zoom * zoom_x, 1 + config.zoom * zoom_y
    flip = tf.where(mirror < 0, -1.0, 1.0) if config.flip else tf.ones_like(dx)
    a0, a1 = flip * zoom_x * tf.cos(turn), -flip * zoom_x * tf.sin(turn + shear)
    b0, b1 = zoom_y * tf.sin(turn), zoom_y * tf.cos(turn + shear)
    dx, dy = config.shift * width * dx, config.shift * height * dy
    if config.whole_pixels:
        dx, dy = tf.round(dx), tf.round(dy)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    ox, oy = cx + dx, cy + dy  # the output point that shows the centre
    zero = tf.zeros_like(dx)
    return tf.stack([a0, a1, cx - a0 * ox - a1 * oy, b0, b1, cy - b0 * ox - b1 * oy, zero, zero], axis=1)


def apply(config: Augment, images: Array, draws: Tensor) -> Tensor:
    """Returns the images changed as drawn. images: [N, H, W, C] uint8, draws: [N, 9] -> [N, H, W, C] uint8."""
    x = tf.cast(images, tf.float32)
    if config.moves:
        maps = affine(config, draws, *images.shape[1:3])
        if config.elastic:
            x = sample(x, *elastic(config, draws, maps, *images.shape[1:3]), fill=config.fill)
        else:
            x = transform(x, maps, fill=config.fill)
    if config.tones:
        brightness, contrast = (tf.reshape(draws[:, i], [-1, 1, 1, 1]) for i in (7, 8))
        mean = tf.reduce_mean(x, [1, 2, 3], keepdims=True)
        x = (x - mean) * (1 + config.contrast * contrast) + mean + 255 * config.brightness * brightness
    return tf.cast(tf.clip_by_value(tf.round(x), 0.0, 255.0), tf.uint8)


def transform(images: Tensor, maps: Tensor, *, fill: str = "nearest") -> Tensor:
    """Resamples each image along its map, bilinearly. images: [N, H, W, C] float32, maps: [N, 8] -> [N, H, W, C].

    Not under XLA: its CPU compiler lacks this operation.
    """
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=maps,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill.upper(),
    )
    return tf.ensure_shape(moved, images.shape)  # it forgets it


def elastic(config: Augment, draws: Tensor, maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Returns where each output pixel looks: the affine map, and a displacement that is a sum of waves.

    The amplitudes are what the draws have behind their 5th and 10th bit, as good as independent of the draws.

    Args:
      draws: [N, 9] as `draw` makes them; maps: [N, 8] as `affine` makes them.
    Returns: x, y, [N, H, W] float32, in pixels.
    """
    n, count = draws.shape[0], 4 * len(WAVES)
    x, y = (tf.cast(side, tf.float32) for side in tf.meshgrid(tf.range(width), tf.range(height)))  # [H, W]
    phases = [2 * math.pi * (cycles_x * x / width + cycles_y * y / height) for cycles_x, cycles_y in WAVES]
    waves = tf.reshape(tf.stack([f(phase) for f in (tf.cos, tf.sin) for phase in phases]), [count // 2, -1])
    bits = tf.concat([draws * 2.0**5, draws * 2.0**10], axis=1)[:, :count]
    size = config.elastic * (3 / len(WAVES)) ** 0.5  # an amplitude has variance 1/3, a wave and its neighbour too
    moved = tf.reshape(2 * (bits - tf.round(bits)), [n, 2, count // 2]) @ waves * size  # [N, 2, H W]
    moved = tf.reshape(moved, [n, 2, height, width])
    a0, a1, a2, b0, b1, b2 = tf.unstack(maps[:, :6, tf.newaxis, tf.newaxis], axis=1)
    return a0 * x + a1 * y + a2 + width * moved[:, 0], b0 * x + b1 * y + b2 + height * moved[:, 1]


def sample(images: Tensor, x: Tensor, y: Tensor, *, fill: str = "nearest") -> Tensor:
    """Returns the images looked at in other places, bilinearly. images: [N, H, W, C]; x, y: [N, H, W], in pixels."""
    height, width, channels = images.shape[1:]
    flat = tf.reshape(images, [-1, height * width, channels])
    left, top = tf.floor(x), tf.floor(y)
    total = 0.0
    for dy in (0, 1):
        for dx in (0, 1):
            column, seen_x = _inside(tf.cast(left, tf.int32) + dx, width, fill)
            row, seen_y = _inside(tf.cast(top, tf.int32) + dy, height, fill)
            weight = (1 - tf.abs(x - left - dx)) * (1 - tf.abs(y - top - dy)) * seen_x * seen_y
            corner = tf.gather(flat, tf.reshape(row * width + column, [-1, height * width]), batch_dims=1)
            total += corner * tf.reshape(weight, [-1, height * width, 1])
    return tf.reshape(total, tf.shape(images))


def _inside(i, side, fill):
    """Returns the pixels that are seen at the places i, and whether they are: 1.0 or 0.0."""
    if fill == "reflect":
        i = tf.math.floormod(i, 2 * side)
        return tf.minimum(i, 2 * side - 1 - i), 1.0
    clipped = tf.clip_by_value(i, 0, side - 1)
    return clipped, tf.cast(clipped == i, tf.float32) if fill == "constant" else 1.0


def views(images: Tensor, *, flip: bool = False, shift: int = 0) -> Tensor:
    """Returns each picture as it is, by its mirror image and by all moves of up to `shift` pixels, edges repeated.

    To average a network's logits over. images: [N, H, W, C] -> [V * N, H, W, C], V = (1 + flip) (2 shift + 1)^2.
    """
    height, width = images.shape[1:3]
    for _ in range(shift):
        images = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")  # by one: the edge itself
    moves = [(dy, dx) for dy in range(2 * shift + 1) for dx in range(2 * shift + 1)]
    shown = [images[:, dy : dy + height, dx : dx + width] for dy, dx in moves]
    return tf.concat(shown + [tf.reverse(view, [2]) for view in shown] * flip, axis=0)
