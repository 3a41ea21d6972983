"""What a network has learned: its first filters, and what its layers make of a picture."""

import math

import numpy as np

from tfcore.plots.figures import figure


def filters(kernels, *, name="", count=64, columns=16):
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


def feature_maps(image, layers, *, count=8):
    """Draws a picture and what each layer makes of it: the channels that vary most, on one scale a layer.

    Args:
      image: [H, W, C] uint8, C is 1 or 3.
      layers: {name: [H', W', C'], or [C'], or [P, C'] of P patches, floats}, in their order.
      count: channels of a layer.
    """
    rows = [("picture", image, f"{image.shape[0]} x {image.shape[1]}")]
    rows += [(name, *_strip(np.asarray(y, np.float32), count)) for name, y in layers.items()]
    drawing, axes = figure(9, 1.15 * len(rows), nrows=len(rows), squeeze=False)
    for ax, (name, strip, words) in zip(axes[:, 0], rows):
        look = {"cmap": "gray", "vmin": 0, "vmax": 255} if strip is image else {"cmap": "viridis"}
        ax.imshow(strip, aspect="equal" if strip.shape[0] > 1 else "auto", interpolation="nearest", **look)
        ax.set_title(f"{name}: {words}", fontsize=8, loc="left", pad=2)
        ax.set(xticks=[], yticks=[], frame_on=False)
        ax.set_anchor("W")
    return drawing


def mosaic(tiles, columns, gap=1):
    """Puts tiles side by side with a gap between them. tiles: [N, h, w] or [N, h, w, 3] -> a sheet of floats."""
    tiles = np.asarray(tiles, np.float32)
    count, height, width, *colors = tiles.shape
    rows = -(-count // columns)
    empty = 1.0 if colors else np.nan  # which is drawn white
    sheet = np.full([rows * columns, height + gap, width + gap, *colors], empty, np.float32)
    sheet[:count, :height, :width] = tiles
    sheet = sheet.reshape(rows, columns, height + gap, width + gap, *colors).swapaxes(1, 2)
    return sheet.reshape(rows * (height + gap), columns * (width + gap), *colors)[: -gap or None, : -gap or None]


def _strip(y, count):
    """Returns one row of maps of a layer's output, and what it shows in words."""
    y = np.atleast_1d(y)
    side = math.isqrt(y.shape[0])
    if y.ndim == 2 and side * side == y.shape[0]:
        y = y.reshape(side, side, -1)  # patches of a square picture
    if y.ndim != 3:
        return y.reshape(1, -1), f"{y.size} number{'s' * (y.size > 1)}"
    chosen = np.sort(np.argsort(-y.std((0, 1)), kind="stable")[:count])
    size = "x".join(map(str, y.shape))
    return mosaic(y[..., chosen].transpose(2, 0, 1), len(chosen)), f"{size}, the {len(chosen)} channels that vary most"
