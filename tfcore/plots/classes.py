"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfcore.plots.figures import drawable, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_matrix(confusion: np.ndarray, class_names: Sequence[str]) -> "Figure":
    """Draws the counts, [C, C], rows are the true classes; the shade is the fraction of the true class.

    Of more than 30 classes only the shades, and not every name.
    """
    class_names = drawable(class_names)
    count = min(len(class_names), 30)
    drawing, ax = figure(max(1.5 + 0.7 * count, 6), max(1.2 + 0.6 * count, 4))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares if len(class_names) == count else np.zeros([0, 0])):
        ax.text(j, i, confusion[i, j], ha="center", va="center", color="white" if share > 0.5 else "black", fontsize=8)
    ticks = range(0, len(class_names), -(-len(class_names) // 30))
    ax.set_xticks(ticks, [class_names[i] for i in ticks], rotation=45, ha="right")
    ax.set_yticks(ticks, [class_names[i] for i in ticks])
    ax.set(xlabel="predicted", ylabel="true")
    return drawing
