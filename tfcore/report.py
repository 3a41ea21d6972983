"""What logits say about a part of the data: measures as numbers, and drawings."""

import numpy as np

from tfcore import binary, binary_plots, metrics, training


def measures(logits, part, class_names, loss=None):
    """Returns {tag: Python float}: loss and accuracy, and of two classes those of `binary.measures`.

    Args:
      logits: [N, C].
      part: `Arrays` whose labels are [N].
      loss: (logits, labels) -> [N].
    """
    values = training.summarize(logits, part.labels, loss=loss)
    if logits.shape[-1] <= 2:
        values |= binary.measures(probabilities(logits), part.labels, class_names=class_names)
    return values


def report(logits, part, class_names, loss=None):
    """Returns `measures`, top 3, and per class precision, recall and confusion."""
    classes = max(logits.shape[-1], 2)
    confusion = metrics.confusion_matrix(part.labels, metrics.predicted(logits), classes)
    precision, recall = metrics.precision_recall(confusion)
    return {
        **measures(logits, part, class_names, loss),
        **({"top_3": metrics.top_k(logits, part.labels, 3)} if classes > 3 else {}),
        "precision": [round(float(p), 4) for p in precision],
        "recall": [round(float(r), 4) for r in recall],
        "confusion": confusion.tolist(),
    }


def drawings(logits, part, class_names):
    """Returns {name: Matplotlib figure} of two classes: the measures, and the worst mistakes.

    The mistakes are drawn where the images are pictures, uint8, not features.
    """
    if logits.shape[-1] > 2:
        return {}
    p, labels = probabilities(logits), part.labels
    drawn = {"measures": binary_plots.overview(p, labels, class_names)}
    if part.images.dtype == np.uint8:
        worst = binary.most_wrong(p, labels, 24)
        drawn["most_wrong"] = binary_plots.most_wrong(part.images[worst], p[worst], labels[worst], class_names)
    return drawn


def probabilities(logits):
    """Returns the probability of class 1, [N], of logits [N, 1] or [N, 2]."""
    return metrics.probabilities(logits).numpy()[:, 1]
