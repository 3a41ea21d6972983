"""The curves of a run over its epochs."""

from tfcore.plots.figures import figure


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
