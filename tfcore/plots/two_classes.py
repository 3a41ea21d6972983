"""What a classifier of two classes says, drawn: thresholds, curves, calibration, the predictions themselves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfcore import binary
from tfcore.plots.figures import drawable, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("tab:blue", "tab:orange")  # of class 0 and class 1
POINTS = 2000  # of a scatter


def overview(probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> "Figure":
    """Draws thresholds, precision and recall, ROC, calibration, and the predictions as points and as a histogram.

    Args:
      probabilities: [N] floats in 0..1, of class 1.
      labels: [N], 0 or 1; curves that need both classes stay empty without them.
      class_names: the names of class 0 and class 1.
    Raises:
      ValueError: as `binary.checked`.
    """
    class_names = drawable(class_names)
    p, y = binary.checked(probabilities, labels)
    drawing, axes = figure(13, 8, nrows=2, ncols=3)
    drawing.get_layout_engine().set(wspace=0.05, hspace=0.05)  # type: ignore[union-attr, call-arg]  # constrained
    _thresholds(axes[0, 0], p, y)
    _precision_recall(axes[0, 1], p, y)
    _roc(axes[0, 2], p, y)
    _calibration(axes[1, 0], p, y, class_names)
    _scatter(axes[1, 1], p, y, class_names)
    _histogram(axes[1, 2], p, y, class_names)
    return drawing


def _thresholds(ax, p, y):
    accuracy, precision, recall = binary.at_thresholds(p, y)
    best = np.argmax(accuracy)
    for name, row, line in (("accuracy", accuracy, "-"), ("precision", precision, "--"), ("recall", recall, ":")):
        ax.plot(binary.THRESHOLDS, row, marker=".", linestyle=line, label=name)
    ax.plot(binary.THRESHOLDS[best], accuracy[best], "*", color="black", markersize=13, label="best accuracy")
    title = f"Best accuracy {accuracy[best]:.3f} at threshold {binary.THRESHOLDS[best]}"
    _unit_square(ax, title, "threshold", "measure", xticks=binary.THRESHOLDS)
    ax.legend()


def _precision_recall(ax, p, y):
    recalls, precisions, area = binary.precision_recall(p, y)
    # The point at recall r holds from the recall before it: these steps enclose the average precision.
    ax.plot(recalls, precisions, drawstyle="steps-pre", label="classifier")
    ax.axhline(y.mean(), color="gray", linestyle="--", label="guessing")
    _unit_square(ax, f"Precision and recall, {_area(recalls, area)}", "recall", "precision")
    ax.legend(loc="lower left")


def _roc(ax, p, y):
    false_rates, true_rates, area = binary.roc(p, y)
    ax.plot(false_rates, true_rates, label="classifier")
    ax.plot([0, 1], [0, 1], color="gray", linestyle="--", label="guessing")
    _unit_square(ax, f"ROC, {_area(false_rates, area)}", "false positive rate", "true positive rate")
    ax.legend(loc="lower right")


def _calibration(ax, p, y, class_names):
    mean, fraction, count = binary.calibration(p, y)
    width = 1 / len(count)
    share = count / len(p)
    ax.bar(width * (np.arange(len(count)) + 0.5), share, 0.9 * width, color="lightgray", label="share of examples")
    ax.plot([0, 1], [0, 1], color="gray", linestyle="--", label="perfect")
    ax.plot(mean[count > 0], fraction[count > 0], marker="o", label="classifier")
    name = class_names[1]
    _unit_square(ax, "Calibration", f"mean p({name}) of a bin", f"fraction of {name}")
    ax.legend(loc="upper left")


def _scatter(ax, p, y, class_names):
    rng = np.random.default_rng(0)  # the same examples at the same places in every epoch
    chosen = rng.permutation(len(p))[:POINTS]
    x = y[chosen] + rng.uniform(-0.3, 0.3, len(chosen))
    ax.scatter(x, p[chosen], s=6, alpha=0.4, linewidths=0, color=np.array(COLORS)[y[chosen]])
    for c in np.unique(y):
        mean = p[y == c].mean()
        ax.hlines(mean, c - 0.38, c + 0.38, color="black", linewidth=2)
        ax.text(c + 0.4, mean, f"{mean:.2f}", va="center")
    ax.set(xlim=(-0.5, 1.65), ylim=(-0.03, 1.03), xlabel="true class", ylabel=f"p({class_names[1]})")
    ax.set_xticks([0, 1], class_names)
    ax.set_title("Predictions and their means")
    ax.grid(alpha=0.3, axis="y")


def _histogram(ax, p, y, class_names):
    edges = np.linspace(0, 1, 31)
    for c, name in enumerate(class_names):
        ax.hist(p[y == c], edges, color=COLORS[c], alpha=0.55, label=f"{np.count_nonzero(y == c):,} {name}")
    ax.set(xlim=(0, 1), xlabel=f"p({class_names[1]})", ylabel="examples")
    ax.set_title("Predictions of each true class")
    ax.grid(alpha=0.3)
    ax.legend()


def _unit_square(ax, title, xlabel, ylabel, **options):
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=xlabel, ylabel=ylabel, title=title, **options)
    ax.grid(alpha=0.3)


def _area(points, area):
    return f"area {area:.3f}" if len(points) else "one class only"
