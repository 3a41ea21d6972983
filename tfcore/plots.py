"""Pictures of a run, drawn with Matplotlib and written as PNG."""

from pathlib import Path

import numpy as np


def save_all(directory, history, confusion, class_names):
    """Writes curves.png and confusion.png.

    Args:
      history: the rows of metrics.jsonl.
      confusion: [C, C] counts, rows are the true classes.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _save(curves(history), directory / "curves.png")
    _save(confusion_matrix(np.asarray(confusion), class_names), directory / "confusion.png")


def figure(width, height, **options):
    """Returns a figure and its axes, without a window and without touching Matplotlib's global state."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained", dpi=100)
    return drawing, drawing.subplots(**options)


def _save(drawing, path):
    drawing.savefig(path)


def curves(history):
    """Draws loss and accuracy of training and validation over the epochs."""
    drawing, axes = figure(10, 4, ncols=2)
    epochs = [row["epoch"] for row in history]
    for ax, name in zip(axes, ("loss", "accuracy")):
        for split in ("train", "validation"):
            ax.plot(epochs, [row[split][name] for row in history], marker=".", label=split)
        ax.set(xlabel="epoch", ylabel=name)
        ax.grid(alpha=0.3)
        ax.legend()
    return drawing


def confusion_matrix(confusion, class_names):
    """Draws the counts; the shade is the fraction of the true class."""
    drawing, ax = figure(1.5 + 0.7 * len(class_names), 1.2 + 0.6 * len(class_names))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        ax.text(j, i, confusion[i, j], ha="center", va="center", color="white" if share > 0.5 else "black", fontsize=8)
    ticks = range(len(class_names))
    ax.set_xticks(ticks, class_names, rotation=45, ha="right")
    ax.set_yticks(ticks, class_names)
    ax.set(xlabel="predicted", ylabel="true")
    return drawing
