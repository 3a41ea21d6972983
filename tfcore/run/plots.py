"""Pictures of a run, drawn with Matplotlib: as PNG files, and as arrays for TensorBoard."""

import math
import textwrap

import numpy as np

from tfcore import binary
from tfcore.run.figures import figure, save, to_pixels
from tfcore.run.showing import readable

__all__ = [
    "confusion_matrix", "contact_sheet", "curves", "figure", "most_wrong", "overview", "save", "survey", "to_pixels",
]  # fmt: skip

COLORS = ("tab:blue", "tab:orange")  # of class 0 and class 1
POINTS = 2000  # of a scatter
PICTURES, COLUMNS = 24, 8  # of `most_wrong`
LONGEST = 30  # letters of a class name


def _names(class_names):
    """Returns names as they can be drawn, long ones cut."""
    names = [readable(name) for name in class_names]
    return [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in names]


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
    class_names = _names(class_names)
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
    places = range(len(found.counts))
    axes[0].bar(places, list(found.counts.values()))
    axes[0].set_xticks(places, _names(found.counts))
    axes[0].set(ylabel="pictures")
    axes[1].barh([f"{width} x {height}" for (width, height), _ in sizes], [count for _, count in sizes])
    axes[1].set(xlabel="pictures", title="commonest sizes, width x height")
    axes[1].invert_yaxis()
    return drawing


def overview(probabilities, labels, class_names):
    """Draws thresholds, precision and recall, ROC, calibration, and the predictions as points and as a histogram.

    Args:
      probabilities: [N] floats in 0..1, of class 1.
      labels: [N], 0 or 1; curves that need both classes stay empty without them.
      class_names: the names of class 0 and class 1.
    Raises:
      ValueError: as `binary.checked`.
    """
    class_names = _names(class_names)
    p, y = binary.checked(probabilities, labels)
    drawing, axes = figure(13, 8, nrows=2, ncols=3)
    drawing.get_layout_engine().set(wspace=0.05, hspace=0.05)
    _thresholds(axes[0, 0], p, y)
    _precision_recall(axes[0, 1], p, y)
    _roc(axes[0, 2], p, y)
    _calibration(axes[1, 0], p, y, class_names)
    _scatter(axes[1, 1], p, y, class_names)
    _histogram(axes[1, 2], p, y, class_names)
    return drawing


def most_wrong(images, probabilities, labels, class_names):
    """Draws the first 24 pictures, 8 in a row, each with its true class and its probability of class 1.

    Args:
      images: [M, H, W, C] uint8, C is 1 or 3; in the order of `binary.most_wrong`.
      probabilities: [M] floats in 0..1.
      labels: [M], 0 or 1.
      class_names: the names of class 0 and class 1.
    Raises:
      ValueError: images are not uint8.
    """
    images, class_names = _pixels(images)[:PICTURES], _names(class_names)
    rows = max(1, math.ceil(len(images) / COLUMNS))
    height = 1.5 * images.shape[1] / images.shape[2] + 0.4  # of a picture 1.5 inches wide, and its title
    drawing, axes = figure(1.5 * COLUMNS, height * rows, nrows=rows, ncols=COLUMNS, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, p, label in zip(axes.flat, images, probabilities, labels):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
        title = f"{class_names[int(label)]}, p({class_names[1]}) {float(p):.2f}"
        ax.set_title(textwrap.fill(title, 24), fontsize=9)
    return drawing


def contact_sheet(images, gap=2):
    """Puts R rows of K pictures side by side, `gap` white pixels between them.

    Args:
      images: [R, K, H, W, C] uint8, C is 1 or 3.
    Returns: [R H + (R - 1) gap, K W + (K - 1) gap, 3] uint8.
    Raises:
      ValueError: images are not uint8.
    """
    images = _pixels(images)
    rows, columns, height, width, _ = images.shape
    sheet = np.full([rows, height + gap, columns, width + gap, 3], 255, np.uint8)
    sheet[:, :height, :, :width] = images.transpose(0, 2, 1, 3, 4)  # rows of pixels before columns of pictures
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), 3)
    return sheet[: len(sheet) - gap, : sheet.shape[1] - gap]


def _pixels(images):
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"pictures to look at are uint8, 0 to 255, not {images.dtype}")
    return images


def _thresholds(ax, p, y):
    accuracy, precision, recall = binary.at_thresholds(p, y)
    best = np.argmax(accuracy)
    for name, row in (("accuracy", accuracy), ("precision", precision), ("recall", recall)):
        ax.plot(binary.THRESHOLDS, row, marker=".", label=name)
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
