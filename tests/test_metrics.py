"""Measures against scikit-learn and SciPy."""

import warnings

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import tensorflow as tf

from tfcore import metrics


@pytest.fixture
def logits(rng):
    return rng.normal(0, 2, size=[200, 6]).astype(np.float32)


@pytest.fixture
def labels(logits, rng):
    """Right for about half of the examples; class 5 never occurs."""
    return np.where(rng.random(200) < 0.5, logits.argmax(axis=1), rng.integers(0, 5, 200)) % 5


def test_predicted_is_the_largest_logit(logits):
    classes = metrics.predicted(logits)
    assert classes.dtype == tf.int32
    assert classes.numpy().tolist() == logits.argmax(axis=1).tolist()


@pytest.mark.parametrize("shape", [(5,), (5, 1)], ids=str)
def test_two_classes_from_one_logit_split_at_a_probability_of_one_half(shape):
    values = np.array([-1e4, -0.1, 0.1, 3.0, 1e4], np.float32)
    assert metrics.predicted(values.reshape(shape)).numpy().tolist() == [0, 0, 1, 1, 1]


def test_probabilities_equal_scipy(logits):
    np.testing.assert_allclose(metrics.probabilities(logits), scipy.special.softmax(logits, axis=1), rtol=1e-5)
    column = logits[:, :1]
    one = scipy.special.expit(column.astype(np.float64))
    np.testing.assert_allclose(metrics.probabilities(column), np.concatenate([1 - one, one], axis=1), rtol=1e-5)


def test_probabilities_of_extreme_logits_are_finite():
    assert metrics.probabilities(np.array([[1e4, -1e4]])).numpy().tolist() == [[1.0, 0.0]]
    assert metrics.probabilities(np.array([[1e4], [-1e4]])).numpy().tolist() == [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64], ids=lambda dtype: dtype.__name__)
def test_accuracy_equals_sklearn(dtype, logits, labels):
    wanted = sklearn.metrics.accuracy_score(labels, logits.argmax(axis=1))
    assert 0.4 < wanted < 0.9
    assert metrics.accuracy(logits, labels.astype(dtype)).numpy() == pytest.approx(wanted, rel=1e-6)
    graph = tf.function(metrics.accuracy, jit_compile=True)
    assert graph(logits, labels).numpy() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("shape", [(200,), (200, 1)], ids=str)
def test_accuracy_of_two_classes_equals_sklearn(shape, logits, rng):
    labels = rng.integers(0, 2, 200)
    wanted = sklearn.metrics.accuracy_score(labels, logits[:, 0] > 0)
    for given in (labels, labels[:, np.newaxis]):
        assert metrics.accuracy(logits[:, 0].reshape(shape), given).numpy() == pytest.approx(wanted, rel=1e-6)


MATRIX, CLASSES = np.zeros([12, 5], np.float32), np.zeros([12], np.int64)
WRONG = {
    "logits (2, 6, 5) must be [N, C], or [N] or [N, 1] for two classes": lambda: metrics.predicted(
        MATRIX.reshape(2, 6, 5)
    ),
    "logits () must be [N, C], or [N] or [N, 1] for two classes": lambda: metrics.accuracy(0.5, CLASSES),
    "labels are float32, classes are integers": lambda: metrics.accuracy(MATRIX, MATRIX[:, 0]),
    "labels (12, 5) must be [N] or [N, 1]": lambda: metrics.accuracy(MATRIX, MATRIX.astype(int)),
    "12 logits, but 11 labels": lambda: metrics.accuracy(MATRIX, CLASSES[:11]),
    "1 logits, but 12 labels": lambda: metrics.accuracy(MATRIX[:1], CLASSES),
    "logits (12, 5) and labels (11,) must be [N, C] and [N]": lambda: metrics.top_k(MATRIX, CLASSES[:11], 1),
    "logits (12,) and labels (12,) must be [N, C] and [N]": lambda: metrics.top_k(MATRIX[:, 0], CLASSES, 1),
    "labels must be classes 0 to 4": lambda: metrics.top_k(MATRIX, CLASSES - 1, 1),
    "labels (12,) and predictions (11,) must be [N] and [N]": lambda: metrics.confusion_matrix(
        CLASSES, CLASSES[:11], 5
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_refused_in_one_sentence(message):
    with pytest.raises(ValueError) as error:
        WRONG[message]()
    assert str(error.value) == message


def test_another_number_of_labels_that_only_shows_in_the_graph_is_no_accuracy():
    unknown = [tf.TensorSpec([None, 5]), tf.TensorSpec([None], tf.int64)]
    graph = tf.function(metrics.accuracy, input_signature=unknown, autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph(MATRIX, CLASSES[:11])


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_top_k_equals_sklearn(k, logits, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # k of all classes is perfect, sklearn says
        wanted = sklearn.metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(6))
    assert metrics.top_k(logits, labels, k) == pytest.approx(wanted)
    assert isinstance(metrics.top_k(tf.constant(logits), tf.constant(labels), k), float)


def test_top_k_counts_ties_for_the_label():
    assert metrics.top_k(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 2.0]]), [2, 0], 1) == 0.5


def test_top_k_never_counts_nan_as_right():
    assert metrics.top_k(np.full([3, 4], np.nan), [0, 1, 2], 1) == 0


def test_confusion_matrix_equals_sklearn(logits, labels):
    found = metrics.confusion_matrix(labels, logits.argmax(axis=1), 6)
    assert found.dtype == np.int64 and found.sum() == 200
    assert found.tolist() == sklearn.metrics.confusion_matrix(labels, logits.argmax(axis=1), labels=range(6)).tolist()


def test_confusion_matrix_takes_tensors_and_has_true_classes_in_rows():
    found = metrics.confusion_matrix(tf.constant([0, 0, 1], tf.uint8), metrics.predicted(np.eye(3)[[0, 2, 2]]), 3)
    assert found.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_precision_and_recall_equal_sklearn_and_are_zero_where_nothing_counts(logits, labels):
    predictions = np.where(logits.argmax(axis=1) == 3, 0, logits.argmax(axis=1))  # class 3 is never predicted
    precision, recall = metrics.precision_recall(metrics.confusion_matrix(labels, predictions, 6))
    wanted = sklearn.metrics.precision_recall_fscore_support(labels, predictions, labels=range(6), zero_division=0)
    np.testing.assert_allclose(precision, wanted[0])
    np.testing.assert_allclose(recall, wanted[1])
    assert precision[3] == 0 and recall[5] == 0 and precision.dtype == recall.dtype == np.float64


def test_most_wrong_are_mistakes_alone_the_least_likely_truth_first():
    logits = np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.2, 0.8]])
    labels = [0, 0, 0, 1, 0]  # the first and the fourth are right; the third and the last are equally wrong
    assert metrics.most_wrong(logits, labels, 9).tolist() == [2, 4, 1]
    assert metrics.most_wrong(logits, labels, 2).tolist() == [2, 4] and metrics.most_wrong(logits, labels, 0).size == 0
    one = (logits[:, 1:] - logits[:, :1]).astype(np.float32)
    assert metrics.most_wrong(one, labels, 9).tolist() == [2, 4, 1]
