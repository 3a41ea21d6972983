"""The checks find each fault that is planted, name it, and pass what is right."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfcore import check, layers, losses
from tfcore.data import Arrays, Splits, load
from tfcore.models import mlp

# The gradient


def scaled_square(wrong=1.0):
    """sum of w x^2, whose gradient in w is multiplied by `wrong`."""

    @tf.custom_gradient
    def f(w, x):
        return w * x**2, lambda g: (wrong * g * x**2, 2 * g * w * x)

    return lambda at: f(at["layer"]["w"], at["x"])


AT = {"layer": {"w": np.array([1.0, -2.0, 3.0])}, "x": np.array([0.5, 2.0, -1.0])}


def test_a_right_gradient_passes():
    found = check.gradient(scaled_square(), AT)
    assert found, found
    assert str(found).startswith("ok     gradient: 6 entries equal finite differences; the worst, ")


def test_a_wrong_custom_gradient_is_found_with_path_and_index():
    found = check.gradient(scaled_square(1.1), AT)
    assert not found.good and found.text.startswith("layer/w[")
    assert "3 of the 6 entries looked at are wrong" in found.text and str(found).startswith("WRONG  gradient: ")


def test_the_worst_entry_is_the_one_that_is_named():
    @tf.custom_gradient
    def f(x):
        return x**2, lambda g: 2 * g * x + [[0, 0, 0], [0, 0.7, 0.1]]

    found = check.gradient(lambda at: f(at["x"]), {"x": np.arange(1.0, 7).reshape(2, 3)})
    assert not found and found.text.startswith("x[1, 1] is ") and "2 of the 6" in found.text


def test_of_one_array_the_path_is_x():
    labels = np.array([1, 0, 2])
    loss = functools.partial(losses.softmax_cross_entropy, labels=labels)
    assert check.gradient(loss, np.random.default_rng(0).normal(size=[3, 4]), entries=None)
    assert check.gradient(lambda x: tf.stop_gradient(x), np.ones(2)).text.startswith("x[")


def test_a_gradient_that_is_cut_off_is_found():
    found = check.gradient(lambda at: tf.stop_gradient(at["w"]) * at["x"], {"w": np.ones(2), "x": np.ones(2)})
    assert not found and found.text.startswith("w[")
    assert "is 0, finite differences say" in found.text


def test_rounding_to_float32_inside_is_told_apart_from_a_wrong_gradient():
    found = check.gradient(lambda at: tf.cast(at["x"], tf.float32) ** 2, {"x": np.ones(2)})
    assert not found and "float32" in found.text


def test_a_gradient_that_is_not_finite_is_found():
    found = check.gradient(lambda at: tf.sqrt(at["x"] ** 2), {"x": np.zeros(1)})
    assert not found and found.text.startswith("x[0] is nan")


def test_only_some_entries_of_a_large_leaf_are_looked_at():
    at = {"w": np.ones([10, 12]), "b": np.ones(3)}
    f = tf.function(lambda at: tf.reduce_sum(at["w"] ** 2) + tf.reduce_sum(at["b"] ** 3))
    assert check.gradient(f, at, entries=5).text.startswith("8 entries ")
    assert check.gradient(f, at, entries=None).text.startswith("123 entries ")


# The forward pass

WEIGHTS = {"w": np.full([4, 2], 0.5, np.float32), "b": np.zeros(2, np.float32)}
STATS = {"mean": np.zeros(4, np.float32)}
X = np.random.default_rng(0).normal(size=[3, 4]).astype(np.float32)
GAIN = tf.Variable(tf.ones([2]), name="gain")
GENERATOR = np.random.default_rng(0)


def good(weights, stats, x, *, training, seed=None):
    mean = tf.reduce_mean(tf.cast(x, tf.float32), axis=0)
    return layers.dense(weights, x), {"mean": 0.9 * stats["mean"] + 0.1 * mean}


def reads_a_variable(weights, stats, x, *, training):
    y, stats = good(weights, stats, x, training=training)
    return y * tf.cast(GAIN, y.dtype), stats


def reads_one_inside_a_tf_function(weights, stats, x, *, training):
    return tf.function(reads_a_variable, autograph=False)(weights, stats, x, training=training)


def draws(weights, stats, x, *, training):
    y, stats = good(weights, stats, x, training=training)
    return y + tf.random.normal(y.shape, dtype=y.dtype), stats


def draws_in_numpy(weights, stats, x, *, training):
    y, stats = good(weights, stats, x, training=training)
    return y + tf.cast(GENERATOR.normal(), y.dtype), stats


def assigns_a_global(weights, stats, x, *, training):
    GAIN.assign_add([1.0, 1.0])
    return good(weights, stats, x, training=training)


def assigns_its_stats(weights, stats, x, *, training):
    y, new = good(weights, stats, x, training=training)
    if isinstance(stats["mean"], tf.Variable):
        stats["mean"].assign(new["mean"])
    return y, new


def puts_into_the_dictionary(weights, stats, x, *, training):
    weights["last"] = x
    return good(weights, stats, x, training=training)


def writes_into_x(weights, stats, x, *, training):
    if isinstance(x, np.ndarray):
        x[0] = 0
    return good(weights, stats, x, training=training)


def knows_variables_only(weights, stats, x, *, training):
    return tf.matmul(x, weights["w"].read_value()), stats


def another_for_variables(weights, stats, x, *, training):
    y, stats = good(weights, stats, x, training=training)
    return (y + 1 if isinstance(x, tf.Variable) else y), stats


def branches_in_python(weights, stats, x, *, training):
    if tf.reduce_sum(x) > 1000:
        x = -x
    return good(weights, stats, x, training=training)


def another_in_a_graph(weights, stats, x, *, training):
    y, stats = good(weights, stats, x, training=training)
    return (y if tf.executing_eagerly() else y + 1), stats


def not_for_xla(weights, stats, x, *, training):
    y, stats = good(weights, stats, x, training=training)
    return tf.numpy_function(lambda y: y, [y], y.dtype), stats


def float32_inside(weights, stats, x, *, training):
    y, stats = good(weights, stats, x, training=training)
    return y + tf.constant([1.0, 2.0]), stats


def coarse(weights, stats, x, *, training):
    y, stats = good(weights, stats, x, training=training)
    return (y + 100000) - 100000, stats


def forgets_stats(weights, stats, x, *, training):
    return layers.dense(weights, x), {}


def makes_nan(weights, stats, x, *, training):
    return layers.dense(weights, x) / 0, stats


FAULTS = {
    "reads a variable": (reads_a_variable, "reads only its arguments", "the variable gain [2]"),
    "reads one inside": (reads_one_inside_a_tf_function, "reads only its arguments", "the variable gain [2]"),
    "draws": (draws, "reads only its arguments", "RandomStandardNormal, of TensorFlow's global generator"),
    "draws in NumPy": (draws_in_numpy, "reads only its arguments", "two calls with the same arguments"),
    "assigns a global": (assigns_a_global, "changes nothing", "AssignAddVariableOp"),
    "assigns its stats": (assigns_its_stats, "changes nothing", "it assigns stats/mean"),
    "puts into the dictionary": (puts_into_the_dictionary, "changes nothing", "weights/last"),
    "writes into x": (writes_into_x, "changes nothing", "it assigns x"),
    "knows variables only": (knows_variables_only, "returns", "AttributeError"),
    "another for variables": (another_for_variables, "variables, tensors, arrays", "logits differs"),
    "branches in Python": (branches_in_python, "compiles", "symbolic"),
    "another in a graph": (another_in_a_graph, "compiles", "logits differs from the eager call"),
    "not for XLA": (not_for_xla, "compiles with XLA", "Error: "),
    "float32 inside": (float32_inside, "bfloat16", "bfloat16"),
    "coarse in bfloat16": (coarse, "bfloat16", "of the largest"),
    "forgets stats": (forgets_stats, "returns", "mean: missing in the new stats"),
    "makes NaN": (makes_nan, "returns", "logits: not finite"),
}


def test_a_good_forward_pass_passes():
    found = check.forward(good, WEIGHTS, STATS, X)
    assert all(found), "\n".join(map(str, found))
    assert len(found) == 7


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_forward_pass_is_found(name):
    forward, which, words = FAULTS[name]
    found = check.forward(forward, WEIGHTS, STATS, X, jit="XLA" in which)
    wrong = {finding.check: finding.text for finding in found if not finding}
    assert words in wrong[which], wrong


def test_of_pictures_as_they_are_stored_bfloat16_is_not_asked():
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 4, 1)
    weights, stats = mlp.init(0, mlp.Config((2, 4, 1), (3,), 2))

    def forward(weights, stats, images, *, training):
        return mlp.forward(mlp.Config((2, 4, 1), (3,), 2), weights, stats, of_bytes(images), training=training)

    found = check.forward(forward, weights, stats, images, jit=False)
    assert all(found) and [f.check for f in found][-1] == "compiles" and len(found) == 5


def test_looking_leaves_what_is_given_alone():
    weights = {"w": tf.Variable(WEIGHTS["w"]), "b": tf.Variable(WEIGHTS["b"])}
    stats, x = {"mean": tf.Variable(STATS["mean"])}, X.copy()
    check.forward(assigns_its_stats, weights, stats, x)
    check.forward(writes_into_x, weights, stats, x)
    assert not stats["mean"].numpy().any() and x.tobytes() == X.tobytes()


# The first loss and one batch


@pytest.fixture(scope="module")
def digits():
    return load("digits")


NETWORK = mlp.Config(hidden=(32,))


def of_bytes(images, scale=1 / 255):
    return tf.cast(images, tf.float32) * scale


def network(weights, stats, images, *, training, seed=None, scale=1 / 255):
    return mlp.forward(NETWORK, weights, stats, of_bytes(images, scale), training=training)


def batch(digits, count=32):
    return digits.train.images[:count], digits.train.labels[:count]


def test_the_first_loss_of_a_network_is_near_that_of_a_guess(digits):
    found = check.first_loss(network, losses.softmax_cross_entropy, *mlp.init(0, NETWORK), *batch(digits))
    assert found and found.text.endswith(f"that of a guess {np.log(10):.4f}, ln 10")


def test_pixels_that_are_not_scaled_are_found_by_the_first_loss(digits):
    raw = functools.partial(network, scale=1.0)
    found = check.first_loss(raw, losses.softmax_cross_entropy, *mlp.init(0, NETWORK), *batch(digits))
    assert not found


def test_a_guess_of_two_classes():
    x, labels = np.zeros([4, 784], np.float32), np.array([0, 1, 1, 0])
    one = mlp.Config(hidden=(), classes=1)
    forward = functools.partial(mlp.forward, one)
    for loss, guess in ((losses.sigmoid_cross_entropy, "0.6931, ln 2"), (losses.sigmoid_mse, "0.2500")):
        assert check.first_loss(forward, loss, *mlp.init(0, one), x, labels).text.endswith(guess)


def test_a_batch_is_learned_by_heart_and_the_weights_stay(digits):
    weights, stats = mlp.init(0, NETWORK)
    before = weights["logits"]["w"].numpy()
    found = check.overfits(network, losses.softmax_cross_entropy, weights, stats, *batch(digits))
    assert found, found
    assert (weights["logits"]["w"].numpy() == before).all()


def blind(weights, stats, images, *, training, seed=None):
    """Sees no picture: what is flattened has lost it."""
    return network(weights, stats, tf.zeros_like(images), training=training)


def up_the_hill(logits, labels):
    return 5 - losses.softmax_cross_entropy(logits, labels)


@pytest.mark.parametrize(("forward", "loss"), [(blind, losses.softmax_cross_entropy), (network, up_the_hill)])
def test_a_network_that_cannot_learn_is_found(digits, forward, loss):
    found = check.overfits(forward, loss, *mlp.init(0, NETWORK), *batch(digits), steps=60)
    assert not found and "% of 32 examples right after " in found.text


def test_one_picture_with_two_labels_is_not_learned_by_heart(digits):
    images, labels = batch(digits, 8)
    twice = np.concatenate([images, images]), np.concatenate([labels, (labels + 1) % 10])
    assert not check.overfits(network, losses.softmax_cross_entropy, *mlp.init(0, NETWORK), *twice, steps=60)


# The data


def changed(digits, **parts):
    """Returns the digits, cut short, with a fault: {part: (images, labels) -> (images, labels)}."""
    cut = {part: Arrays(*(a[:count].copy() for a in getattr(digits, part)))
           for part, count in (("train", 400), ("validation", 100), ("test", 100))}  # fmt: skip
    return digits._replace(**{part: Arrays(*parts[part](*cut[part])) if part in parts else cut[part] for part in cut})


def from_train(digits):
    def put(images, labels):
        images[7], labels[7] = digits.train.images[3], digits.train.labels[3]
        return images, labels

    return put


def twice_with_two_labels(images, labels):
    images[20], labels[20] = images[10], (labels[10] + 1) % 10
    return images, labels


def empty(images, labels):
    images[5] = 200
    return images, labels


def lopsided(images, labels):
    kept = np.flatnonzero((labels != 4) | (np.cumsum(labels == 4) <= 2))
    return images[kept], labels[kept]


def without_a_class(images, labels):
    return images[labels != 9], labels[labels != 9]


def shuffled(images, labels):
    return images, np.random.default_rng(0).permutation(labels)


def outside(images, labels):
    labels[2] = 10
    return images, labels


DATA_FAULTS = {
    "in two parts": (lambda d: {"test": from_train(d)}, "pictures in two parts", "1, test[7] is train[3]"),
    "two labels": (lambda d: {"train": twice_with_two_labels}, "pictures with two labels", "1: train[10] is "),
    "of one colour": (lambda d: {"validation": empty}, "pictures of one colour", "1, the first is validation[5]"),
    "lopsided": (lambda d: {"train": lopsided}, "balance of the classes", "2 of 4 to "),
    "no class 9": (lambda d: {"test": without_a_class}, "balance of the classes", "no picture of 9 in test"),
    "shuffled": (lambda d: {"train": shuffled}, "labels belong to pictures", "they may be shuffled"),
    "outside": (lambda d: {"train": outside}, "images and labels", "label 10 at 2"),
}


def test_good_data_pass(digits):
    found = check.data(changed(digits))
    assert all(found), "\n".join(map(str, found))


@pytest.mark.parametrize("name", DATA_FAULTS)
def test_a_fault_of_the_data_is_found_and_no_other(digits, name):
    parts, which, words = DATA_FAULTS[name]
    wrong = [finding for finding in check.data(changed(digits, **parts(digits))) if not finding]
    assert [finding.check for finding in wrong] == [which] and words in wrong[0].text, wrong


def test_a_coloured_picture_of_one_colour_is_found():
    images = np.random.default_rng(0).integers(0, 256, [6, 4, 4, 3]).astype(np.uint8)
    images[4] = [10, 200, 30]
    part = Arrays(images, np.array([0, 1] * 3, np.int32))
    found = check.data(Splits(part, part, part, ("a", "b"), "made"))
    text = {finding.check: finding.text for finding in found}
    assert text["pictures of one colour"] == "3, the first is train[4]"
    assert text["labels belong to pictures"] == "not asked of fewer than 50 pictures"
