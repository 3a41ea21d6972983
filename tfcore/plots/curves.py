"""The curves of a run over its epochs."""

from typing import TYPE_CHECKING, Any

from tfcore.plots.figures import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {"train": ("tab:blue", "--", "."), "validation": ("tab:orange", "-", "s")}


def curves(
    history: list[dict[str, Any]], *, reported: int | None = None, test: dict[str, Any] | None = None
) -> "Figure":
    """Draws loss and accuracy of training and validation over the epochs.

    Args:
      history: the rows of metrics.jsonl.
      reported: the epoch whose weights were tested, which is marked.
      test: {"loss", "accuracy"} of the test, which the titles tell.
    """
    drawing, axes = figure(10, 4, ncols=2)
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    for ax, name in zip(axes, ("loss", "accuracy")):
        for split, (color, line, marker) in STYLES.items():
            values = [row[split].get(name, float("nan")) for row in history]
            ax.plot(epochs, values, color=color, linestyle=line, marker=marker, markersize=4, label=split)
        if reported in epochs:
            ax.axvline(reported, color="gray", linestyle=":", label=f"reported, epoch {reported}")
        ax.set(xlabel="epoch", ylabel=name, title=f"test {name} {test[name]:.4f}" if test else "")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.set_xlim(min(epochs, default=0) - 0.5, max(epochs, default=0) + 0.5)
        ax.grid(alpha=0.3)
        ax.legend()
    return drawing
