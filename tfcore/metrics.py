"""Measures of a classifier, exact over a set."""

import numpy as np

from tfcore.losses import check_classes, check_lengths
from tfcore.quiet import tf
from tfcore.types import Array, Tensor


def predicted(logits: Array) -> Tensor:
    """The class of each example. logits: [N, C], or [N] or [N, 1] for two classes -> [N] int32.

    Raises:
      ValueError: `logits` have another shape.
    """
    logits = tf.convert_to_tensor(logits)
    if logits.shape.rank not in (1, 2):
        raise ValueError(f"logits {logits.shape} must be [N, C], or [N] or [N, 1] for two classes")
    if logits.shape.rank == 1 or logits.shape[-1] == 1:
        return tf.cast(tf.reshape(logits, [-1]) > 0, tf.int32)
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


def probabilities(logits: Array) -> Tensor:
    """The probability of each class. logits: [N, C], or [N, 1] for two classes -> [N, max(C, 2)] float32."""
    logits = tf.cast(logits, tf.float32)
    if logits.shape[-1] == 1:
        return tf.concat([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=1)
    return tf.nn.softmax(logits)


def accuracy(logits: Array, labels: Array) -> Tensor:
    """The fraction of examples whose predicted class is their label.

    Args:
      logits: as in `predicted`.
      labels: [N] or [N, 1] integers.
    Raises:
      ValueError: `logits` or `labels` have another shape or dtype.
    """
    classes, labels = predicted(logits), tf.convert_to_tensor(labels)
    check_classes(labels)
    if labels.shape.rank != 1 and labels.shape[1:] != [1]:
        raise ValueError(f"labels {labels.shape} must be [N] or [N, 1]")
    check_lengths(classes, labels)
    right = tf.equal(classes, tf.cast(tf.reshape(labels, [-1]), tf.int32))
    return tf.reduce_mean(tf.cast(right, tf.float32))


def top_k(logits: Array, labels: Array, k: int) -> float:
    """The fraction of examples whose label is among the k largest logits; ties count for the label, NaN against it.

    Args:
      logits: [N, C].
      labels: [N] integers in [0, C).
    Raises:
      ValueError: `logits` or `labels` have another shape, or labels are no classes.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} must be [N, C] and [N]")
    if len(labels) and not (labels.dtype.kind in "iu" and 0 <= labels.min() <= labels.max() < logits.shape[1]):
        raise ValueError(f"labels must be classes 0 to {logits.shape[1] - 1}")
    own = logits[np.arange(len(labels)), labels]
    return float(np.mean(np.sum(~(logits <= own[:, np.newaxis]), axis=1) < k))


def most_wrong(logits: Array, labels: Array, count: int) -> np.ndarray:
    """The wrong examples whose true class was given the least probability, the worst first.

    logits: as in `probabilities`; labels: [N] integers -> at most `count` indices, in NumPy.
    """
    p, labels = probabilities(logits).numpy(), np.asarray(labels)
    of_truth = p[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(predicted(logits).numpy() != labels)
    return wrong[np.argsort(of_truth[wrong], kind="stable")][:count]


def confusion_matrix(labels: Array, predictions: Array, classes: int) -> np.ndarray:
    """Entry [i, j] counts the examples of class i that were predicted as j. -> [classes, classes] int64.

    Raises:
      ValueError: there are not as many predictions as labels, or some are no classes.
    """
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} must be [N] and [N]")
    if len(labels) and not 0 <= min(labels.min(), predictions.min()) <= max(labels.max(), predictions.max()) < classes:
        raise ValueError(f"labels and predictions must be classes 0 to {classes - 1}")
    pairs = labels * classes + predictions
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def precision_recall(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns precision and recall of each class, [C] float64 each; 0 where there is nothing to count."""
    right = np.diag(confusion).astype(np.float64)
    return right / np.maximum(confusion.sum(axis=0), 1), right / np.maximum(confusion.sum(axis=1), 1)
