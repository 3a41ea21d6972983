"""Before step 1: the networks of all recipes are good; where a set has a fault the script says so, and fails."""

import flags

import dataclasses

import doctor
import numpy as np
import pytest

from tfcore import models, recipes
from tfcore.data import Arrays, load
from tfcore.models import transfer
from tfcore.recipes.doctor import of_network


def small(config, side):
    """Returns a network's configuration for small pictures: of the same kinds of layers, and quick."""
    shape = (side, side, config.image_shape[2])
    return models.module_of(config).fit(config, image_shape=shape, classes=config.classes)


SIDES = {transfer.Config: 75, "pets_cnn150_best": 60, "pets_best": 72, "folder_cnn": 60, "pets_cnn64_128_best": 40}
NETWORKS = {recipe.model: name for name, recipe in reversed(recipes.RECIPES.items())}  # each once

QUICK = ("mnist_perceptron", "fashion_cnn")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in NETWORKS.values()],
)
def test_every_recipe_s_network_is_good(name):
    config = recipes.RECIPES[name].model
    side = SIDES.get(type(config)) or SIDES.get(name) or min(config.image_shape[0], 36)
    found = of_network(small(config, side))
    assert all(found), "\n".join(map(str, found))
    assert len(found) == 8


def call(monkeypatch, splits, capsys):
    monkeypatch.setattr(recipes, "load_data", lambda recipe, data_dir: splits)
    values = flags.parser(doctor.define)
    values(["doctor.py", "--recipe=mnist_perceptron", "--dataset=digits"])
    try:
        doctor.main(values, [])
    finally:
        printed = capsys.readouterr().out.splitlines()
        monkeypatch.undo()
    return printed


def test_the_doctor_says_a_line_for_each_finding(monkeypatch, capsys):
    printed = call(monkeypatch, load("digits"), capsys)
    assert len(printed) == 16 and all(line.startswith("ok     ") for line in printed)


def test_the_doctor_fails_where_something_is_wrong(monkeypatch, capsys):
    data = load("digits")
    images = np.concatenate([data.test.images[:-1], data.train.images[:1]])
    labels = np.concatenate([data.test.labels[:-1], data.train.labels[:1]])
    with pytest.raises(ValueError, match="1 of 16 findings are wrong"):
        call(monkeypatch, data._replace(test=Arrays(images, labels)), capsys)


def test_a_recipe_that_does_not_fit_is_refused_in_words():
    recipe = dataclasses.replace(recipes.RECIPES["pets_cnn24"], dataset="digits")
    with pytest.raises(ValueError, match="tells two classes apart, digits has 10"):
        list(recipes.examine(recipe, load("digits")))
