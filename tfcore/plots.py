"""Pictures of a run, drawn with Matplotlib and written as PNG."""

from pathlib import Path

import numpy as np

from tfcore.files import durable


def save(directory, drawings):
    """Writes each of {name: Matplotlib figure} as `directory`/name.png."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings.items():
        with durable(directory / f"{name}.png") as file:
            drawing.savefig(file, format="png")


def figure(width, height, **options):
    """Returns a figure and its axes, without a window and without touching Matplotlib's global state."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained", dpi=100)
    return drawing, drawing.subplots(**options)


def curves(history):
    """Draws loss and accuracy of training and validation over the epochs. history: the rows of metrics.jsonl."""
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
    """Draws the counts, [C, C], rows are the true classes; the shade is the fraction of the true class.

    Of more than 30 classes only the shades, and not every name.
    """
    count = min(len(class_names), 30)
    drawing, ax = figure(1.5 + 0.7 * count, 1.2 + 0.6 * count)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares if len(class_names) == count else np.zeros([0, 0])):
        ax.text(j, i, confusion[i, j], ha="center", va="center", color="white" if share > 0.5 else "black", fontsize=8)
    ticks = range(0, len(class_names), -(-len(class_names) // 30))
    ax.set_xticks(ticks, [class_names[i] for i in ticks], rotation=45, ha="right")
    ax.set_yticks(ticks, [class_names[i] for i in ticks])
    ax.set(xlabel="predicted", ylabel="true")
    return drawing


def survey(found):
    """Draws the counts of the classes and the commonest sizes of an `folders.Survey`."""
    drawing, axes = figure(10, 4, ncols=2)
    sizes = list(found.sizes.items())[:12]
    axes[0].bar(list(found.counts), list(found.counts.values()))
    axes[0].set(ylabel="pictures")
    axes[1].barh([f"{width} x {height}" for (width, height), _ in sizes], [count for _, count in sizes])
    axes[1].set(xlabel="pictures", title="commonest sizes, width x height")
    axes[1].invert_yaxis()
    return drawing
