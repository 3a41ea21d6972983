"""The figures of docs/mechanics.md: functions of arrays that return figures; their words are the page's."""

import io
import itertools
from pathlib import Path

import numpy as np
from PIL import Image

from tfcore import files, mechanics
from tfcore.plots import figure, png

SHADE, PALE = "0.83", "0.4"  # of a window, and of zeros that are no part of the picture
GRAYS = 32


def save(directory, drawings):
    """Writes each of {name: figure} as `directory`/name.png, in GRAYS grays: small, and as on paper."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings.items():
        picture = Image.open(io.BytesIO(png(drawing))).convert("L").quantize(GRAYS)
        with files.durable(directory / f"{name}.png") as file:
            picture.save(file, format="png", optimize=True)


def cells(ax, values, title="", *, marked=(), pale=(), texts=None, room=None):
    """Draws a matrix as cells with its numbers, in the middle of `room` = (rows, columns) of cells.

    marked, pale: (row, column) of cells to shade, and of cells whose number is gray.
    texts: [H, W] of what to write in place of the numbers.
    """
    texts = words(values) if texts is None else texts
    rows, columns = texts.shape
    for (i, j), text in np.ndenumerate(texts):
        face, color = SHADE if (i, j) in marked else "white", PALE if (i, j) in pale else "black"
        frame(ax, i, j, 1, facecolor=face)
        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=15 - len(text), color=color)
    ax.text(columns / 2, -0.3, title, ha="center", va="bottom", fontsize=14)
    height, width = room or (rows, columns)
    left, top = (width - columns) / 2, (height - rows) / 2
    ax.set(xlim=(-left - 0.1, columns + left + 0.1), ylim=(rows + top + 0.1, -top - 0.9), aspect="equal")
    ax.set_axis_off()


def frame(ax, row, column, side, **options):
    """Adds the outline of a square to a drawing."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((column, row), side, side, **{"edgecolor": "black", "linewidth": 1, **options}))


def number(value):
    """Returns a number as short as it is, with a real minus."""
    return f"{value + 0:.3g}".replace("-", "−")


def words(values):
    """Returns the numbers of a matrix as they are written."""
    return np.vectorize(number, otypes=[object])(values)


def block(top, left, height, width):
    """Returns the places of a rectangle of cells."""
    return set(itertools.product(range(top, top + height), range(left, left + width)))


def where(mask):
    """Returns the places where a matrix is true."""
    return {tuple(place) for place in np.argwhere(mask)}


def sliding(x, w, ways):
    """Draws each step of the sliding dot product. x: [H, W], w: [k, k]; a row for each (stride, padding) of `ways`."""
    pictures = [mechanics.padded(x[..., np.newaxis], w.shape, *way)[..., 0] for way in ways]
    heights, widest = [len(bordered) + 1 for bordered in pictures], max(bordered.shape[1] for bordered in pictures)
    drawing, axes = figure(11, 0.52 * sum(heights), nrows=len(ways), ncols=4, height_ratios=heights)
    for (stride, padding), row, bordered in zip(ways, axes, pictures):
        (top, _), (left, _) = (mechanics.margins(n, k, stride, padding) for n, k in zip(x.shape, w.shape))
        zeros, room = block(0, 0, *bordered.shape) - block(top, left, *x.shape), (len(bordered), widest)
        for ax, (i, j, window) in zip(row, mechanics.windows(x[..., np.newaxis], w.shape, stride, padding)):
            texts, marked = words(bordered), block(i * stride, j * stride, *w.shape)
            for place, factor in zip(sorted(marked), w.ravel()):
                texts[place] = f"{texts[place]}·{number(factor)}"
            title = f"place ({i}, {j}): {number(np.sum(window[..., 0] * w))}"
            cells(ax, bordered, title, marked=marked, texts=texts, pale=zeros, room=room)
        row[0].set_title(f"stride {stride}, {padding}", loc="left", fontsize=14, fontweight="bold")
    return drawing


def products(x, w):
    """Draws a convolution as im2col times the kernel. x: [H, W], w: [k, k]."""
    rows = mechanics.im2col(x[..., np.newaxis], w.shape)
    drawing, axes = figure(10, 5, ncols=3, width_ratios=[9.2, 4, 4])
    room = (w.size, 4)
    cells(axes[0], rows, "im2col: a window in each row", marked=block(0, 0, 1, w.size), room=(w.size, w.size))
    cells(axes[1], w.reshape(-1, 1), "times kernel", marked=block(0, 0, w.size, 1), room=room)
    cells(axes[2], rows @ w.reshape(-1, 1), "is the output", marked={(0, 0)}, room=room)
    return drawing


def dense(x, w):
    """Draws the weights of the dense layer that does what a convolution does. x: [H, W], w: [k, k]."""
    w, shape = w[..., np.newaxis, np.newaxis], (*x.shape, 1)
    weights = mechanics.as_dense(w, shape).T
    connected = mechanics.as_dense(np.ones_like(w), shape).T == 1
    texts = np.where(connected, words(weights), "")
    drawing, ax = figure(10, 3.2)
    title = "a column for each pixel, a row for each output; empty cells are 0"
    cells(ax, weights, title, texts=texts, marked=where(connected))
    return drawing


def edges(picture, responses):
    """Draws a gray picture [H, W] and the size of each of the two edge kernels' responses to it, black on white."""
    drawing, axes = figure(10, 2.6, ncols=3)
    shown(axes[0], -picture, "photograph")
    for ax, (title, response) in zip(axes[1:], responses.items()):
        shown(ax, np.abs(response), title, vmax=np.percentile(np.abs(response), 99))
    return drawing


def letters(pictures, kernels):
    """Draws pictures {name: [H, W]} and how each of the kernels {name: [k, k]} answers to them."""
    drawing, axes = figure(9.6, 6.6, nrows=1 + len(pictures), ncols=1 + len(kernels), height_ratios=[2.2, 2, 2])
    axes[0, 0].set_axis_off()
    for ax, (name, kernel) in zip(axes[0, 1:], kernels.items()):
        cells(ax, kernel, f"{name} kernel")
    for row, (name, picture) in zip(axes[1:], pictures.items()):
        shown(row[0], picture, name)
        for ax, kernel in zip(row[1:], kernels.values()):
            response = mechanics.conv2d(picture[..., np.newaxis], kernel[..., np.newaxis, np.newaxis])[..., 0]
            shown(ax, response, f"largest answer: {number(response.max())}", vmin=0, vmax=6)
            i, j = np.unravel_index(response.argmax(), response.shape)
            _write(ax, i, j, response[i, j], dark=3)
    return drawing


def shown(ax, picture, title, size=14, **options):
    """Draws a picture, large numbers dark."""
    ax.imshow(picture, cmap="gray_r", **options)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=size)


def _write(ax, i, j, value, dark):
    """Writes the number of a pixel into it, in white above `dark`."""
    color = "white" if value > dark else "black"
    ax.text(j, i, number(value), ha="center", va="center", fontsize=14, color=color)


def learned(pictures, history, accuracy):
    """Draws noisy letters, and kernels as they are learned.

    pictures: [2, H, W], an E and an A; history: {step: kernels [k, k, 1, 2]}; accuracy: {step: of new pictures}.
    """
    drawing, axes = figure(11, 5, nrows=2, ncols=1 + len(history))
    for row, name, picture in zip(axes, "EA", pictures):
        shown(row[0], picture, f"one {name} of many")
    limit = max(kernels.max() for kernels in history.values())
    for column, (step, kernels) in zip(axes[:, 1:].T, history.items()):
        for ax, name, kernel in zip(column, "EA", np.moveaxis(kernels[..., 0, :], -1, 0)):
            head = f"step {step}: {accuracy[step]:.1%}\n" if name == "E" else ""
            shown(ax, kernel, f"{head}kernel of {name}", vmin=-limit, vmax=1.3 * limit)
            for (i, j), value in np.ndenumerate(kernel):
                _write(ax, i, j, round(value, 1), dark=0.3 * limit)
    return drawing


def gradients(x, w, dy):
    """Draws the two convolutions of the way back. x: [H, W], w: [k, k], dy: [H', W']."""
    dw, dx = mechanics.conv2d_gradients(x[..., np.newaxis], w[..., np.newaxis, np.newaxis], dy[..., np.newaxis])
    border = w.shape[0] - 1
    full = np.pad(dy, border)
    drawing, axes = figure(9, 5.4, nrows=2, ncols=3)
    room = full.shape
    zeros = block(0, 0, *room) - block(border, border, *dy.shape)
    cells(axes[0, 0], x, "input X", room=room, marked=block(0, 0, *dy.shape))
    cells(axes[0, 1], dy, "convolved with dL/dO", room=room, marked=block(0, 0, *dy.shape))
    cells(axes[0, 2], dw[..., 0, 0], "is dL/dF", room=room, marked={(0, 0)})
    cells(axes[1, 0], full, "dL/dO with zeros around", room=room, marked=block(0, 0, *w.shape), pale=zeros)
    cells(axes[1, 1], w[::-1, ::-1], "convolved with F turned", room=room, marked=block(0, 0, *w.shape))
    cells(axes[1, 2], dx[..., 0], "is dL/dX", room=room, marked={(0, 0)})
    return drawing


def pools(x, dy):
    """Draws max and average pools of 2 x 2, and where their gradients go. x: [4, 4], dy: [2, 2]."""
    x, dy = x[..., np.newaxis], dy[..., np.newaxis]
    best, places = mechanics.max_pool(x)
    back = mechanics.max_pool_gradient(dy, places, x.shape)
    rows = {"max": (best, back), "average": (mechanics.avg_pool(x), mechanics.avg_pool_gradient(dy, x.shape))}
    drawing, axes = figure(10, 5.6, nrows=2, ncols=4)
    for row, (name, (y, dx)) in zip(axes, rows.items()):
        largest = where(back[..., 0]) if name == "max" else ()
        for ax, values, title in zip(row, (x, y, dy, dx), ("input X", f"{name} pool O", "dL/dO", "dL/dX")):
            cells(ax, values[..., 0], title, marked=largest if len(values) == 4 else (), room=(4, 4))
        for ax, corner in itertools.product((row[0], row[3]), itertools.product((0, 2), (0, 2))):
            frame(ax, *corner, 2, fill=False, linewidth=3)
    return drawing


def touches(shape, kernel):
    """Draws how many windows see each pixel, without zeros around the picture and with them."""
    drawing, axes = figure(8, 4.2, ncols=2)
    for ax, padding, about in zip(axes, ("VALID", "SAME"), ("no padding", "zeros around")):
        counts = mechanics.touches(shape, kernel, padding)
        cells(ax, counts, f"{padding}, {about}", marked=where(counts == counts.max()))
    return drawing


def fields(found):
    """Draws the mean gradient of each pixel, {name: Field}: dark is large; the frame is what could be seen."""
    drawing, axes = figure(11, 3.6, ncols=len(found))
    for ax, (name, field) in zip(axes, found.items()):
        title = f"{name}\n{field.side} in theory, {field.effective:.1f} in effect"
        shown(ax, field.gradients, title, size=12, vmin=0, vmax=1)
        row, column = (begin - 0.5 for begin in field.begin)
        inset, edge = (field.side - field.effective) / 2, 0.05 * field.side
        frame(ax, row, column, field.side, fill=False, linewidth=2)
        frame(ax, row + inset, column + inset, field.effective, fill=False, linewidth=2, linestyle=":")
        ax.set(xlim=(column - edge, column + field.side + edge), ylim=(row + field.side + edge, row - edge))
        ax.set_axis_off()
    return drawing
