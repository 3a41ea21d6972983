"""Losses: one value per example, from logits; the caller takes the mean, in one visible place."""

from tfcore.quiet import tf


def softmax_cross_entropy(logits, labels, *, label_smoothing=0.0):
    """-sum over classes of target * log softmax(logits).

    Args:
      logits: [N, C] floating.
      labels: [N] integers in [0, C), or [N, C] probabilities.
      label_smoothing: the fraction of each target that is spread evenly over all classes, in [0, 1).
    Returns: [N].
    Raises:
      ValueError: `labels` have another shape.
    """
    logits, labels = tf.convert_to_tensor(logits), tf.convert_to_tensor(labels)
    if labels.shape.rank != 1 and labels.shape[-1] != logits.shape[-1]:
        raise ValueError(f"labels {labels.shape} must be [N] classes or [N, {logits.shape[-1]}] probabilities")
    if labels.shape.rank == 1 and labels.dtype != tf.int64:
        labels = tf.cast(labels, tf.int32)
    if labels.shape.rank == 1 and not label_smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    classes = logits.shape[-1]
    target = tf.one_hot(labels, classes, dtype=logits.dtype) if labels.shape.rank == 1 else labels
    target = tf.cast(target, logits.dtype) * (1 - label_smoothing) + label_smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(labels=target, logits=logits)


def sigmoid_cross_entropy(logits, labels, *, label_smoothing=0.0):
    """-y log p - (1 - y) log(1 - p), where p = sigmoid(logits).

    Args:
      logits: [N] or [N, 1] floating.
      labels: [N] or [N, 1], 0 or 1 or a probability.
      label_smoothing: moves the targets towards 1/2: y (1 - s) + s / 2.
    Returns: [N].
    """
    logits, labels = _columns(logits, labels)
    target = labels * (1 - label_smoothing) + label_smoothing / 2
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)


def mse(predictions, labels):
    """(prediction - label)^2. predictions, labels: [N] or [N, 1] -> [N]."""
    predictions, labels = _columns(predictions, labels)
    return tf.math.squared_difference(predictions, labels)


def sigmoid_mse(logits, labels):
    """(sigmoid(logit) - label)^2: the loss of the pets posts. logits, labels: [N] or [N, 1] -> [N]."""
    return mse(tf.sigmoid(logits), labels)


def _columns(values, labels):
    """Returns both as [N] of one dtype: [N, 1] against [N] would broadcast to [N, N]."""
    values = tf.reshape(values, [-1])
    labels = tf.cast(tf.reshape(labels, [-1]), values.dtype)
    if not values.shape.is_compatible_with(labels.shape):
        raise ValueError(f"{values.shape[0]} predictions, but {labels.shape[0]} labels")
    return values, labels
