"""Pictures side by side with words, and what was found in a folder of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfcore.plots.figures import drawable, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfcore.data.folders import Survey

COLUMNS = 5


def gallery(
    images: np.ndarray, titles: Sequence[str] | None = None, *, columns: int = COLUMNS, marked: np.ndarray | None = None
) -> "Figure":
    """Draws pictures in rows, each with its title below it.

    Args:
      images: [N, H, W, C] uint8, C is 1 or 3.
      titles: N texts, of one or two lines; None for none.
      columns: pictures in a row.
      marked: [N] booleans: whose title is bold and red.
    Raises:
      ValueError: images are not uint8.
    """
    images = _pixels(images)
    titles = [""] * len(images) if titles is None else titles
    lines = max([title.count("\n") + 1 for title in titles if title], default=0)
    rows = max(1, -(-len(images) // columns))
    side = 8.0 / columns  # hundreds of pixels of a picture's width
    proportion = images.shape[1] / images.shape[2]
    tall, wide = proportion + lines * 0.21 / side + 0.06, 1.06  # of a cell, in widths of a picture
    size = side * wide * columns, side * tall * rows + 0.3
    drawing, ax = figure(*size, layout=None)
    ax.set_position([0, 0, 1, 1 - 0.3 / size[1]])  # a title is above
    for i, (image, title) in enumerate(zip(images, titles)):
        x, y = i % columns * wide, i // columns * tall
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(x, x + 1, y + proportion, y), interpolation="nearest")
        style = {"color": "firebrick", "weight": "bold"} if marked is not None and marked[i] else {}
        ax.text(x + 0.5, y + proportion + 0.02, title, ha="center", va="top", fontsize=9, **style)
    ax.set(xlim=(-0.03, columns * wide - 0.03), ylim=(rows * tall, -0.03), aspect="equal")
    ax.set_axis_off()
    if not len(images):
        ax.text(columns * wide / 2, tall / 2, "none", ha="center")
    return drawing


def predictions(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray | None,
    class_names: Sequence[str],
    *,
    columns: int = COLUMNS,
) -> "Figure":
    """Draws pictures with their true class, and the predicted one with its probability; mistakes are bold and red.

    Args:
      images: [N, H, W, C] uint8, C is 1 or 3.
      probabilities: [N, C] floats in 0..1.
      labels: [N] integers; None where the true class is not known.
      class_names: the C names.
    """
    names, chosen = drawable(class_names), np.argmax(probabilities, axis=1)
    said = [f"{names[c]} {p[c]:.2f}" for c, p in zip(chosen, probabilities)]
    if labels is None:
        return gallery(images, said, columns=columns)
    titles = [f"true: {names[label]}\nsaid: {words}" for label, words in zip(labels, said)]
    return gallery(images, titles, columns=columns, marked=chosen != np.asarray(labels))


def survey(found: "Survey") -> "Figure":
    """Draws the counts of the classes and how the sizes of the pictures spread, of a `folders.Survey`."""
    drawing, axes = figure(10, 4, ncols=2)
    places = range(len(found.counts))
    bars = axes[0].bar(places, list(found.counts.values()), color="tab:blue")
    axes[0].bar_label(bars, fmt="{:,.0f}")
    axes[0].set_xticks(places, drawable(found.counts), rotation=45 if len(found.counts) > 6 else 0)
    axes[0].set(ylabel="pictures")
    sizes, counts = np.array([*found.sizes]).reshape(-1, 2), np.array([*found.sizes.values()], float)
    area = 6 + 200 * counts / max(counts.max(initial=0), 1)
    axes[1].scatter(*sizes.T, s=area, alpha=0.4, color="tab:blue", edgecolors="black", linewidths=0.3)
    most = [f"sizes; most often {width} x {height} ({count:,})" for (width, height), count in found.sizes.items()][:1]
    axes[1].set(xlabel="width, pixels", ylabel="height, pixels", title="".join(most))
    axes[1].title.set_fontsize(9)
    axes[0].margins(y=0.12)
    axes[1].grid(alpha=0.3)
    return drawing


def _pixels(images):
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"pictures to look at are uint8, 0 to 255, not {images.dtype}")
    return images
