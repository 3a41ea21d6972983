"""Measures of a classifier, exact over a set."""

import numpy as np

from tfcore.quiet import tf


def predicted(logits):
    """The class of each example. logits: [N, C], or [N] or [N, 1] for two classes -> [N] int32."""
    logits = tf.convert_to_tensor(logits)
    if logits.shape.rank == 1 or logits.shape[-1] == 1:
        return tf.cast(tf.reshape(logits, [-1]) > 0, tf.int32)
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


def probabilities(logits):
    """The probability of each class. logits: [N, C], or [N, 1] for two classes -> [N, max(C, 2)] float32."""
    logits = tf.cast(logits, tf.float32)
    if logits.shape[-1] == 1:
        return tf.concat([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=1)
    return tf.nn.softmax(logits)


def accuracy(logits, labels):
    """The fraction of examples whose predicted class is their label. logits as in `predicted`, labels: [N]."""
    return tf.reduce_mean(tf.cast(predicted(logits) == tf.cast(tf.reshape(labels, [-1]), tf.int32), tf.float32))


def top_k(logits, labels, k):
    """The fraction of examples whose label is among the k largest logits; ties count for the label, NaN against it."""
    logits, labels = np.asarray(logits), np.asarray(labels)
    own = logits[np.arange(len(labels)), labels]
    return float(np.mean(np.sum(~(logits <= own[:, np.newaxis]), axis=1) < k))


def confusion_matrix(labels, predictions, classes):
    """Entry [i, j] counts the examples of class i that were predicted as j. -> [classes, classes] int64."""
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    if len(labels) and not 0 <= min(labels.min(), predictions.min()) <= max(labels.max(), predictions.max()) < classes:
        raise ValueError(f"labels and predictions must be classes 0 to {classes - 1}")
    pairs = labels * classes + predictions
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def precision_recall(confusion):
    """Returns precision and recall of each class, [C] float64 each; 0 where there is nothing to count."""
    right = np.diag(confusion).astype(np.float64)
    return right / np.maximum(confusion.sum(axis=0), 1), right / np.maximum(confusion.sum(axis=1), 1)
