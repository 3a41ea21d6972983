"""The models: parameter counts by hand, the textbook order of operations, gradients to every leaf."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfcore import check, tree
from tfcore.data.augment import Augment
from tfcore.models import cnn, inception_v3, mixer, mlp, transfer
from tfcore.recipes import RECIPES, from_dict, to_dict

PETS = (125, 94, 3)  # after a valid 3x3 convolution and a 2x2 pool 61 x 46, after two 29 x 22
DEEP = {"blocks": ((64, 32), (32, 16), (16, 8)), "padding": "SAME", "hidden": (128,)}  # 28, 14, 7, 3
CONV1, DEEP_CONVS = 9 * 64 + 64, [(1, 64), (64, 32), (32, 32), (32, 16), (16, 16), (16, 8)]
COUNTS = {
    "mnist_perceptron": (mlp, mlp.Config(), 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10, 0),
    "pets_perceptron": (mlp, mlp.Config(PETS, (512,), 1), 125 * 94 * 3 * 512 + 512 + 512 + 1, 0),
    "linear": (mlp, mlp.Config(hidden=()), 7850, 0),
    "fashion_cnn": (
        cnn,
        cnn.Config(hidden_activation="linear"),
        CONV1 + 9 * 64 * 64 + 64 + 5 * 5 * 64 * 64 + 64 + 64 * 10 + 10,
        0,
    ),
    "fashion_deep_cnn": (
        cnn,
        cnn.Config(**DEEP),
        sum(9 * i * o + o for i, o in DEEP_CONVS) + 3 * 3 * 8 * 128 + 128 + 128 * 10 + 10,
        0,
    ),
    "fashion_deep_cnn with batch norm": (  # scale and offset in place of a bias, and two statistics
        cnn,
        cnn.Config(**DEEP, batch_norm=True),
        sum(9 * i * o + 2 * o for i, o in DEEP_CONVS) + 3 * 3 * 8 * 128 + 128 + 128 * 10 + 10,
        2 * (64 + 32 + 32 + 16 + 16 + 8),
    ),
    "pets_cnn24": (
        cnn,
        cnn.Config(PETS, ((24,),), hidden=(128, 128), classes=1),
        27 * 24 + 24 + 61 * 46 * 24 * 128 + 128 + 128 * 128 + 128 + 128 + 1,
        0,
    ),
    "pets_cnn48": (
        cnn,
        cnn.Config(PETS, ((48,), (48,)), hidden=(256, 256), classes=1),
        27 * 48 + 48 + 9 * 48 * 48 + 48 + 29 * 22 * 48 * 256 + 256 + 256 * 256 + 256 + 256 + 1,
        0,
    ),
    "pets_cnn128": (
        cnn,
        cnn.Config(PETS, ((128,), (128,)), hidden=(256, 256), classes=1),
        27 * 128 + 128 + 9 * 128 * 128 + 128 + 29 * 22 * 128 * 256 + 256 + 256 * 256 + 256 + 256 + 1,
        0,
    ),
    "pets_cnn64_128": (
        cnn,
        cnn.Config(PETS, ((64,), (128,)), hidden=(512, 512), classes=1),
        27 * 64 + 64 + 9 * 64 * 128 + 128 + 29 * 22 * 128 * 512 + 512 + 512 * 512 + 512 + 512 + 1,
        0,
    ),
    "pets_cnn150": (  # 150, 74, 36, 17
        cnn,
        cnn.Config((150, 150, 3), ((32,), (64,), (128,)), hidden=(128, 512), classes=1),
        896 + 9 * 32 * 64 + 64 + 9 * 64 * 128 + 128 + 17 * 17 * 128 * 128 + 128 + 128 * 512 + 512 + 512 + 1,
        0,
    ),
    "pooled features": (cnn, cnn.Config(pool_features=True), CONV1 + 9 * 64 * 64 + 64 + 64 * 64 + 64 + 650, 0),
}


@pytest.mark.parametrize(("model", "config", "count", "stats_count"), COUNTS.values(), ids=COUNTS.keys())
def test_parameter_count_by_hand(model, config, count, stats_count):
    weights, stats = model.init(1, model.Config(**{**vars(config), "init": "zeros"}))
    assert tree.count(weights) == count
    assert tree.count(stats) == stats_count


def test_the_published_perceptron_has_269322_parameters():
    assert tree.count(mlp.init(1, mlp.Config())[0]) == 269_322
    assert COUNTS["fashion_cnn"][2] == 140_682
    assert COUNTS["fashion_deep_cnn"][2] == 47_090


SMALL = {"image_shape": (12, 13, 2), "classes": 3}
MODELS = {
    "perceptron": (mlp, mlp.Config(**SMALL, hidden=(8, 6))),
    "linear": (mlp, mlp.Config(**SMALL, hidden=())),
    "cnn": (cnn, cnn.Config(**SMALL, blocks=((4,), (5,)), hidden=(7,))),
    "cnn of two in a block": (cnn, cnn.Config(**SMALL, blocks=((4, 3), (5,)), hidden=(7, 6), padding="SAME")),
    "cnn linear": (cnn, cnn.Config(**SMALL, blocks=((4,),), hidden=(7,), hidden_activation="linear", kernel=5)),
    "cnn with batch norm": (cnn, cnn.Config(**SMALL, blocks=((4, 3), (5,)), padding="SAME", batch_norm=True)),
    "cnn of wide pools": (cnn, cnn.Config(**SMALL, blocks=((4,), (5,)), hidden=(7,), pool=3, padding="SAME")),
    "cnn of pooled features": (cnn, cnn.Config(**SMALL, blocks=((4,), (5,)), hidden=(), pool_features=True)),
}
every_model = pytest.mark.parametrize(("model", "config"), MODELS.values(), ids=MODELS.keys())


def pictures(config, n=5, dtype=np.float32):
    return np.random.default_rng(3).uniform(0, 1, [n, *config.image_shape]).astype(dtype)


def arrays(model, config, dtype=np.float32):
    """Weights and stats as NumPy arrays, biases and scales not at 0 and 1."""
    rng = np.random.default_rng(4)

    def shaken(leaf):
        return (leaf.numpy() + 0.3 * rng.uniform(-1, 1, leaf.shape)).astype(dtype)

    return [tree.map(shaken, part) for part in model.init(2, config)]


def textbook(model, config, weights, x):
    """Convolution + bias, relu, pool; dense + bias, activation; inference without batch norm, dropout off."""
    number = 0
    for block in getattr(config, "blocks", ()):
        for _ in block:
            number += 1
            layer = weights[f"conv{number}"]
            x = tf.nn.relu(tf.nn.conv2d(x, layer["w"], 1, config.padding) + layer["b"])
        x = tf.nn.max_pool2d(x, config.pool, config.pool, "VALID")
    x = tf.reduce_mean(x, [1, 2]) if getattr(config, "pool_features", False) else tf.reshape(x, [len(x), -1])
    for i in range(len(config.hidden)):
        x = x @ weights[f"dense{i + 1}"]["w"] + weights[f"dense{i + 1}"]["b"]
        x = x if getattr(config, "hidden_activation", "relu") == "linear" else tf.nn.relu(x)
    return x @ weights["logits"]["w"] + weights["logits"]["b"]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "cnn with batch norm"])
def test_logits_and_gradients_equal_the_textbook_order(name):
    model, config = MODELS[name]
    weights, stats = arrays(model, config)
    x = tf.constant(pictures(config))
    weights = tree.map(tf.constant, weights)
    forwards = (
        lambda: model.forward(config, weights, stats, x, training=True)[0],
        lambda: textbook(model, config, weights, x),
    )
    results = []
    for forward in forwards:
        with tf.GradientTape() as tape:
            tape.watch([weights, x])
            logits = forward()
            loss = tf.reduce_sum(tf.nn.log_softmax(logits)[:, 0])
        results.append((logits, tape.gradient(loss, {"x": x, **weights})))
    (logits, grads), (wanted, wanted_grads) = results
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)
    for path, g in tree.flatten(wanted_grads).items():
        np.testing.assert_allclose(tree.flatten(grads)[path], g, rtol=1e-4, atol=1e-5, err_msg=path)


def test_batch_norm_stands_between_convolution_and_relu():
    config = cnn.Config((6, 6, 1), ((3, 2),), padding="SAME", hidden=(), classes=2, batch_norm=True)
    weights, stats = arrays(cnn, config)
    x = wanted = pictures(config)
    for name in ("conv1", "conv2"):
        norm = weights[name]["norm"]
        wanted = tf.nn.conv2d(wanted, weights[name]["w"], 1, "SAME")
        normalized = (wanted - stats[name]["mean"]) / np.sqrt(stats[name]["variance"] + 1e-3)
        wanted = tf.nn.relu(normalized * norm["scale"] + norm["offset"])
    wanted = tf.reshape(tf.nn.max_pool2d(wanted, 2, 2, "VALID"), [5, -1])
    logits, new_stats = cnn.forward(config, weights, stats, x, training=False)
    np.testing.assert_allclose(logits, wanted @ weights["logits"]["w"] + weights["logits"]["b"], rtol=1e-4, atol=1e-5)
    assert tree.flatten(new_stats).keys() == tree.flatten(stats).keys()
    assert all(tree.flatten(new_stats)[path] is leaf for path, leaf in tree.flatten(stats).items())


@every_model
def test_gradients_flow_to_every_leaf_of_plain_tensors(model, config):
    weights, stats = arrays(model, config)
    weights = tree.map(tf.constant, weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits, _ = model.forward(config, weights, stats, pictures(config), training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 0, 1], logits))
    grads = tree.flatten(tape.gradient(loss, weights))
    assert all(np.isfinite(g).all() and np.any(g) for g in grads.values()), grads
    assert grads.keys() == tree.flatten(weights).keys()


@every_model
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_gradient_equals_finite_differences(model, config, training):
    weights, stats = arrays(model, config, np.float64)
    x = pictures(config, dtype=np.float64)

    def loss(weights):
        logits, _ = model.forward(config, weights, stats, x, training=training)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 0, 1], logits))

    found = check.gradient(tf.function(loss, autograph=False), weights, entries=10, tolerance=1e-5)
    assert found, found


@every_model
def test_variables_tensors_and_arrays_give_the_same_logits_and_stay_as_they_are(model, config):
    weights, stats = arrays(model, config)
    before = {path: leaf.tobytes() for path, leaf in tree.flatten({"w": weights, "s": stats}).items()}
    x = pictures(config)
    wanted, _ = model.forward(config, weights, stats, x, training=False)
    assert wanted.shape == [5, 3] and wanted.dtype == tf.float32
    for kind in (tf.Variable, tf.constant):
        logits, _ = model.forward(config, tree.map(kind, weights), tree.map(kind, stats), kind(x), training=False)
        assert logits.numpy().tobytes() == wanted.numpy().tobytes()
    assert {path: leaf.tobytes() for path, leaf in tree.flatten({"w": weights, "s": stats}).items()} == before


@every_model
@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_forward_in_a_graph_equals_eager(model, config, jit):
    weights, stats = arrays(model, config)
    graph = tf.function(lambda x: model.forward(config, weights, stats, x, training=True), jit_compile=jit)
    x = pictures(config)
    for found, wanted in zip(graph(x), model.forward(config, weights, stats, x, training=True)):
        tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, wanted)


def test_paths_of_the_weights():
    weights, stats = mlp.init(1, mlp.Config((2, 2, 1), (3, 3)))
    assert list(tree.flatten(weights)) == ["dense1/w", "dense1/b", "dense2/w", "dense2/b", "logits/w", "logits/b"]
    assert stats == {}
    weights, stats = cnn.init(1, cnn.Config())
    assert list(weights) == ["conv1", "conv2", "dense1", "logits"] and stats == {}
    assert weights["conv1"]["w"].shape == [3, 3, 1, 64]
    weights, stats = cnn.init(1, cnn.Config(blocks=((2, 2),), batch_norm=True))
    assert list(tree.flatten(weights))[:3] == ["conv1/w", "conv1/norm/scale", "conv1/norm/offset"]
    assert list(tree.flatten(stats)) == ["conv1/mean", "conv1/variance", "conv2/mean", "conv2/variance"]


@pytest.mark.parametrize(("model", "first"), [(mlp, "dense1"), (cnn, "conv1")])
def test_the_first_layer_names_itself_in_errors_and_in_the_graph(model, first):
    weights, stats = model.init(1, model.Config())
    with pytest.raises(ValueError, match=rf"^{first}/\w+: x has"):
        model.forward(model.Config(), weights, stats, np.zeros([2, 28, 28, 3], np.float32), training=False)
    function = tf.function(lambda x: model.forward(model.Config(), weights, stats, x, training=False))
    graph = function.get_concrete_function(tf.TensorSpec([2, 28, 28, 1])).graph
    assert any(operation.name.startswith(f"{first}/") for operation in graph.get_operations())


@every_model
def test_the_same_seed_gives_the_same_bits_and_layers_differ(model, config):
    first, again, other = (tree.flatten(model.init(seed, config)[0]) for seed in (1, 1, 2))
    assert all(first[path].numpy().tobytes() == again[path].numpy().tobytes() for path in first)
    kernels = [path for path in first if path.endswith("/w")]
    assert all((first[path].numpy() != other[path].numpy()).all() for path in kernels)


def test_layers_of_one_shape_start_from_different_weights():
    weights, _ = mlp.init(1, mlp.Config((3, 3, 1), (9, 9), init="normal"))
    for key in ("w", "b"):
        assert (weights["dense1"][key].numpy() != weights["dense2"][key].numpy()).all()


def test_the_post_draws_weights_and_biases_from_the_unit_normal():
    weights, _ = mlp.init(1, mlp.Config(init="normal"))
    assert weights["dense1"]["w"].numpy().std() == pytest.approx(1, abs=0.01)
    assert np.concatenate([weights[name]["b"].numpy() for name in weights]).std() == pytest.approx(1, abs=0.1)
    assert not any(mlp.init(1, mlp.Config())[0][name]["b"].numpy().any() for name in weights)


@pytest.mark.parametrize(("size", "padding"), [(10, "VALID"), (4, "SAME")])
def test_the_smallest_pictures_run(size, padding):
    config = cnn.Config((size, size, 1), ((4,), (4,)), padding=padding)
    weights, stats = cnn.init(1, config)
    logits, _ = cnn.forward(config, weights, stats, np.ones([2, size, size, 1], np.float32), training=False)
    assert weights["dense1"]["w"].shape == [4, 64] and logits.shape == [2, 10]


@pytest.mark.parametrize("model", [mlp, cnn])
def test_dropout_needs_training_and_a_seed(model):
    config = model.Config(**SMALL, dropout=0.5)
    weights, stats = arrays(model, config)

    def logits(**options):
        return model.forward(config, weights, stats, pictures(config), **options)[0].numpy()

    plain = logits(training=False)
    assert (logits(training=False, seed=1) == plain).all() and (logits(training=True) == plain).all()
    dropped = logits(training=True, seed=1)
    assert (dropped != plain).any()
    assert (logits(training=True, seed=1) == dropped).all()
    assert (logits(training=True, seed=2) != dropped).any()


def test_the_mixer_equals_its_definition_by_hand(rng):
    config = mixer.Config((6, 4, 2), patch=2, channels=5, blocks=2, hidden=(3, 7), classes=4)
    weights, stats = mixer.init(0, config)
    stats = tree.map(lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32), stats)
    x = rng.normal(size=(3, 6, 4, 2)).astype(np.float32)
    logits, _ = mixer.forward(config, weights, stats, x, training=False)

    def affine(layer, y):
        return y @ layer["w"].numpy() + layer["b"].numpy()

    def norm(layer, moments, y):
        y = (y - moments["mean"]) / np.sqrt(moments["variance"] + 1e-3)
        return y * layer["scale"].numpy() + layer["offset"].numpy()

    patches = [x[:, i : i + 2, j : j + 2].reshape(3, -1) for i in (0, 2, 4) for j in (0, 2)]
    y = affine(weights["patches"], np.stack(patches, axis=1))  # 3 x 6 x 5
    for name in ("block1", "block2"):
        block = weights[name]
        z = norm(block["norm1"], stats[name]["norm1"], y).transpose(0, 2, 1)
        z = affine(block["over_patches2"], np.maximum(affine(block["over_patches1"], z), 0))
        y = y + z.transpose(0, 2, 1)
        z = norm(block["norm2"], stats[name]["norm2"], y)
        y = y + affine(block["over_channels2"], np.maximum(affine(block["over_channels1"], z), 0))
    np.testing.assert_allclose(logits, affine(weights["logits"], y.mean(axis=1)), rtol=1e-4, atol=1e-5)


def test_the_mixer_has_no_convolution_and_learns_in_all_its_weights():
    config = mixer.Config((8, 8, 1), channels=6, blocks=1, hidden=(4, 5), classes=3)
    weights, stats = mixer.init(0, config)
    forward = tf.function(lambda x: mixer.forward(config, weights, stats, x, training=True)[0])
    graph = forward.get_concrete_function(tf.TensorSpec([2, 8, 8, 1])).graph
    assert not [op.type for op in graph.get_operations() if "Conv" in op.type]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(forward(tf.random.stateless_normal([2, 8, 8, 1], [0, 0])) ** 2)
    assert all(g is not None for g in tree.leaves(tape.gradient(loss, weights)))


# The recipes of the pets posts, as the table in DESIGN.md has them

RAW, UNIT, CROSS = 1.0, 1 / 255, "sigmoid_cross_entropy"
FOUR_THOUSAND, ALL = 4096, 0  # training examples
PETS_TABLE = {
    # name: picture, convolutions, hidden, loss, learning rate, batch, epochs, steps, of validation, examples, pixels
    "pets_perceptron": (PETS, None, (512,), "sigmoid_mse", 1e-5, 32, 10, 0, 0, FOUR_THOUSAND, RAW),
    "pets_cnn24": (PETS, ((24,),), (128, 128), CROSS, 1e-6, 32, 5, 0, 0, FOUR_THOUSAND, RAW),
    "pets_cnn48": (PETS, ((48,), (48,)), (256, 256), CROSS, 1e-6, 64, 15, 0, 0, FOUR_THOUSAND, RAW),
    "pets_cnn128": (PETS, ((128,), (128,)), (256, 256), CROSS, 1e-6, 64, 15, 0, 0, FOUR_THOUSAND, RAW),
    "pets_cnn64_128": (PETS, ((64,), (128,)), (512, 512), CROSS, 1e-6, 64, 15, 0, 0, FOUR_THOUSAND, RAW),
    "pets_cnn150": ((150, 150, 3), ((32,), (64,), (128,)), (128, 512), CROSS, 1e-3, 32, 15, 100, 50, ALL, UNIT),
    "pets_cnn150_augmented": (
        (150, 150, 3), ((32,), (64,), (128,)), (128, 512), CROSS, 1e-3, 32, 15, 100, 50, ALL, UNIT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PETS_TABLE)
def test_a_pets_recipe_is_what_its_post_built(name):
    recipe = RECIPES[name]
    model = recipe.model
    found = (
        model.image_shape, getattr(model, "blocks", None), model.hidden, recipe.loss, recipe.learning_rate,
        recipe.batch_size, recipe.epochs, recipe.steps_per_epoch, recipe.validation_steps, recipe.train_examples,
        recipe.scale,
    )  # fmt: skip
    assert found == PETS_TABLE[name]
    assert recipe.name == name and recipe.dataset == "cats_vs_dogs" and recipe.offset == 0
    assert recipe.optimizer == "adam" and recipe.schedule == "constant" and recipe.validation == 1024
    assert isinstance(model, mlp.Config if name == "pets_perceptron" else cnn.Config)
    if isinstance(model, cnn.Config):
        assert (model.kernel, model.padding, model.hidden_activation, model.batch_norm) == (3, "VALID", "relu", False)
    moves = Augment(shift=0.2, shear=0.2, zoom=0.2, fill="nearest")
    assert recipe.augment == (moves if name == "pets_cnn150_augmented" else Augment())
    plain = {"dropout": 0, "label_smoothing": 0, "weight_decay": 0, "ema_decay": 0, "warmup_epochs": 0, "clip_norm": 0}
    assert all(getattr(recipe, key, 0) == value == getattr(model, key, 0) for key, value in plain.items())
    assert not recipe.view_flip and not recipe.view_shift


def test_pets_inception_has_the_network_and_pixels_of_its_post():
    recipe = RECIPES["pets_inception"]
    assert recipe.model == transfer.Config(
        inception_v3.Config(top=False, endpoint="mixed7", image_shape=(150, 150, 3)),
        mlp.Config((7, 7, 768), (1024,), 1, dropout=0.2),
    )
    assert (recipe.loss, recipe.scale, recipe.offset) == (CROSS, 1 / 255, 0.0)


OTHER_BODIES = ("pets_best", "pets_inception_best")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("_best") and name not in OTHER_BODIES])
def test_the_best_recipe_has_the_body_of_its_post(name):
    best, post = RECIPES[name], RECIPES[name.removesuffix("_best")]
    body = ("image_shape", "blocks", "kernel", "padding", "hidden", "hidden_activation", "classes", "pool_features")
    assert type(best.model) is type(post.model) and best.dataset == post.dataset and best.name == name
    assert [getattr(best.model, key, None) for key in body] == [getattr(post.model, key, None) for key in body]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe
