"""A run that learns what a trained network says: the loss by hand, a run of it, and what cannot teach."""

import dataclasses

import numpy as np
import pytest
import scipy.special

from tfcore import recipes, tree
from tfcore.data import load
from tfcore.models import cnn, mlp
from tfcore.quiet import tf
from tfcore.recipes import RECIPES, teaching

LARGE = dataclasses.replace(
    RECIPES["digits_cnn128"], name="large", model=cnn.Config(blocks=((8,), (16,)), hidden=(32,)), epochs=6,
    learning_rate=3e-3, batch_size=32, label_smoothing=0.05,
)  # fmt: skip
SMALL = dataclasses.replace(LARGE, name="small", model=mlp.Config(hidden=(32,)), epochs=4)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, digits):
    return recipes.train(LARGE, tmp_path_factory.mktemp("teaching") / "large", splits=digits).run_dir


def test_the_loss_is_the_cross_entropy_to_the_teachers_word(teacher, digits):
    images, labels = digits.train.images[:12], digits.train.labels[:12]
    recipe, weights, stats, _ = recipes.load_run(teacher)
    says = recipes.predictor(recipe)(weights, stats, images) / 3
    task = teaching.taught(recipes.task(SMALL, digits), teaching.load_teacher(teacher, digits, temperature=3.0))
    weights, stats = task.init(0)
    loss, (reported, _) = task.loss_fn(weights, stats, (tf.constant(images), tf.constant(labels)), 0)
    logits = np.asarray(task.forward(weights, stats, images, training=False)[0], np.float64)
    by_hand = -(scipy.special.softmax(says, axis=1) * scipy.special.log_softmax(logits / 3, axis=1)).sum(axis=1)
    np.testing.assert_allclose(loss, 9 * by_hand.mean(), rtol=1e-5)
    plain = -scipy.special.log_softmax(logits, axis=1)[np.arange(12), labels]
    np.testing.assert_allclose(reported["loss"], plain.mean(), rtol=1e-5)
    np.testing.assert_allclose(reported["accuracy"], np.mean(logits.argmax(1) == labels))


def test_two_classes_are_taught_too(rng):
    logits, says = rng.normal(size=[5, 1]), rng.normal(size=[5, 1])
    task = recipes.task(*two_classes())
    task = dataclasses.replace(task, forward=lambda *_, training, seed=None: (tf.constant(logits), {}))
    taught = teaching.taught(task, teaching.Teacher(lambda images: tf.constant(says), 2.0, {}))
    loss, _ = taught.loss_fn({}, {}, (None, tf.constant([0, 1, 1, 0, 1])), 0)
    p, q = scipy.special.expit(says / 2), scipy.special.expit(logits / 2)
    np.testing.assert_allclose(loss, -4 * np.mean(p * np.log(q) + (1 - p) * np.log1p(-q)))


def two_classes():
    digits = load("digits")
    few = [part._replace(images=part.images[:8], labels=part.labels[:8] % 2) for part in digits[:3]]
    recipe = dataclasses.replace(SMALL, loss="sigmoid_cross_entropy", batch_size=4)
    return recipe, digits._replace(train=few[0], validation=few[1], test=few[2], class_names=("even", "odd"))


def test_a_taught_run_is_another_one_and_goes_on_with_its_teacher_alone(teacher, digits, tmp_path):
    half = dataclasses.replace(SMALL, epochs=2)
    recipes.train(half, tmp_path / "cut", splits=digits, teacher=teacher)
    cut = recipes.train(SMALL, tmp_path / "cut", splits=digits, teacher=teacher)
    whole = recipes.train(SMALL, tmp_path / "whole", splits=digits, teacher=teacher)
    weights = [recipes.load_run(result.run_dir)[1] for result in (cut, whole)]
    assert tree.digest(weights[0]) == tree.digest(weights[1])
    assert whole.test["accuracy"] > 0.85
    for other in ({}, {"teacher": teacher, "temperature": 5.0}):
        with pytest.raises(ValueError, match="teacher"):
            recipes.train(SMALL, tmp_path / "whole", splits=digits, **other)


def test_what_cannot_teach_is_said(teacher, digits):
    alone = dataclasses.replace(recipes.task(LARGE, digits), loss=None)
    with pytest.raises(ValueError, match="has a loss_fn alone"):
        teaching.taught(alone, teaching.load_teacher(teacher, digits))
    with pytest.raises(ValueError, match="temperature=0 must be above 0"):
        teaching.load_teacher(teacher, digits, temperature=0)
    with pytest.raises(ValueError, match=r"tells 0, 1, 2, ... in pictures of \(28, 28, 1\), the set has even, odd"):
        teaching.load_teacher(teacher, two_classes()[1])
