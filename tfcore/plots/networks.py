"""What a network has learned: its first filters, and what its layers make of a picture."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfcore.plots.figures import ENLARGED, drawable, figure
from tfcore.showing import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of `layers`, where 1 is the width of a map, 130 pixels:
SIZE = 1.3
STEP = 1.08  # from a map to the next
LINE = 0.17  # the height of a line of text
FEW = 12  # numbers of a layer that are written in words


def filters(kernels: np.ndarray, *, name: str = "", count: int = 64, columns: int = 16) -> "Figure":
    """Draws filters side by side, on one scale: in colour where they read colours, else from black over gray to white.

    Args:
      kernels: [h, w, C, O] floats: of a convolution, or of a dense layer's weights as templates of pictures.
        Of other than 1 or 3 channels the mean over them is drawn.
      name: of the weights.
      count: the first so many are drawn.
    """
    kernels = np.asarray(kernels, np.float32)
    total, channels = kernels.shape[3], kernels.shape[2]
    shown = kernels.transpose(3, 0, 1, 2)[:count]
    shown = shown if channels in (1, 3) else shown.mean(3, keepdims=True)
    limit = float(np.abs(shown).max()) or 1.0
    shown = shown[..., 0] if shown.shape[3] == 1 else 0.5 + shown / (2 * limit)
    sheet = mosaic(shown, min(columns, len(shown)))
    drawing, ax = figure(8, 1 + 7 * sheet.shape[0] / sheet.shape[1])
    drawn = ax.imshow(sheet, cmap="gray", vmin=-limit, vmax=limit)
    if sheet.ndim == 2:
        drawing.colorbar(drawn, ax=ax, shrink=0.8)
    ax.set_axis_off()
    size = "x".join(map(str, kernels.shape[:3]))
    ax.set_title(f"{name}: {min(count, total)} of {total} filters of {size}", fontsize=8)
    return drawing


def layers(
    image: np.ndarray,
    outputs: dict[str, np.ndarray],
    kernels: dict[str, np.ndarray],
    *,
    title: str = "",
    class_names: Sequence[str] = (),
    count: int = 8,
) -> "Figure":
    """Draws a picture and each layer below it: some kernels, and under each what its channel makes of the picture.

    The kernels of a layer are on one scale, and so is what it gives. The numbers above them are those of the channels.

    Args:
      image: [H, W, C] uint8, C is 1 or 3.
      outputs: {layer: [H', W', C'], or [C'], or [P, C'] of P patches, floats}, in their order.
      kernels: {layer: [h, w, I, C'] floats}, of those layers that have a kernel, or a template, for each channel.
        The first layer's are drawn in colour where they read colours; of other I > 1 input channels that one is drawn
        which has the largest weights.
      title: which run, set and part it is.
      class_names: of the logits, which come last; of both classes where there is one logit.
      count: channels of a layer that are drawn: those that vary most over the picture, or have the largest numbers.
    """
    drawing, ax = figure(1, 1, layout=None)  # its size is known at the end
    ax.set_axis_off()
    bottom = _line(ax, 0.0, readable(title))
    bottom = _line(ax, bottom, f"picture: {_size(image.shape)}")
    bottom = _tiles(ax, bottom, [image], 1.5, cmap="gray", vmin=0, vmax=255)
    for i, (name, y) in enumerate(outputs.items()):
        y, bottom = _maps(np.asarray(y, np.float32)), bottom + LINE
        chosen = _strongest(y, count)
        if name in kernels:
            w = np.asarray(kernels[name], np.float32)
            in_colour = i == 0 and w.shape[2] == image.shape[2] == 3
            kind, size = ("kernels", 0.5) if y.ndim == 3 else ("templates", 1.0)
            bottom = _kernels(ax, bottom, f"{name}: {len(chosen)} of {w.shape[3]} {kind}", w, chosen, size, in_colour)
        if y.ndim == 3:
            bottom = _channels(ax, bottom, name, y, chosen)
        else:
            bottom = _numbers(ax, bottom, name, y, STEP * count, class_names if i == len(outputs) - 1 else ())
    width, height = STEP * count + 0.1, bottom + 0.2
    ax.set(position=[0, 0, 1, 1], xlim=(-0.1, width - 0.1), ylim=(bottom + 0.1, -0.1), aspect="equal")
    drawing.set_size_inches(SIZE * width / ENLARGED, SIZE * height / ENLARGED)
    return drawing


def _kernels(ax, top, what, w, chosen, size, in_colour):
    """Draws the kernels of the chosen channels below `top`. w: [h, w, I, O]. Returns where they end."""
    shown, more = w[..., chosen].transpose(3, 0, 1, 2), ""
    if w.shape[2] > 1 and not in_colour:
        heaviest = np.square(shown).sum((1, 2)).argmax(1)
        shown = np.stack([kernel[..., [c]] for kernel, c in zip(shown, heaviest)])
        more = f"; of {w.shape[2]} input channels the one with the largest weights"
    limit = float(np.abs(shown).max()) or 1.0
    scale = f"black {-limit:.2g}, gray 0, white {limit:.2g}" + ", for each colour" * in_colour
    top = _line(ax, top, f"{what} of {_size(w.shape[:3])}; {scale}{more}")
    look = {"cmap": "gray", "vmin": -limit, "vmax": limit}
    return _tiles(ax, top, 0.5 + shown / (2 * limit) if in_colour else shown, size, chosen, **look)


def _channels(ax, top, name, y, chosen):
    """Draws the chosen channels of y, [H, W, C], below `top`. Returns where they end."""
    shown = y[..., chosen].transpose(2, 0, 1)
    low, high = shown.min(), shown.max()
    what = f"{len(chosen)} of {y.shape[2]} channels, those that vary most"
    top = _line(ax, top, f"{name} gives {_size(y.shape)}: {what}; dark {low:.3g}, bright {high:.3g}")
    return _tiles(ax, top, shown[..., np.newaxis], 1.0, chosen, cmap="viridis", vmin=low, vmax=high)


def _numbers(ax, top, name, y, wide, class_names):
    """Draws y, [C], as a strip below `top`, with the numbers and the classes where they are few. Returns its end."""
    scale = f" numbers; dark {y.min():.3g}, bright {y.max():.3g}" if y.size > 1 else " number"
    top = _line(ax, top, f"{name} gives {y.size}{scale}")
    step = min(wide / y.size, STEP)
    strip = {"extent": (0, step * y.size - 0.08, top + 0.3, top), "interpolation": "nearest", "aspect": "auto"}
    ax.imshow(y[np.newaxis], cmap="viridis", **strip)
    if y.size > FEW:
        return top + 0.3
    names = [f"{class_names[1]} above 0"] if y.size == 1 and len(class_names) == 2 else class_names
    for i, number in enumerate(y):
        color = "black" if 2 * number > y.min() + y.max() else "white"
        ax.text(step * (i + 0.5) - 0.04, top + 0.15, f"{number:.2f}", color=color, fontsize=8, ha="center", va="center")
    for i, label in enumerate(drawable(names) if len(names) == y.size else ()):
        ax.text(step * (i + 0.5) - 0.04, top + 0.34, label[:14], fontsize=8, ha="center", va="top")
    return top + 0.3 + LINE


def _line(ax, top, words):
    """Writes a line of text below `top`. Returns where it ends."""
    ax.text(0, top + 0.02, words, fontsize=9, va="top")
    return top + LINE


def _tiles(ax, top, tiles, width, numbers=None, **look):
    """Draws tiles, each [h, w, 1 or 3], side by side below `top`, each under its number. Returns where they end."""
    top += 0.0 if numbers is None else LINE
    height = width * tiles[0].shape[0] / tiles[0].shape[1]
    for i, tile in enumerate(tiles):
        left = STEP * i + (max(1.0, width) - width) / 2
        extent = (left, left + width, top + height, top)
        ax.imshow(tile, extent=extent, interpolation="nearest", **look)
        if numbers is not None:
            ax.text(left + width / 2, top - 0.02, numbers[i], fontsize=8, ha="center", va="bottom", color="dimgray")
    return top + height + 0.05


def mosaic(tiles: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Puts tiles side by side with a gap between them. tiles: [N, h, w] or [N, h, w, 3] -> a sheet of floats."""
    tiles = np.asarray(tiles, np.float32)
    count, height, width, *colors = tiles.shape
    rows = -(-count // columns)
    empty = 1.0 if colors else np.nan  # which is drawn white
    sheet = np.full([rows * columns, height + gap, width + gap, *colors], empty, np.float32)
    sheet[:count, :height, :width] = tiles
    sheet = sheet.reshape(rows, columns, height + gap, width + gap, *colors).swapaxes(1, 2)
    return sheet.reshape(rows * (height + gap), columns * (width + gap), *colors)[: -gap or None, : -gap or None]


def _maps(y):
    """Returns a layer's output as [H, W, C], or [C] where there is nothing to see in two dimensions."""
    side = math.isqrt(y.shape[0]) if y.ndim == 2 else 0
    if y.ndim == 2 and side * side == y.shape[0]:
        return y.reshape(side, side, -1)  # patches of a square picture
    return y if y.ndim == 3 else y.reshape(-1)


def _strongest(y, count):
    """Returns the places of the channels of y that vary most over the picture, [H, W, C], or are largest, [C]."""
    strength = y.std((0, 1)) if y.ndim == 3 else np.abs(y)
    return np.sort(np.argsort(-strength, kind="stable")[:count])


def _size(shape):
    return "x".join(map(str, shape))
