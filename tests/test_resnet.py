"""The residual network against one that is built of Keras layers by hand, and against published counts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcore import tree
from tfcore.models import resnet
from tfcore.models.resnet import Config, feature_shape, forward, init

SMALL = Config((20, 12, 2), ((4, 2), (6, 1), (6, 2)), classes=3)  # 5 x 3, 3 x 2, 2 x 1
WIDE = Config((16, 8, 3), ((5, 1), (4, 2)), classes=1)
both = pytest.mark.parametrize("config", [SMALL, WIDE], ids=["small", "wide"])


def arrays(config, dtype=np.float32):
    """Weights and stats as NumPy arrays, scales and offsets not at 0 and 1, variances positive."""
    rng = np.random.default_rng(4)
    weights, stats = (tree.map(lambda leaf: leaf.numpy(), part) for part in init(2, config))
    shaken = {path: leaf + 0.3 * rng.uniform(-1, 1, leaf.shape) for path, leaf in tree.flatten(weights).items()}
    shaken = {path: leaf + (1 if path.endswith("scale") else 0) for path, leaf in shaken.items()}
    stats = {path: leaf + rng.uniform(-0.4, 0.4, leaf.shape) for path, leaf in tree.flatten(stats).items()}
    return tuple(tree.unflatten({p: leaf.astype(dtype) for p, leaf in part.items()}) for part in (shaken, stats))


def pictures(config, n=6, dtype=np.float32):
    return np.random.default_rng(3).uniform(0, 1, [n, *config.image_shape]).astype(dtype)


# Counts


def test_parameter_count_by_hand():
    """Stem, two blocks of 4, then each stage: a block that halves with a shortcut, and one that does not."""

    def unit(kernel, i, o):
        return kernel * kernel * i * o + 2 * o

    stem = unit(3, 16 * 2, 4)
    stage1 = 2 * (unit(3, 4, 4) + unit(3, 4, 4))
    stage2 = unit(3, 4, 6) + unit(3, 6, 6) + unit(1, 4, 6)
    stage3 = unit(3, 6, 6) + unit(3, 6, 6) + unit(1, 6, 6) + unit(3, 6, 6) + unit(3, 6, 6)
    weights, stats = init(0, SMALL)
    assert tree.count(weights) == stem + stage1 + stage2 + stage3 + 6 * 3 + 3
    assert tree.count(stats) == 2 * (4 + 4 * 4 + 3 * 6 + 5 * 6)
    bare, bare_stats = init(0, Config(SMALL.image_shape, SMALL.stages, top=False))
    assert tree.count(bare) == stem + stage1 + stage2 + stage3 and tree.count(bare_stats) == tree.count(stats)


def test_the_default_is_resnet_18_but_for_the_stem():
    """Its published count is 11,689,512, with a 7x7 stem of 3 channels in place of a 3x3 one of 48."""
    weights, _ = init(0, Config(classes=1000, init="zeros"))
    assert tree.count(weights) == 11_689_512 - 7 * 7 * 3 * 64 + 3 * 3 * 48 * 64


def test_paths_of_the_weights_and_stats():
    weights, stats = init(0, WIDE)
    assert list(weights) == ["stem", "stage1_1", "stage2_1", "stage2_2", "logits"]
    assert list(weights["stage1_1"]) == list(weights["stage2_2"]) == ["conv1", "conv2"]
    assert list(tree.flatten(weights["stage2_1"]))[-3:] == [
        "shortcut/w",
        "shortcut/norm/scale",
        "shortcut/norm/offset",
    ]
    assert weights["stage2_1"]["shortcut"]["w"].shape == [1, 1, 5, 4]
    assert list(stats) == list(weights)[:-1]
    assert list(tree.flatten(stats["stem"])) == ["mean", "variance"]


# Shapes


@pytest.mark.parametrize("size", [(20, 12), (4, 4), (32, 8), (64, 64), (12, 36)])
def test_the_same_weights_take_pictures_of_any_size(size):
    weights, stats = arrays(SMALL)
    for training in (False, True):
        logits, _ = forward(SMALL, weights, stats, np.ones([3, *size, 2], np.float32), training=training)
        assert logits.shape == [3, 3] and np.isfinite(logits).all()


@pytest.mark.parametrize("size", [(4, 4), (8, 20), (20, 12), (36, 28), (64, 64)])
@pytest.mark.parametrize("stages", [((3, 1),), ((3, 1), (4, 1)), ((2, 1), (2, 2), (5, 1), (4, 1))], ids=len)
def test_feature_shape_is_the_shape_of_the_features(size, stages):
    config = Config((*size, 1), stages, top=False)
    weights, stats = init(0, config)
    assert "logits" not in weights
    features, _ = forward(config, weights, stats, np.ones([2, *size, 1], np.float32), training=False)
    assert features.shape[1:] == feature_shape(config)


def test_the_logits_are_dense_on_the_mean_of_the_features():
    weights, stats = arrays(SMALL)
    x = pictures(SMALL)
    bare = Config(SMALL.image_shape, SMALL.stages, top=False)
    features, _ = forward(bare, weights, stats, x, training=False)
    wanted = features.numpy().mean((1, 2)) @ weights["logits"]["w"] + weights["logits"]["b"]
    np.testing.assert_allclose(forward(SMALL, weights, stats, x, training=False)[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(130, 128), (128, 130), (6, 6), (1, 4)])
@pytest.mark.parametrize("function", [feature_shape, lambda config: init(0, config)], ids=["feature_shape", "init"])
def test_sides_that_are_no_multiples_of_4_are_refused(size, function):
    words = f"^pictures of {size[0]}x{size[1]}: height and width must be multiples of 4$"
    with pytest.raises(ValueError, match=words):
        function(Config((*size, 3)))


# Keras


def keras_network(config, weights, stats):
    """The network of Keras layers with these weights, and {path of ours: Keras variable}."""
    paths = {}

    def unit(x, path, channels, kernel, stride=1):
        convolution = keras.layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False)
        norm = keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-3)
        y = norm(convolution(x))
        ours = ("w", "norm/scale", "norm/offset", "mean", "variance")
        theirs = (convolution.kernel, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
        paths.update({f"{path}/{name}": variable for name, variable in zip(ours, theirs)})
        return y

    height, width, depth = config.image_shape
    inputs = keras.Input(config.image_shape)
    x = keras.layers.Reshape((height // 4, 4, width // 4, 4, depth))(inputs)
    x = keras.layers.Permute((1, 3, 2, 4, 5))(x)
    x = keras.layers.Reshape((height // 4, width // 4, 16 * depth))(x)
    x = keras.layers.ReLU()(unit(x, "stem", config.stages[0][0], 3))
    for i, (channels, count) in enumerate(config.stages):
        for j in range(count):
            path, halves = f"stage{i + 1}_{j + 1}", i > 0 and j == 0
            y = unit(x, f"{path}/conv1", channels, 3, 2 if halves else 1)
            y = unit(keras.layers.ReLU()(y), f"{path}/conv2", channels, 3)
            if halves:
                x = unit(keras.layers.AveragePooling2D(2, padding="same")(x), f"{path}/shortcut", channels, 1)
            x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    top = keras.layers.Dense(config.classes)
    outputs = top(keras.layers.GlobalAveragePooling2D()(x))
    paths |= {"logits/w": top.kernel, "logits/b": top.bias}
    values = {**tree.flatten(weights), **tree.flatten(stats)}
    assert paths.keys() == values.keys()
    for path, variable in paths.items():
        variable.assign(values[path])
    return keras.Model(inputs, outputs), paths


@both
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_logits_gradients_and_stats_equal_those_of_keras(config, training):
    weights, stats = arrays(config)
    model, paths = keras_network(config, weights, stats)
    x = tf.constant(pictures(config))
    direction = np.random.default_rng(5).normal(size=[6, config.classes]).astype(np.float32)

    tensors = tree.map(tf.constant, weights)
    with tf.GradientTape() as tape:
        tape.watch([tensors, x])
        logits, new_stats = forward(config, tensors, stats, x, training=training)
        loss = tf.reduce_sum(tf.nn.softplus(logits * direction))
    grads = tape.gradient(loss, {"x": x, **tensors})
    learned = {path: paths[path].value for path in tree.flatten(weights)}
    with tf.GradientTape() as tape:
        tape.watch(x)
        wanted = model(x, training=training)
        wanted_loss = tf.reduce_sum(tf.nn.softplus(wanted * direction))
    wanted_grads = tape.gradient(wanted_loss, {"x": x, **learned})

    np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4)
    assert float(loss) == pytest.approx(float(wanted_loss), rel=1e-4)
    for path, g in tree.flatten(grads).items():
        size = np.abs(wanted_grads[path]).max()
        np.testing.assert_allclose(g, wanted_grads[path], rtol=1e-3, atol=1e-3 * size, err_msg=path)
    for path, value in tree.flatten(new_stats).items():
        np.testing.assert_allclose(value, paths[path].value, rtol=1e-4, atol=1e-5, err_msg=path)


# The beginning


def test_blocks_begin_as_their_shortcuts():
    """In one stage that is the identity, so the features are those of the stem."""
    config = Config((12, 8, 2), ((5, 3),), top=False)
    weights, stats = init(1, config)
    for name in ("stage1_1", "stage1_2", "stage1_3"):
        assert not weights[name]["conv2"]["norm"]["scale"].numpy().any()
        assert weights[name]["conv1"]["norm"]["scale"].numpy().all()
    x = pictures(config)
    y = tf.nn.conv2d(tf.nn.space_to_depth(x, 4), weights["stem"]["w"], 1, "SAME").numpy()
    for training in (False, True):
        mean, variance = (y.mean((0, 1, 2)), y.var((0, 1, 2))) if training else (0, 1)
        features, _ = forward(config, weights, stats, x, training=training)
        wanted = np.maximum((y - mean) / np.sqrt(variance + 1e-3), 0)
        np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-5)


def test_a_block_that_halves_begins_as_a_mean_pool_and_a_1x1():
    config = Config((16, 16, 1), ((3, 1), (4, 1)), top=False)
    weights, stats = init(1, config)
    x = pictures(config)
    stem = Config(config.image_shape, ((3, 1),), top=False)
    before, _ = forward(stem, weights, stats, x, training=False)  # 4 x 4 x 3
    pooled = before.numpy().reshape(6, 2, 2, 2, 2, 3).mean((2, 4))
    wanted = np.maximum(pooled @ weights["stage2_1"]["shortcut"]["w"].numpy()[0, 0] / np.sqrt(1 + 1e-3), 0)
    np.testing.assert_allclose(forward(config, weights, stats, x, training=False)[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_scale_that_begins_at_zero_learns():
    weights, stats = init(1, WIDE)
    with tf.GradientTape() as tape:
        logits, _ = forward(WIDE, weights, stats, pictures(WIDE), training=True)
        loss = tf.reduce_sum(logits**2)
    grads = tape.gradient(loss, weights)
    for name in ("stage1_1", "stage2_1", "stage2_2"):
        assert np.any(grads[name]["conv2"]["norm"]["scale"])


# Stats, types, inputs


@both
def test_new_stats_have_the_structure_of_the_stats_and_are_those_at_inference(config):
    weights, stats = arrays(config)
    x = pictures(config)
    _, kept = forward(config, weights, stats, x, training=False)
    _, moved = forward(config, weights, stats, x, training=True)
    before = tree.flatten(stats)
    for new in (kept, moved):
        assert not tree.mismatches(new, stats)
    assert all(tree.flatten(kept)[path] is leaf for path, leaf in before.items())
    assert all(np.any(tree.flatten(moved)[path] != leaf) for path, leaf in before.items())


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_bfloat16_stays_bfloat16_and_near_float32(training):
    weights, stats = arrays(SMALL)
    x = pictures(SMALL, n=16)
    wanted, wanted_stats = forward(SMALL, weights, stats, x, training=training)
    half = tree.map(lambda w: tf.cast(w, tf.bfloat16), weights)
    logits, new_stats = forward(SMALL, half, stats, tf.cast(x, tf.bfloat16), training=training)
    assert logits.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(logits, tf.float32), wanted, atol=0.05 * np.abs(wanted).max())
    for path, value in tree.flatten(new_stats).items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, tree.flatten(wanted_stats)[path], atol=0.01, err_msg=path)


@pytest.mark.parametrize("kind", [np.asarray, tf.Variable, tf.constant], ids=["arrays", "variables", "tensors"])
def test_inputs_stay_as_they_are(kind):
    weights, stats = (tree.map(kind, part) for part in arrays(WIDE))
    x = pictures(WIDE)
    everything = {**tree.flatten({"w": weights}), **tree.flatten({"s": stats}), "x": x}
    before = {path: np.asarray(leaf).tobytes() for path, leaf in everything.items()}
    leaves = dict(everything)
    forward(WIDE, weights, stats, x, training=True, seed=1)
    assert {path: np.asarray(leaf).tobytes() for path, leaf in everything.items()} == before
    now = {**tree.flatten({"w": weights}), **tree.flatten({"s": stats})}
    assert all(now[path] is leaves[path] for path in now)


def test_dropout_needs_training_and_a_seed():
    config = Config(SMALL.image_shape, SMALL.stages, classes=3, dropout=0.5)
    weights, stats = arrays(config)

    def logits(**options):
        return forward(config, weights, stats, pictures(config), **options)[0].numpy()

    assert (logits(training=False, seed=1) == logits(training=False)).all()
    dropped = logits(training=True, seed=1)
    assert (dropped != logits(training=True)).any()
    assert (dropped == logits(training=True, seed=1)).all() and (dropped != logits(training=True, seed=2)).any()


def test_the_same_seed_gives_the_same_bits_and_no_two_kernels_are_alike():
    first, again, other = (tree.flatten(init(seed, SMALL)[0]) for seed in (1, 1, 2))
    assert all(first[path].numpy().tobytes() == again[path].numpy().tobytes() for path in first)
    kernels = [path for path in first if path.endswith("/w")]
    assert all((first[path].numpy() != other[path].numpy()).all() for path in kernels)
    assert len({first[path].numpy().tobytes() for path in kernels}) == len(kernels)


def test_a_convolution_names_itself_in_errors():
    weights, stats = arrays(WIDE)
    with pytest.raises(ValueError, match=r"^stem: x has 32 channels"):
        resnet.forward(WIDE, weights, stats, np.zeros([1, 16, 8, 2], np.float32), training=False)
