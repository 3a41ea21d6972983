"""Measures of two classes by hand, and against NumPy, SciPy and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.calibration
import sklearn.metrics
import tensorflow as tf

from tfcore import binary

BY_HAND = [0.05, 0.45, 0.35, 0.95], [0, 0, 1, 1]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def labels(rng):
    return rng.integers(0, 2, 500)


@pytest.fixture
def probabilities(labels, rng):
    """Better than guessing; rounded, so that there are ties."""
    return (1 / (1 + np.exp(-rng.normal(2 * labels - 1.0, 1.5)))).round(2)


def test_measures_by_hand():
    found = binary.measures(*BY_HAND)
    assert all(type(value) is float for value in found.values())
    assert found.pop("mse") == pytest.approx((0.05**2 + 0.45**2 + 0.65**2 + 0.05**2) / 4)
    assert found.pop("mean_prediction/0") == pytest.approx(0.25)
    assert found.pop("mean_prediction/1") == pytest.approx(0.65)
    assert found.pop("pearson") == pytest.approx(np.corrcoef(*BY_HAND)[0, 1])
    assert found.pop("roc_area") == 3 / 4  # of the four pairs (0.45, 0.35) is in the wrong order
    assert found.pop("pr_area") == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert found.pop("best_accuracy") == 0.75
    assert found.pop("best_threshold") == 0.1
    right = dict.fromkeys((0.1, 0.2, 0.3), (3, 2 / 3, 1)) | {0.4: (2, 1 / 2, 1 / 2)}
    right |= dict.fromkeys((0.5, 0.6, 0.7, 0.8, 0.9), (3, 1, 1 / 2))
    for threshold, (count, precision, recall) in right.items():
        assert found.pop(f"accuracy_at/{threshold}") == count / 4
        assert found.pop(f"precision_at/{threshold}") == precision
        assert found.pop(f"recall_at/{threshold}") == recall
    assert not found


def test_measures_equal_the_libraries(probabilities, labels):
    found = binary.measures(probabilities, labels)
    assert found["pearson"] == pytest.approx(np.corrcoef(probabilities, labels)[0, 1])
    assert found["mse"] == pytest.approx(sklearn.metrics.brier_score_loss(labels, probabilities))
    pairs = scipy.stats.mannwhitneyu(probabilities[labels == 1], probabilities[labels == 0]).statistic
    assert found["roc_area"] == pytest.approx(pairs / (np.sum(labels == 1) * np.sum(labels == 0)))
    assert 0.7 < found["roc_area"] < 0.95
    for threshold in binary.THRESHOLDS:
        predicted = probabilities > threshold
        wanted = sklearn.metrics.precision_recall_fscore_support(labels, predicted, average="binary", zero_division=0)
        assert found[f"accuracy_at/{threshold}"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
        assert found[f"precision_at/{threshold}"] == pytest.approx(wanted[0])
        assert found[f"recall_at/{threshold}"] == pytest.approx(wanted[1])
    assert found["best_accuracy"] == max(found[f"accuracy_at/{threshold}"] for threshold in binary.THRESHOLDS)
    assert found["best_accuracy"] == found[f"accuracy_at/{found['best_threshold']}"]


def test_average_precision_is_the_sum_of_its_steps(probabilities, labels):
    recalls, precisions, area = binary.precision_recall(probabilities, labels)
    assert area == pytest.approx(np.sum(np.diff(recalls) * precisions[1:]))
    assert recalls[0] == 0 and recalls[-1] == 1 and np.all(np.diff(recalls) >= 0)


def test_a_perfect_classifier():
    found = binary.measures([0.0, 0.0, 1.0], [0, 0, 1])
    assert found.pop("mse") == found.pop("mean_prediction/0") == 0
    assert found.pop("best_threshold") == 0.1
    assert found.pop("pearson") == pytest.approx(1)
    assert set(found.values()) == {1.0}


def test_an_inverted_classifier():
    found = binary.measures([1.0, 1.0, 0.0], [0, 0, 1])
    assert found["pearson"] == pytest.approx(-1) and found["mse"] == 1
    assert found["roc_area"] == found["best_accuracy"] == found["recall_at/0.5"] == found["precision_at/0.5"] == 0


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 1.0])
def test_a_constant_classifier_is_no_better_than_guessing(value):
    found = binary.measures(np.full(10, value), [0] * 7 + [1] * 3)
    assert found["pearson"] == 0 and found["roc_area"] == 0.5 and found["pr_area"] == pytest.approx(0.3)
    assert found["best_accuracy"] == (0.7 if value < 0.9 else 0.3)
    assert found["best_threshold"] == (value if 0 < value < 1 else 0.1)  # nothing is above its own threshold


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("probabilities", [[0.2, 0.6, 0.9], [0.5], [0.0, 0.0], [1.0, 1.0]], ids=str)
def test_one_class_only_has_no_areas_and_finite_measures(label, probabilities):
    found = binary.measures(probabilities, [label] * len(probabilities))
    assert all(math.isfinite(value) for value in found.values())
    assert found["pearson"] == found["roc_area"] == found["pr_area"] == found[f"mean_prediction/{1 - label}"] == 0
    assert found[f"mean_prediction/{label}"] == pytest.approx(np.mean(probabilities))
    assert label == 1 or found["recall_at/0.1"] == found["precision_at/0.1"] == 0


def test_pearson_of_tiny_probabilities_is_finite():
    assert binary.measures([0.0, 1e-300, 2e-300], [0, 0, 1])["pearson"] == pytest.approx(np.sqrt(3) / 2)


def test_class_names_are_in_the_tags():
    found = binary.measures(*BY_HAND, class_names=("Dog", "Cat"))
    assert found["mean_prediction/Dog"] == pytest.approx(0.25) and found["mean_prediction/Cat"] == pytest.approx(0.65)
    assert "mean_prediction/0" not in found


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_probability_is_not_above_the_threshold_it_equals(dtype):
    for i, threshold in enumerate(binary.THRESHOLDS):
        accuracy, precision, recall = binary.at_thresholds(np.array([threshold], dtype), [1])
        assert accuracy.tolist() == precision.tolist() == recall.tolist() == [1.0] * i + [0.0] * (9 - i)


def test_tensors_and_arrays_of_any_type_measure_alike_and_stay_as_they_were(probabilities, labels):
    wanted = binary.measures(probabilities, labels)
    copies = probabilities.copy(), labels.copy()
    found = binary.measures(tf.constant(probabilities), tf.constant(labels.astype(bool)))
    assert found == wanted == binary.measures(probabilities, labels.astype(np.uint8))
    binary.calibration(probabilities, labels)
    assert np.array_equal(probabilities, copies[0]) and np.array_equal(labels, copies[1])
    half = probabilities.astype(np.float32)
    assert binary.measures(half, labels) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([0.5, np.nan], [0, 1], "1 of 2 probabilities are NaN"),
        ([0.5, 2.5], [0, 1], "between 0 and 1"),
        ([-np.inf, 0.5], [0, 1], "between 0 and 1"),
        ([0.5, 0.5], [1, 2], r"labels of two classes are 0 or 1, these are \[1, 2\]"),
        ([0.5, 0.5], [0.0, np.nan], "labels of two classes"),
        ([0.5, 0.5], [0], "one label per example"),
        ([[0.5], [0.5]], [0, 1], "one label per example"),
        ([], [], "one label per example"),
    ],
)
@pytest.mark.parametrize("function", [binary.measures, binary.roc, binary.calibration, binary.at_thresholds])
def test_what_cannot_be_measured_is_refused(function, probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        function(probabilities, labels)


def test_a_rounding_error_above_one_is_one():
    above = np.nextafter(np.float32(1), np.float32(2))
    assert binary.measures(np.array([0, above]), [0, 1])["mean_prediction/1"] == 1


def test_calibration_by_hand():
    mean, fraction, count = binary.calibration([0.0, 0.2, 0.3, 0.9, 1.0], [0, 0, 1, 1, 1], bins=4)
    np.testing.assert_allclose(mean, [0.1, 0.3, 0, 0.95])
    np.testing.assert_allclose(fraction, [0, 1, 0, 1])
    assert count.tolist() == [2, 1, 0, 2] and count.dtype == np.int64


def test_calibration_equals_sklearn(probabilities, labels):
    probabilities = np.where(np.abs(probabilities - 0.45) < 0.05, 0.3, probabilities)  # leaves a bin empty
    mean, fraction, count = binary.calibration(probabilities, labels)
    wanted = sklearn.calibration.calibration_curve(labels, probabilities, n_bins=10)
    np.testing.assert_allclose(fraction[count > 0], wanted[0])
    np.testing.assert_allclose(mean[count > 0], wanted[1])
    assert count.sum() == 500 and np.count_nonzero(count) == len(wanted[0])
