"""Losses: one value per example, from logits; the caller takes the mean, in one visible place.

LOSSES, at the end, is the one place where a name becomes a loss.
"""

from collections.abc import Callable

from tfcore import settings
from tfcore.quiet import tf
from tfcore.types import Array, Tensor


def softmax_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Tensor:
    """-sum over classes of target * log softmax(logits).

    Args:
      logits: [N, C] floating, C of at least 2.
      labels: [N] integers in [0, C), or [N, C] probabilities.
      label_smoothing: the fraction of each target that is spread evenly over all classes, in [0, 1).
    Returns: [N].
    Raises:
      ValueError: `logits` or `labels` have another shape or dtype, `label_smoothing` is outside [0, 1).
    """
    settings.fraction("label_smoothing", label_smoothing)
    logits, labels = tf.convert_to_tensor(logits), tf.convert_to_tensor(labels)
    _check_matrix(logits)
    if labels.shape.rank == 1:
        check_classes(labels)
    elif labels.shape.rank != 2 or labels.shape[1] != logits.shape[1]:
        raise ValueError(f"labels {labels.shape} must be [N] classes or [N, {logits.shape[1]}] probabilities")
    check_lengths(logits, labels)
    if labels.shape.rank == 1 and labels.dtype != tf.int64:
        labels = tf.cast(labels, tf.int32)
    if labels.shape.rank == 1 and not label_smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    classes = logits.shape[-1]
    target = tf.one_hot(labels, classes, dtype=logits.dtype) if labels.shape.rank == 1 else labels
    target = tf.cast(target, logits.dtype) * (1 - label_smoothing) + label_smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(labels=target, logits=logits)


def sigmoid_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Tensor:
    """-y log p - (1 - y) log(1 - p), where p = sigmoid(logits).

    Args:
      logits: [N] or [N, 1] floating.
      labels: [N] or [N, 1], 0 or 1 or a probability.
      label_smoothing: in [0, 1), moves the targets towards 1/2: y (1 - s) + s / 2.
    Returns: [N].
    Raises:
      ValueError: `logits` or `labels` have another shape or dtype, `label_smoothing` is outside [0, 1).
    """
    settings.fraction("label_smoothing", label_smoothing)
    logits, labels = _columns(logits, labels)
    target = labels * (1 - label_smoothing) + label_smoothing / 2
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)


def mse(predictions: Array, labels: Array) -> Tensor:
    """(prediction - label)^2. predictions, labels: [N] or [N, 1] -> [N]; ValueError for other shapes."""
    predictions, labels = _columns(predictions, labels, "predictions")
    return tf.math.squared_difference(predictions, labels)


def sigmoid_mse(logits: Array, labels: Array) -> Tensor:
    """(sigmoid(logit) - label)^2: the loss of the pets posts. logits, labels as in `sigmoid_cross_entropy` -> [N]."""
    logits, labels = _columns(logits, labels)
    return mse(tf.sigmoid(logits), labels)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "sigmoid_mse": sigmoid_mse,
}


def check_classes(labels: Tensor) -> None:
    """Raises ValueError unless the labels are integers, the numbers of classes."""
    if not labels.dtype.is_integer:
        raise ValueError(f"labels are {labels.dtype.name}, classes are integers")


def check_lengths(values: Tensor, labels: Tensor, name: str = "logits") -> None:
    """Raises ValueError when there are not as many labels as values, where both numbers are known."""
    if not values.shape[:1].is_compatible_with(labels.shape[:1]):
        raise ValueError(f"{values.shape[0]} {name}, but {labels.shape[0]} labels")


def _check_matrix(logits):
    if logits.shape.rank != 2 or not logits.dtype.is_floating:
        raise ValueError(f"logits are {logits.dtype.name} {logits.shape}, softmax wants floating [N, C]")
    if logits.shape[1] == 1:
        raise ValueError("one logit has no softmax: use sigmoid_cross_entropy, or one logit for each class")


def _columns(values, labels, name="logits"):
    """Returns both as [N] of one dtype: [N, 1] against [N] would broadcast to [N, N]."""
    values, labels = tf.convert_to_tensor(values), tf.convert_to_tensor(labels)
    if not values.dtype.is_floating:
        raise ValueError(f"{name} are {values.dtype.name}, not floating")
    for what, tensor in ((name, values), ("labels", labels)):
        if tensor.shape.rank != 1 and tensor.shape[1:] != [1]:
            raise ValueError(f"{what} {tensor.shape} must be [N] or [N, 1]")
    check_lengths(values, labels, name)
    return tf.reshape(values, [-1]), tf.cast(tf.reshape(labels, [-1]), values.dtype)
