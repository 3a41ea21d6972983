"""The curves of several runs over each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfcore.plots.figures import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":", "-.")  # with the colours: told apart without them too


def compared(groups: Sequence[tuple[str, Sequence[list[dict[str, Any]]]]]) -> "Figure":
    """Draws the validation loss and accuracy of groups of runs: one colour and line style a group, a thin line a run.

    Args:
      groups: [(label, histories)]; a history is the rows of metrics.jsonl of a run.
    Returns: a Matplotlib figure.
    """
    drawing, axes = figure(11, 4.5 + 0.22 * len(groups), ncols=2)
    for ax, name in zip(axes, ("loss", "accuracy")):
        for number, (label, histories) in enumerate(groups):
            look = {"color": f"C{number % 10}", "linestyle": STYLES[number % len(STYLES)], "linewidth": 1}
            for i, history in enumerate(histories):
                values = [row["validation"][name] for row in history]
                marker = "." if len(values) == 1 else ""  # a line of one point is none
                ax.plot([row["epoch"] for row in history], values, marker=marker, label="" if i else label, **look)
        ax.set(xlabel="epoch", ylabel=f"validation {name}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center")
    return drawing
