"""InceptionV3 against Keras' own, with random weights and random moving statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcore import tree
from tfcore.formats.keras_h5 import import_keras_h5
from tfcore.models import inception_v3

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own

SMALL = inception_v3.Config(image_shape=(75, 75, 3), top=False, endpoint="mixed0")
MIXED = [f"mixed{k}" for k in range(11)]


def randomize(model, seed=0):
    """Gives every batch norm of a Keras model an offset and moving statistics that are not those of a fresh one."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            c = layer.moving_mean.shape[0]
            beta, mean, variance = rng.normal(0, 0.3, c), rng.normal(0, 0.3, c), rng.uniform(0.2, 1.0, c)
            layer.set_weights([beta, mean, variance])


def random_stats(stats, seed=1):
    rng = np.random.default_rng(seed)
    flat = {
        path: rng.uniform(0.2, 1, leaf.shape) if path.endswith("variance") else rng.normal(0, 0.3, leaf.shape)
        for path, leaf in tree.flatten(stats).items()
    }
    return tree.variables(tree.unflatten({path: value.astype(np.float32) for path, value in flat.items()}))


def pictures(side, n=2, width=None):
    return np.random.default_rng(side).uniform(-1, 1, (n, side, width or side, 3)).astype(np.float32)


def relative(found, wanted):
    """The largest difference, relative to the largest value."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A Keras model at 150 x 150 and the path of its weights."""
    model = keras.applications.InceptionV3(weights=None, input_shape=(150, 150, 3), classifier_activation=None)
    randomize(model)
    path = tmp_path_factory.mktemp("keras") / "inception.h5"
    model.save(path)
    return model, path


@pytest.fixture(scope="module")
def imported(reference):
    return import_keras_h5(reference[1], inception_v3.Config())


def compare(model, weights, stats, side):
    """Asserts that every endpoint agrees to 1e-4 and is neither dead nor exploded; returns the differences."""
    x = pictures(side)
    probe = keras.Model(model.input, [model.get_layer(name).output for name in [*MIXED, "predictions"]])
    activations, _ = inception_v3.endpoints(inception_v3.Config(), weights, stats, x, training=False)
    differences = {}
    for name, wanted in zip([*MIXED, "logits"], probe(x, training=False)):
        assert 1e-2 < np.std(wanted) < 1e3, name
        differences[name] = relative(activations[name], wanted)
    print(side, {name: f"{difference:.1e}" for name, difference in differences.items()})
    assert max(differences.values()) < 1e-4
    return differences


def test_agrees_with_keras_at_every_endpoint(reference, imported):
    compare(reference[0], *imported, 150)


@pytest.mark.slow
def test_agrees_with_keras_at_299(reference, imported):
    model = keras.applications.InceptionV3(weights=None, classifier_activation=None)
    model.set_weights(reference[0].get_weights())
    compare(model, *imported, 299)


def test_moving_statistics_follow_keras(reference, imported):
    """Not only the frozen network: batch moments and moved averages are those of Keras in training mode."""
    config = inception_v3.Config(image_shape=(75, 75, 3), top=False, endpoint="mixed2")
    model = reference[0]
    bottom = keras.Model(model.input, model.get_layer("mixed2").output)
    before = [v.numpy() for v in bottom.non_trainable_variables]
    x = pictures(150, n=4)
    wanted = bottom(x, training=True)
    moved = {v.path: v.numpy() for v in bottom.non_trainable_variables}
    for variable, value in zip(bottom.non_trainable_variables, before):
        variable.assign(value)
    found, new_stats = inception_v3.forward(config, *imported, x, training=True)
    assert relative(found, wanted) < 1e-3
    first = next(layer.name for layer in model.layers if layer.name.startswith("batch_normalization"))
    assert relative(new_stats["stem"]["0"]["mean"], moved[f"{first}/moving_mean"]) < 1e-4
    assert relative(new_stats["stem"]["0"]["variance"], moved[f"{first}/moving_variance"]) < 1e-4


def test_folded_network_gives_the_same(imported):
    x, config = pictures(75), inception_v3.Config()
    plain, _ = inception_v3.forward(config, *imported, x, training=False)
    folded = inception_v3.fold(*imported)
    logits, new_stats = inception_v3.forward(config, folded, {}, x, training=True)  # folded layers do not train
    assert relative(logits, plain) < 1e-4
    assert new_stats == {}
    assert not any("norm" in path for path in tree.flatten(folded))
    assert folded["logits"]["w"] is imported[0]["logits"]["w"]


@pytest.mark.parametrize(
    ("config", "weights", "total"),
    [
        (inception_v3.Config(), 23_817_352, 23_851_784),
        (inception_v3.Config(top=False), 21_768_352, 21_802_784),
        (inception_v3.Config(top=False, endpoint="mixed7"), 8_956_448, 8_975_264),
        (inception_v3.Config(classes=2), 23_817_352 - 2049 * 998, 23_851_784 - 2049 * 998),
    ],
)
def test_parameter_counts(config, weights, total):
    found, stats = inception_v3.init(0, config)
    assert (tree.count(found), tree.count(found) + tree.count(stats)) == (weights, total)


def test_paths_and_shapes():
    weights, stats = inception_v3.init(0, inception_v3.Config(classes=5))
    flat = {**tree.flatten(weights), **tree.flatten(stats)}
    assert flat["stem/0/conv/w"].shape == [3, 3, 3, 32]
    assert flat["mixed7/b7x7/1/conv/w"].shape == [1, 7, 192, 192]
    assert flat["mixed7/b7x7dbl/1/conv/w"].shape == [7, 1, 192, 192]
    assert flat["mixed10/b3x3dbl/3/conv/w"].shape == [3, 1, 384, 384]
    assert flat["mixed3/b3x3dbl/2/norm/offset"].shape == [96]
    assert flat["mixed0/pool/0/mean"].shape == flat["mixed0/pool/0/variance"].shape == [32]
    assert flat["logits/w"].shape == [2048, 5]
    assert len(flat) == 4 * 94 + 2


def test_init_is_a_function_of_the_seed_and_the_path():
    weights, _ = inception_v3.init(7, SMALL)
    again, _ = inception_v3.init(7, inception_v3.Config(top=False, endpoint="mixed1"))
    other, _ = inception_v3.init(8, SMALL)
    np.testing.assert_array_equal(
        weights["mixed0"]["b5x5"]["1"]["conv"]["w"], again["mixed0"]["b5x5"]["1"]["conv"]["w"]
    )
    assert not np.array_equal(weights["stem"]["0"]["conv"]["w"], other["stem"]["0"]["conv"]["w"])


@pytest.mark.parametrize("size", [(75, 75), (101, 77)])
def test_odd_sizes_run_and_have_the_announced_shapes(size):
    config = inception_v3.Config(image_shape=(*size, 3), classes=3)
    weights, stats = inception_v3.init(0, config)
    x = pictures(size[0], width=size[1])
    activations, _ = inception_v3.endpoints(config, weights, stats, x, training=False)
    assert list(activations) == [*inception_v3.BLOCKS, "logits"]
    for endpoint in inception_v3.BLOCKS:
        cut = inception_v3.Config(image_shape=(*size, 3), top=False, endpoint=endpoint)
        assert tuple(activations[endpoint].shape[1:]) == inception_v3.feature_shape(cut)
    assert activations["logits"].shape == [2, 3]
    assert np.isfinite(activations["logits"]).all()


def test_feature_shape_at_every_size():
    for side in range(75, 330):
        found = inception_v3.feature_shape(inception_v3.Config((side, 75, 3), top=False))
        wanted = side
        for window, stride in [(3, 2), (3, 1), (3, 2), (3, 1), (3, 2), (3, 2), (3, 2)]:  # of those without padding
            wanted = -(-(wanted - window + 1) // stride)
        assert found == (wanted, 1, 2048)


def test_mixed7_of_150_is_7x7x768():
    assert inception_v3.feature_shape(inception_v3.Config(top=False, endpoint="mixed7")) == (7, 7, 768)


def test_a_size_that_is_unknown_until_the_graph_runs():
    weights, stats = inception_v3.init(0, SMALL)
    stats = random_stats(stats)
    run = tf.function(
        lambda x: inception_v3.forward(SMALL, weights, stats, x, training=False)[0],
        input_signature=[tf.TensorSpec([None, None, None, 3])],
    )
    for side in (75, 90):
        wanted, _ = inception_v3.forward(SMALL, weights, stats, pictures(side), training=False)
        assert relative(run(pictures(side)), wanted) < 1e-5


@pytest.mark.parametrize("size", [(74, 75), (75, 74), (28, 28)])
def test_smaller_than_75_is_refused(size):
    weights, stats = inception_v3.init(0, SMALL)
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}x3.*75x75 or larger"):
        inception_v3.forward(SMALL, weights, stats, tf.zeros([1, *size, 3]), training=False)


def test_pictures_of_other_channels_are_refused():
    weights, stats = inception_v3.init(0, SMALL)
    with pytest.raises(ValueError, match="stem/0/conv: x has 1 channels"):
        inception_v3.forward(SMALL, weights, stats, tf.zeros([1, 75, 75, 1]), training=False)


def test_frozen_stats_stay_and_training_moves_all():
    config = inception_v3.Config(image_shape=(96, 96, 3), top=False)
    weights, stats = inception_v3.init(0, config)
    x = pictures(96, n=3)
    _, same = inception_v3.forward(config, weights, stats, x, training=False)
    flat = tree.flatten(stats)
    assert list(tree.flatten(same)) == list(flat)
    assert all(leaf is flat[path] for path, leaf in tree.flatten(same).items())
    _, moved = inception_v3.forward(config, weights, stats, x, training=True)
    assert tree.mismatches(moved, stats) == []
    still = [path for path, leaf in tree.flatten(moved).items() if np.array_equal(leaf, flat[path])]
    assert still == []


def test_gradients_reach_every_weight():
    config = inception_v3.Config(image_shape=(75, 75, 3), classes=2)
    weights, stats = inception_v3.init(0, config)
    with tf.GradientTape() as tape:
        logits, _ = inception_v3.forward(config, weights, stats, pictures(75), training=False)
        loss = tf.reduce_mean(logits**2)
    grads = dict(zip(tree.flatten(weights), tape.gradient(loss, tree.leaves(weights))))
    assert [path for path, grad in grads.items() if grad is None or not np.any(grad)] == []


def test_top_of_a_shorter_network():
    config = inception_v3.Config(image_shape=(75, 75, 3), classes=4, endpoint="mixed2")
    weights, stats = inception_v3.init(0, config)
    logits, _ = inception_v3.forward(config, weights, stats, pictures(75), training=False)
    features, _ = inception_v3.forward(
        inception_v3.Config(top=False, endpoint="mixed2"), weights, stats, pictures(75), training=False
    )
    wanted = np.mean(features, (1, 2)) @ weights["logits"]["w"].numpy() + weights["logits"]["b"].numpy()
    assert relative(logits, wanted) < 1e-5


def test_preprocess_is_keras():
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    wanted = keras.applications.inception_v3.preprocess_input(x.astype(np.float32))
    np.testing.assert_allclose(inception_v3.preprocess(x), wanted, atol=1e-6)
    assert inception_v3.preprocess(x).dtype == tf.float32
