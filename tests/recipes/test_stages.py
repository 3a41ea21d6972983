"""A trunk that was trained on one thing and a head that learns another."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from tfcore import checkpoint, files, recipes, training, tree
from tfcore.data import Arrays, Splits, augment
from tfcore.data.augment import Augment
from tfcore.models import cnn, inception_v3, mlp, transfer as network
from tfcore.recipes import Recipe, from_dict, stages, to_dict, trunks
from tfcore.recipes.trunks import PIXELS, Trunk
from tfcore.run import features

TRUNK = cnn.Config(image_shape=(12, 12, 1), blocks=((4,), (6,)), batch_norm=True, top=False)
CONFIG = network.fit(network.Config(TRUNK, mlp.Config(hidden=(8,), dropout=0.2)), image_shape=(12, 12, 1), classes=3)
RECIPE = Recipe("moved", "made", CONFIG, batch_size=8, epochs=2, validation=1, steps_per_loop=4)
STEPWISE = dataclasses.replace(RECIPE, augment_copies=0)


@pytest.fixture(scope="module")
def trunk():
    """Weights and stats unlike those that are drawn: moving averages away from 0 and 1."""
    generator = np.random.default_rng(0)
    weights, stats = cnn.init(7, TRUNK)
    stats = tree.map(lambda leaf: generator.uniform(0.5, 1.5, leaf.shape).astype(np.float32), stats)
    return Trunk(tree.map(lambda leaf: leaf.numpy(), weights), stats, PIXELS["0..1"], "made")


@pytest.fixture(scope="module")
def splits():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 72).astype(np.int32)
    images = generator.integers(0, 150, [72, 12, 12, 1]).astype(np.uint8)
    for image, label in zip(images, labels):
        image[4 * label : 4 * label + 3] += 100
    parts = [Arrays(images[a:b], labels[a:b]) for a, b in ((0, 40), (40, 56), (56, 72))]
    return Splits(*parts, ("a", "b", "c"), "made")


def computed(recipe, trunk, images, cache=None):
    """The trunk's features of pictures, kept in `cache`."""
    facts = stages.trunk_facts(recipe, trunk.digest())
    return stages.features_of(recipe, trunk, facts, cache)(images)


def exported(directory):
    weights, stats, _ = checkpoint.import_weights(directory / "export" / "weights.safetensors")
    return weights, stats


def same(a, b):
    a, b = tree.flatten(a), tree.flatten(b)
    return {path for path in a if np.array_equal(a[path], b[path])}


def test_a_config_survives_json_with_the_network_inside_it():
    assert from_dict(json.loads(json.dumps(to_dict(RECIPE)))) == RECIPE
    recipe = dataclasses.replace(RECIPE, model=network.Config())
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_the_head_fits_the_features_of_inception():
    config = network.fit(network.Config(), image_shape=(150, 150, 3), classes=1)
    assert config.head.image_shape == (7, 7, 768)
    with pytest.raises(ValueError, match="top=False"):
        network.Config(trunk=inception_v3.Config())


def test_cached_features_and_the_trunk_in_each_step_train_the_same_head(tmp_path, trunk, splits):
    stages.train(RECIPE, tmp_path / "cached", trunk, splits, cache=tmp_path / "cache")
    stages.train(STEPWISE, tmp_path / "stepwise", trunk, splits)
    (one, stats), (two, stats_two) = exported(tmp_path / "cached"), exported(tmp_path / "stepwise")
    for a, b in zip(tree.leaves(one), tree.leaves(two)):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    for found, given in ((one["trunk"], trunk[0]), (two["trunk"], trunk[0]), (stats["trunk"], trunk[1])):
        assert same(found, given) == set(tree.flatten(given))  # frozen: not one bit moved
    assert same(stats, stats_two) == set(tree.flatten(stats))


def test_features_are_computed_once(tmp_path, trunk, splits, monkeypatch):
    first = computed(RECIPE, trunk, splits.test.images, tmp_path)
    by_hand, _ = cnn.forward(
        TRUNK, trunk.weights, trunk.stats, splits.test.images.astype(np.float32) / 255, training=False
    )
    np.testing.assert_allclose(first, by_hand, atol=1e-5)
    monkeypatch.setattr(training, "predict", lambda *args, **options: pytest.fail("computed again"))
    again = computed(RECIPE, trunk, splits.test.images, tmp_path)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("change", ["weights", "pictures", "reading"])
def test_other_weights_pictures_or_reading_are_other_features(tmp_path, trunk, splits, change):
    images, recipe = splits.test.images, RECIPE
    computed(recipe, trunk, images, tmp_path)
    if change == "weights":
        trunk = trunk._replace(weights=tree.map(lambda leaf: leaf * np.float32(1.01), trunk.weights))
    if change == "pictures":
        images = 255 - images
    if change == "reading":
        recipe = dataclasses.replace(recipe, offset=-0.5)
    computed(recipe, trunk, images, tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_copies_are_variants_of_the_training_pictures_only(trunk, splits):
    change = functools.partial(augment.apply, Augment(shift=0.2))
    seen = features.splits_of(splits, lambda images: computed(RECIPE, trunk, images), change=change, copies=3)
    assert len(seen.train.labels) == 3 * 40 and len(seen.test.labels) == 16
    np.testing.assert_array_equal(seen.train.labels[:40], seen.train.labels[80:])
    assert not np.array_equal(seen.train.images[:40], seen.train.images[40:80])


def test_fine_tuning_moves_the_upper_trunk_and_nothing_below(tmp_path, trunk, splits):
    fine = dataclasses.replace(RECIPE, model=dataclasses.replace(CONFIG, learns_from="conv2"), learning_rate=1e-4)
    stages.train(RECIPE, tmp_path, trunk, splits, fine_tune=fine)
    (weights, stats), (head, _) = exported(tmp_path), exported(tmp_path / "head")
    assert same(weights["trunk"], trunk[0]) == {"conv1/w", "conv1/norm/scale", "conv1/norm/offset"}
    assert same(stats["trunk"], trunk[1]) == set(tree.flatten(trunk[1]))
    assert same(weights["head"], head) == set()
    slots = checkpoint.read(checkpoint.checkpoints(tmp_path / "fine_tune" / "checkpoints")[-1])[0]["slots"]
    assert {path.split("/")[1] for path in tree.flatten(slots["m"]) if path.startswith("trunk")} == {"conv2"}


@pytest.mark.parametrize("recipe", [STEPWISE, RECIPE], ids=["pictures", "features"])
def test_the_same_call_again_changes_nothing_and_another_trunk_is_refused(tmp_path, trunk, splits, recipe):
    first = stages.train(recipe, tmp_path, trunk, splits)
    assert stages.train(recipe, tmp_path, trunk, splits) == first
    other = trunk._replace(weights=tree.map(lambda leaf: leaf + np.float32(1), trunk.weights))
    with pytest.raises(ValueError, match=r"trunk was [0-9a-f]*, now"):
        stages.train(recipe, tmp_path, other, splits)


@pytest.mark.parametrize("recipe", [STEPWISE, RECIPE], ids=["pictures", "features"])
def test_a_complete_transfer_without_the_export_of_its_head_writes_it_again(tmp_path, trunk, splits, recipe):
    result = stages.train(recipe, tmp_path, trunk, splits)
    path = tmp_path / "head" / "export" / "weights.safetensors"
    before = path.read_bytes()
    path.unlink()
    assert stages.train(recipe, tmp_path, trunk, splits).test == result.test
    assert path.read_bytes() == before


def test_a_later_call_without_fine_tuning_does_not_replace_the_fine_tuned_export(tmp_path, trunk, splits):
    fine = dataclasses.replace(RECIPE, model=dataclasses.replace(CONFIG, learns_from="conv2"), epochs=1)
    stages.train(RECIPE, tmp_path, trunk, splits, fine_tune=fine)
    before = (tmp_path / "export" / "weights.safetensors").read_bytes()
    with pytest.raises(ValueError, match="learns_from was conv2, now"):
        stages.train(RECIPE, tmp_path, trunk, splits)
    assert (tmp_path / "export" / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.slow
def test_fine_tuning_does_not_pass_for_one_that_starts_from_another_head(tmp_path, trunk, splits, monkeypatch, killed):
    """The head was trained on, or a clean=True with other settings was killed behind the head."""
    upper = dataclasses.replace(RECIPE, model=dataclasses.replace(CONFIG, learns_from="conv2"), epochs=1)
    train = functools.partial(stages.train, trunk=trunk, splits=splits, fine_tune=upper)
    train(RECIPE, tmp_path)
    other = dataclasses.replace(RECIPE, **({"learning_rate": 0.01} if killed else {"epochs": 3}))
    if killed:
        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(stages, "_whole", lambda *_: (_ for _ in ()).throw(InterruptedError))
            train(other, tmp_path, clean=True)
    with pytest.raises(ValueError, match=r"fine_tune holds a run with other settings: origin/start was .* clean=True"):
        train(other, tmp_path)


def test_the_whole_directory_has_one_holder(tmp_path, trunk, splits):
    with files.locked(tmp_path), pytest.raises(BlockingIOError, match="in use"):
        stages.train(RECIPE, tmp_path, trunk, splits)


def test_a_trunk_of_ours_says_how_it_reads_and_keras_files_want_minus_one_to_one(tmp_path, monkeypatch):
    weights, stats = cnn.init(3, dataclasses.replace(TRUNK, top=True, hidden=(5,), classes=3))
    path = tmp_path / "whole.safetensors"
    checkpoint.export_weights(path, weights, stats, metadata={"config": {"scale": 0.5, "offset": -2.0}})
    assert trunks.load_trunk(CONFIG, path).pixels == (0.5, -2.0)
    monkeypatch.setattr(checkpoint, "import_keras_h5", lambda path, config: ({}, {}))
    scale, offset = trunks.load_trunk(network.Config(), tmp_path / "x.h5").pixels
    assert (0 * scale + offset, 255 * scale + offset) == (-1, 1)


def test_what_was_trained_predicts_from_its_directory(tmp_path, trunk, splits):
    result = stages.train(RECIPE, tmp_path, trunk, splits)
    recipe, weights, stats, facts = recipes.load_run(tmp_path)
    logits = recipes.predictor(recipe)(weights, stats, splits.test.images)
    assert facts["class_names"] == ["a", "b", "c"]
    assert training.summarize(logits, splits.test.labels)["loss"] == pytest.approx(result.test["loss"], rel=1e-5)


def test_a_run_of_ours_gives_its_trunk(tmp_path):
    whole = dataclasses.replace(TRUNK, top=True, hidden=(5,), classes=3)
    weights, stats = cnn.init(3, whole)
    checkpoint.export_weights(tmp_path / "whole.safetensors", weights, stats)
    found = trunks.load_trunk(CONFIG, tmp_path / "whole.safetensors")
    assert set(found.weights) == {"conv1", "conv2"} and set(found.stats) == {"conv1", "conv2"}
    narrow = dataclasses.replace(CONFIG, trunk=dataclasses.replace(TRUNK, blocks=((4,), (9,))))
    with pytest.raises(ValueError, match="conv2/w: file has 3x3x4x6, model wants 3x3x4x9"):
        trunks.load_trunk(narrow, tmp_path / "whole.safetensors")


def test_learning_from_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="mixed6"):
        dataclasses.replace(CONFIG, learns_from="mixed6")


def test_missing_published_weights_say_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def offline(*args, **kwargs):
        raise OSError("cannot download it")

    monkeypatch.setattr(trunks, "download", offline)
    with pytest.raises(OSError, match=r"put the file at .*weights/inception_v3_weights.*notop\.h5"):
        trunks.published_weights()


def test_gradients_reach_a_head_on_tensors():
    weights, stats = network.init(0, CONFIG)
    plain = tree.map(tf.convert_to_tensor, weights)
    with tf.GradientTape() as tape:
        tape.watch(tree.leaves(plain))
        logits, _ = network.forward(CONFIG, plain, stats, tf.ones([2, 12, 12, 1]), training=True, seed=1)
    assert all(g is not None for g in tree.leaves(tape.gradient(logits, plain)))


@pytest.mark.drawn
def test_a_head_of_two_classes_trains_on_features(tmp_path, trunk, splits):
    """What is drawn are the pictures that the features are of."""
    two = [Arrays(part.images, part.labels % 2) for part in splits[:3]]
    recipe = dataclasses.replace(RECIPE, loss="sigmoid_cross_entropy", epochs=1)
    result = stages.train(recipe, tmp_path, trunk, Splits(*two, ("a", "b"), "made"))
    assert {"pearson", "mse", "accuracy_at/0.5"} <= set(result.test)
    drawn = {"curves", "confusion", "measures", "predictions", "most_wrong", "training_pictures"}
    assert {path.stem for path in (result.run_dir / "plots").iterdir()} == drawn


AUGMENTING = dataclasses.replace(RECIPE, augment=Augment(flip=True))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("augment_copies was 1, now 2", {"augment_copies": 2}),
        ("augment/flip was True, now False", {"augment": Augment(shift=0.1)}),
        ("precision was float32, now bfloat16", {"precision": "bfloat16"}),
    ],
)
def test_a_head_does_not_go_on_with_other_features(tmp_path, trunk, splits, name, change):
    stages.train(AUGMENTING, tmp_path, trunk, splits)
    with pytest.raises(ValueError, match=name):
        stages.train(dataclasses.replace(AUGMENTING, **change), tmp_path, trunk, splits)


def test_features_written_in_parts_are_those_in_memory(tmp_path, trunk):
    images = np.random.default_rng(3).integers(0, 256, [1030, 12, 12, 1]).astype(np.uint8)
    kept = computed(RECIPE, trunk, images, tmp_path)
    assert isinstance(kept, np.memmap) and kept.dtype == np.float32
    np.testing.assert_allclose(kept, computed(RECIPE, trunk, images), rtol=1e-5, atol=1e-6)


def test_views_of_features_are_refused(tmp_path, trunk, splits):
    with pytest.raises(ValueError, match=r"view_flip and view_shift .* need augment_copies=0"):
        stages.train(dataclasses.replace(RECIPE, view_flip=True), tmp_path, trunk, splits)


def test_a_transfer_without_a_trunk_is_refused(tmp_path, splits):
    with pytest.raises(ValueError, match="moved starts from a trained network"):
        recipes.train(RECIPE, tmp_path, splits=splits)


def test_a_trunk_that_is_not_inception_is_not_read_from_h5(tmp_path):
    with pytest.raises(ValueError, match=r"only InceptionV3.s weights are read from \.h5"):
        trunks.load_trunk(CONFIG, tmp_path / "trunk.h5")
