"""Measures of a classifier of two classes, from the probability it gives to class 1.

Every function takes probabilities: [N] floats in 0..1, and labels: [N], 0 or 1, and raises ValueError for others.
"""

from collections.abc import Sequence

import numpy as np

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
ROUNDING = 1e-6  # a softmax in float32 may end a bit above 1


def measures(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str] = ("0", "1")
) -> dict[str, float]:
    """Returns {tag: Python float}, all finite: what one number can say about probabilities of class 1.

    "pearson": the correlation of probability and label; 0 where one of them is constant.
    "mse": the mean of (p - y)^2.
    "mean_prediction/<class name>": the mean probability over the examples of a true class; 0 where it has none.
    "roc_area", "pr_area": as in `roc` and `precision_recall`; 0 where the set has one class only.
    "accuracy_at/0.1" to 0.9, "precision_at/0.1", "recall_at/0.1": as in `at_thresholds`.
    "best_accuracy", "best_threshold": the best of these accuracies and its threshold, the smallest of equal ones.
    """
    p, y = checked(probabilities, labels)
    accuracy, precision, recall = at_thresholds(p, y)
    best = np.argmax(accuracy)
    values = {
        "pearson": _pearson(p, y),
        "mse": np.mean((p.astype(np.float64) - y) ** 2),
        **{f"mean_prediction/{name}": _mean(p[y == c]) for c, name in enumerate(class_names)},
        "roc_area": roc(p, y)[2],
        "pr_area": precision_recall(p, y)[2],
        "best_accuracy": accuracy[best],
        "best_threshold": THRESHOLDS[best],
    }
    for name, row in (("accuracy", accuracy), ("precision", precision), ("recall", recall)):
        values.update({f"{name}_at/{threshold}": value for threshold, value in zip(THRESHOLDS, row)})
    return {tag: float(value) for tag, value in values.items()}


def checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both as arrays, [N] floats of the type they have and [N] int64; ValueError says what is wrong."""
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise ValueError(f"one probability and one label per example, please: shapes {p.shape} and {y.shape}")
    if nans := np.count_nonzero(p != p):
        raise ValueError(f"{nans} of {len(p)} probabilities are NaN: the network's outputs are not finite")
    if p.min() < -ROUNDING or p.max() > 1 + ROUNDING:
        raise ValueError(f"probabilities lie between 0 and 1, these between {p.min()} and {p.max()}: logits, perhaps?")
    if not np.all((y == 0) | (y == 1)):
        raise ValueError(f"labels of two classes are 0 or 1, these are {np.unique(y)[:10].tolist()}")
    return p.clip(0, 1), y.astype(np.int64)


def at_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns accuracy, precision and recall at THRESHOLDS, [9] float64 each; 0 where there is nothing to count.

    An example is predicted as class 1 where its probability is above the threshold.
    """
    p, y = checked(probabilities, labels)
    # Python floats are compared in p's own type, so that 0.3 is never above 0.3.
    predicted = np.stack([p > threshold for threshold in THRESHOLDS])
    hits = np.sum(predicted & (y == 1), axis=1)
    precision = hits / np.maximum(predicted.sum(axis=1), 1)
    return np.mean(predicted == y, axis=1), precision, hits / np.maximum(y.sum(), 1)


def roc(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns false positive rates [K] (growing), true positive rates [K] and the area under them.

    A set with one class only has no curve: no points, and the area 0.
    """
    from sklearn.metrics import auc, roc_curve

    p, y = checked(probabilities, labels)
    if y.min() == y.max():
        return np.zeros(0), np.zeros(0), 0.0
    false_rates, true_rates, _ = roc_curve(y, p)
    return false_rates, true_rates, float(auc(false_rates, true_rates))


def precision_recall(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns recalls [K] (growing), precisions [K] and the area under the steps, the average precision.

    A set with one class only has no curve: no points, and the area 0.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    p, y = checked(probabilities, labels)
    if y.min() == y.max():
        return np.zeros(0), np.zeros(0), 0.0
    precisions, recalls, _ = precision_recall_curve(y, p)
    return recalls[::-1], precisions[::-1], float(average_precision_score(y, p))


def calibration(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean probability, fraction of class 1 and count of examples in each of equal bins over 0..1.

    -> [bins] float64, [bins] float64, both 0 where a bin is empty, and [bins] int64.
    """
    p, y = checked(probabilities, labels)
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], p)
    # Not sklearn's calibration_curve: that leaves out empty bins and the counts.
    count, total, ones = (np.bincount(index, weights, minlength=bins) for weights in (None, p, y))
    return total / np.maximum(count, 1), ones / np.maximum(count, 1), count


def _pearson(p, y):
    p = p.astype(np.float64)
    if np.ptp(p) == 0 or np.ptp(y) == 0:
        return 0.0
    # Stretched to 0..1, which leaves the correlation: squares of tiny differences would vanish.
    return np.corrcoef((p - p.min()) / np.ptp(p), y)[0, 1]


def _mean(values):
    return values.mean(dtype=np.float64) if len(values) else 0.0
