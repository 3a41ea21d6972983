"""Losses against Keras, SciPy and exact values."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfcore import losses

INTEGERS = [np.uint8, np.int16, np.int32, np.int64]


@pytest.fixture
def logits(rng):
    return rng.normal(0, 3, size=[12, 5]).astype(np.float32)


@pytest.fixture
def labels(rng):
    return rng.integers(0, 5, 12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_softmax_cross_entropy_equals_keras_and_scipy(smoothing, logits, labels):
    hot = np.eye(5, dtype=np.float32)[labels]
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
    target = hot * (1 - smoothing) + smoothing / 5
    by_hand = -(target * scipy.special.log_softmax(logits.astype(np.float64), axis=1)).sum(axis=1)
    for given in (labels, hot):
        loss = losses.softmax_cross_entropy(logits, given, label_smoothing=smoothing)
        assert loss.shape == [12]
        np.testing.assert_allclose(loss, keras_loss(hot, logits), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(loss, by_hand, rtol=1e-5, atol=1e-6)


def test_softmax_cross_entropy_takes_probabilities(logits, rng):
    target = rng.dirichlet(np.ones(5), 12)
    wanted = -(target * scipy.special.log_softmax(logits.astype(np.float64), axis=1)).sum(axis=1)
    np.testing.assert_allclose(losses.softmax_cross_entropy(logits, target), wanted, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda dtype: dtype.__name__)
def test_softmax_cross_entropy_takes_labels_of_any_integer_type(dtype, smoothing, logits, labels):
    target = np.eye(5)[labels] * (1 - smoothing) + smoothing / 5
    wanted = -(target * scipy.special.log_softmax(logits.astype(np.float64), axis=1)).sum(axis=1)
    loss = losses.softmax_cross_entropy(logits, labels.astype(dtype), label_smoothing=smoothing)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_softmax_cross_entropy_is_softmax_minus_target(logits, labels):
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = losses.softmax_cross_entropy(x, labels)
    wanted = scipy.special.softmax(logits, axis=1) - np.eye(5)[labels]
    np.testing.assert_allclose(tape.gradient(loss, x), wanted, rtol=1e-4, atol=1e-6)


def test_uniform_logits_cost_the_logarithm_of_the_number_of_classes():
    np.testing.assert_allclose(losses.softmax_cross_entropy(np.zeros([3, 10], "f"), [0, 4, 9]), [np.log(10)] * 3, 1e-6)
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(np.zeros([2], "f"), [0, 1]), [np.log(2)] * 2, 1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "xla"])
def test_extreme_logits_have_exact_losses_and_finite_gradients(jit, smoothing):
    wide = tf.constant([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [-1e4, -1e4]])
    narrow = tf.constant([1e4, 1e4, -1e4, -1e4])

    def both():
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([wide, narrow])
            softmax = losses.softmax_cross_entropy(wide, [0, 0, 0, 1], label_smoothing=smoothing)
            sigmoid = losses.sigmoid_cross_entropy(narrow, [1, 0, 1, 0], label_smoothing=smoothing)
        return softmax, sigmoid, tape.gradient(softmax, wide), tape.gradient(sigmoid, narrow)

    softmax, sigmoid, *gradients = (tf.function(both, jit_compile=True) if jit else both)()
    half = smoothing / 2
    np.testing.assert_allclose(softmax, [2e4 * half, 2e4 * (1 - half), np.log(2), np.log(2)], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sigmoid, [1e4 * half, 1e4 * (1 - half), 1e4 * (1 - half), 1e4 * half], 1e-5, 1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_allclose(gradients[1], [half, 1 - half, half - 1, -half], atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_sigmoid_cross_entropy_equals_keras_and_scipy(smoothing, rng):
    logits, labels = rng.normal(0, 3, size=[20, 1]).astype(np.float32), rng.integers(0, 2, [20, 1]).astype(np.float32)
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
    loss = losses.sigmoid_cross_entropy(logits, labels, label_smoothing=smoothing)
    np.testing.assert_allclose(loss, keras_loss(labels, logits), rtol=1e-5, atol=1e-6)
    p, target = scipy.special.expit(logits.astype(np.float64)), labels * (1 - smoothing) + smoothing / 2
    by_hand = -scipy.special.xlogy(target, p) - scipy.special.xlogy(1 - target, 1 - p)
    np.testing.assert_allclose(loss, by_hand[:, 0], rtol=1e-5, atol=1e-6)


def test_mse_equals_keras_and_sigmoid_mse_is_mse_of_the_probability(rng):
    logits, labels = rng.normal(0, 3, size=[20, 1]).astype(np.float32), rng.integers(0, 2, [20, 1]).astype(np.float32)
    reference = keras.losses.MeanSquaredError(reduction=None)
    np.testing.assert_allclose(losses.mse(logits, labels), reference(labels, logits), rtol=1e-5, atol=1e-7)
    probability = scipy.special.expit(logits)
    np.testing.assert_allclose(losses.sigmoid_mse(logits, labels), (probability - labels)[:, 0] ** 2, 1e-4, 1e-7)


BINARY = {
    "sigmoid_cross_entropy": (losses.sigmoid_cross_entropy, lambda x, y: np.logaddexp(0, x) - x * y),
    "mse": (losses.mse, lambda x, y: (x - y) ** 2),
    "sigmoid_mse": (losses.sigmoid_mse, lambda x, y: (scipy.special.expit(x) - y) ** 2),
}
every_binary_loss = pytest.mark.parametrize(("loss", "by_hand"), BINARY.values(), ids=BINARY.keys())


@every_binary_loss
@pytest.mark.parametrize("dtype", [*INTEGERS, np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("values_shape", [(6,), (6, 1)], ids=str)
@pytest.mark.parametrize("labels_shape", [(6,), (6, 1)], ids=str)
def test_a_column_against_a_vector_does_not_broadcast(loss, by_hand, values_shape, labels_shape, dtype, rng):
    values, labels = rng.normal(size=6).astype(np.float32), np.array([0, 1, 1, 0, 1, 0])
    result = loss(values.reshape(values_shape), labels.reshape(labels_shape).astype(dtype))
    assert result.shape == [6] and result.dtype == tf.float32
    np.testing.assert_allclose(result, by_hand(values, labels), rtol=1e-5, atol=1e-6)


SOFTMAX, SIGMOID = losses.softmax_cross_entropy, losses.sigmoid_cross_entropy
MATRIX, COLUMN = tf.zeros([12, 5]), tf.zeros([12, 1])
CLASSES = tf.zeros([12], tf.int32)
WRONG = {
    "labels (12, 1) must be [N] classes or [N, 5] probabilities": (SOFTMAX, MATRIX, CLASSES[:, tf.newaxis]),
    "labels (12, 4) must be [N] classes or [N, 5] probabilities": (SOFTMAX, MATRIX, MATRIX[:, :4]),
    "labels () must be [N] classes or [N, 5] probabilities": (SOFTMAX, MATRIX, 3),
    "12 logits, but 11 labels": (SOFTMAX, MATRIX, CLASSES[:11]),
    "12 logits, but 1 labels": (SOFTMAX, MATRIX, MATRIX[:1]),
    "labels are float32, classes are integers": (SOFTMAX, MATRIX, MATRIX[:, 0]),
    "labels are bool, classes are integers": (SOFTMAX, MATRIX, MATRIX[:, 0] > 0),
    "logits are float32 (12,), softmax wants floating [N, C]": (SOFTMAX, MATRIX[:, 0], CLASSES),
    "logits are float32 (3, 4, 5), softmax wants floating [N, C]": (SOFTMAX, tf.zeros([3, 4, 5]), CLASSES),
    "logits are int32 (12, 5), softmax wants floating [N, C]": (SOFTMAX, tf.cast(MATRIX, tf.int32), CLASSES),
    "one logit has no softmax: use sigmoid_cross_entropy, or one logit for each class": (SOFTMAX, COLUMN, CLASSES),
    "logits (12, 5) must be [N] or [N, 1]": (SIGMOID, MATRIX, CLASSES),
    "labels (3, 4) must be [N] or [N, 1]": (SIGMOID, COLUMN, tf.zeros([3, 4])),
    "labels () must be [N] or [N, 1]": (losses.sigmoid_mse, COLUMN, 0),
    "12 logits, but 4 labels": (losses.sigmoid_mse, COLUMN, CLASSES[:4]),
    "1 logits, but 12 labels": (SIGMOID, COLUMN[:1], CLASSES),
    "1 predictions, but 12 labels": (losses.mse, COLUMN[:1], CLASSES),
    "logits are uint8, not floating": (SIGMOID, tf.cast(COLUMN, tf.uint8), CLASSES),
    "predictions are int32, not floating": (losses.mse, CLASSES, CLASSES),
}


@pytest.mark.parametrize("message", WRONG)
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_what_does_not_fit_is_refused_in_one_sentence(message, graph):
    loss, logits, labels = WRONG[message]
    loss = tf.function(loss, autograph=False) if graph else loss
    with pytest.raises(ValueError) as error:
        loss(tf.constant(logits), tf.constant(labels))
    assert str(error.value) == message


@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID])
@pytest.mark.parametrize("smoothing", [1, -0.1, float("nan")])
def test_label_smoothing_is_a_fraction(loss, smoothing):
    with pytest.raises(ValueError, match=f"^label_smoothing={smoothing} must be at least 0 and below 1$"):
        loss(MATRIX, CLASSES, label_smoothing=smoothing)


def test_every_name_is_a_loss_of_that_name():
    assert list(losses.LOSSES) == ["softmax_cross_entropy", "sigmoid_cross_entropy", "sigmoid_mse"]
    assert all(loss.__name__ == name for name, loss in losses.LOSSES.items())


def test_losses_keep_float64_and_trace_once_with_unknown_batch(rng):
    logits, labels = rng.normal(size=[4, 3]), np.array([0, 1, 2, 0])
    assert losses.softmax_cross_entropy(logits, labels).dtype == tf.float64
    graph = tf.function(
        losses.softmax_cross_entropy,
        input_signature=[tf.TensorSpec([None, 3], tf.float64), tf.TensorSpec([None], tf.int64)],
    )
    np.testing.assert_allclose(graph(logits, labels), losses.softmax_cross_entropy(logits, labels), rtol=1e-12)
    assert graph(logits[:2], labels[:2]).shape == [2]
