"""A configuration checks itself when it is made: a wrong value never gets as far as a file or a trace."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfcore import models
from tfcore.models import cnn, inception_v3, mixer, mlp, transfer

TRUNK = cnn.Config((12, 12, 1), ((4, 3), (6,)), top=False)
NAMES = "he_normal, he_uniform, glorot_normal, glorot_uniform, lecun_normal, lecun_uniform, normal, zeros"
BLOCKS = "must be a tuple of blocks, each a tuple of its convolutions' channels, such as ((8,), (16,))"
SMALL = "are too small for blocks="
WRONG = {
    "image_shape=(28, 28) must be a tuple of 3 positive integers": (mlp, {"image_shape": (28, 28)}),
    "image_shape=[28, 28, 1] must be a tuple of 3 positive integers": (cnn, {"image_shape": [28, 28, 1]}),
    "image_shape=(28, 0, 1) must be a tuple of 3 positive integers": (mixer, {"image_shape": (28, 0, 1)}),
    "image_shape=(150.0, 150, 3) must be a tuple of 3 positive integers": (
        inception_v3, {"image_shape": (150.0, 150, 3)},
    ),
    "image_shape: pictures of 74x75x3, InceptionV3 wants HxWxC of 75x75 or larger": (
        inception_v3, {"image_shape": (74, 75, 3)},
    ),
    "hidden=[256] must be a tuple of positive integers": (mlp, {"hidden": [256]}),
    "hidden=64 must be a tuple of positive integers": (cnn, {"hidden": 64}),
    "hidden=(64, -1) must be a tuple of positive integers": (cnn, {"hidden": (64, -1)}),
    "hidden=(64,) must be a tuple of 2 positive integers": (mixer, {"hidden": (64,)}),
    "classes=0 must be a positive integer": (mlp, {"classes": 0}),
    "classes=True must be a positive integer": (cnn, {"classes": True}),
    "classes=10.0 must be a positive integer": (inception_v3, {"classes": 10.0}),
    "kernel=(3, 3) must be a positive integer": (cnn, {"kernel": (3, 3)}),
    "pool=0 must be a positive integer": (cnn, {"pool": 0}),
    "blocks=0 must be a positive integer": (mixer, {"blocks": 0}),
    "patch=0 must be a positive integer": (mixer, {"patch": 0}),
    "patch=4 does not divide pictures of 28x30": (mixer, {"image_shape": (28, 30, 1)}),
    "dropout=1.5 must be at least 0 and below 1": (mlp, {"dropout": 1.5}),
    "dropout=1 must be at least 0 and below 1": (cnn, {"dropout": 1}),
    "dropout=nan must be at least 0 and below 1": (mixer, {"dropout": float("nan")}),
    "dropout='0.5' must be at least 0 and below 1": (mlp, {"dropout": "0.5"}),
    f"init='xavier' is not one of {NAMES}": (mlp, {"init": "xavier"}),
    f"init=None is not one of {NAMES}": (inception_v3, {"init": None}),
    "padding='same' is not one of SAME, VALID": (cnn, {"padding": "same"}),
    "hidden_activation='gelu' is not one of relu, linear": (cnn, {"hidden_activation": "gelu"}),
    "batch_norm=1 must be True or False": (cnn, {"batch_norm": 1}),
    "top='no' must be True or False": (inception_v3, {"top": "no"}),
    f"blocks=(8, 16) {BLOCKS}": (cnn, {"blocks": (8, 16)}),
    f"blocks=[[8], [16]] {BLOCKS}": (cnn, {"blocks": [[8], [16]]}),
    f"blocks=((8,), ()) {BLOCKS}": (cnn, {"blocks": ((8,), ())}),
    f"blocks=((8, 0.5),) {BLOCKS}": (cnn, {"blocks": ((8, 0.5),)}),
    f"conv2: pictures of 9x40x1 {SMALL}((4,), (4,))": (cnn, {"image_shape": (9, 40, 1), "blocks": ((4,), (4,))}),
    f"conv1: pictures of 3x40x1 {SMALL}((4,),)": (cnn, {"image_shape": (3, 40, 1), "blocks": ((4,),)}),
    f"conv1: pictures of 2x40x1 {SMALL}((4, 4),)": (cnn, {"image_shape": (2, 40, 1), "blocks": ((4, 4),)}),
    f"conv2: pictures of 40x3x1 {SMALL}((4,), (5,))": (
        cnn, {"image_shape": (40, 3, 1), "blocks": ((4,), (5,)), "padding": "SAME"},
    ),
    "endpoint='mixed11' is not one of stem, mixed0, mixed1, mixed2, mixed3, mixed4, mixed5, mixed6, mixed7, mixed8, "
    "mixed9, mixed10": (inception_v3, {"endpoint": "mixed11"}),
    "trunk=<class 'tfcore.models.mlp.Config'> must be a Config of cnn or inception_v3": (
        transfer, {"trunk": mlp.Config()},
    ),
    "trunk.top=True must be top=False: the head reads features": (transfer, {"trunk": inception_v3.Config()}),
    "head=<class 'tuple'> must be a Config of mlp": (transfer, {"head": (1024,)}),
    "learns_from='mixed6' is not one of conv1, conv2, conv3": (transfer, {"trunk": TRUNK, "learns_from": "mixed6"}),
    "learns_from=None is not one of conv1, conv2, conv3": (transfer, {"trunk": TRUNK, "learns_from": None}),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_setting_is_refused_in_one_sentence_when_the_config_is_made(message):
    module, changes = WRONG[message]
    with pytest.raises(ValueError) as made:
        module.Config(**changes)
    with pytest.raises(ValueError) as changed:
        dataclasses.replace(module.Config(), **changes)
    assert str(made.value) == str(changed.value) == message


def test_a_config_is_a_frozen_value():
    for module in models.MODELS.values():
        assert module.Config() == module.Config() and hash(module.Config()) == hash(module.Config())
        with pytest.raises(AttributeError):
            module.Config().classes = 3


CONFIGS = {
    "mlp": mlp.Config(hidden=(5,)),
    "cnn": cnn.Config(blocks=((3,),), hidden=()),
    "mixer": mixer.Config(blocks=1, hidden=(2, 3)),
    "inception_v3": inception_v3.Config(endpoint="stem"),
    "transfer": transfer.Config(TRUNK, mlp.Config(hidden=(4,))),
}


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_has_the_same_functions(name):
    config = CONFIGS[name]
    module = models.module_of(config)
    assert module is models.MODELS[name] and models.name_of(config) == name
    side = 76 if name == "inception_v3" else 12
    fitted = module.fit(config, image_shape=[side, side, 2], classes=7)
    assert type(fitted) is type(config) and fitted.image_shape == (side, side, 2) and fitted.classes == 7
    weights, stats = module.init(0, fitted)
    x = np.zeros([1, side, side, 2], np.float32)
    logits, _ = module.forward(fitted, weights, stats, x, training=False)
    assert logits.shape == [1, 7]
    assert module.learns(fitted)("head/logits/w") is True


def test_another_value_is_no_models_configuration():
    with pytest.raises(ValueError, match="a str is no model's Config: the models are mlp, cnn, mixer"):
        models.module_of("mlp")


@pytest.mark.parametrize(
    ("trunk", "learns_from", "learning"),
    [
        (TRUNK, "", set()),
        (TRUNK, "conv2", {"conv2", "conv3"}),
        (TRUNK, "conv1", {"conv1", "conv2", "conv3"}),
        (inception_v3.Config(top=False, endpoint="mixed2"), "mixed1", {"mixed1", "mixed2"}),
    ],
)
def test_a_transfer_learns_in_its_head_and_from_a_part_of_the_trunk_on(trunk, learns_from, learning):
    config = transfer.Config(trunk, learns_from=learns_from)
    learns, parts = transfer.learns(config), transfer.trunk_of(config).parts(trunk)
    assert {part for part in parts if learns(f"trunk/{part}/w")} == learning and learns("head/dense1/w")
    weights, _ = transfer.trunk_of(config).init(0, trunk)
    assert list(weights) == parts


def test_a_head_that_does_not_read_the_trunks_features_is_refused():
    with pytest.raises(ValueError, match=r"the trunk gives \(1, 1, 6\), the head reads \(7, 7, 768\): call `fit`"):
        transfer.init(0, transfer.Config(TRUNK))


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 28, 24, 1), (2, 28, 28, 3)], ids=str)
def test_the_mixer_wants_the_pictures_of_its_configuration(shape):
    weights, stats = mixer.init(0, CONFIGS["mixer"])
    with pytest.raises(ValueError, match=r"x has shape \(2, .*\), this mixer wants \[N, 28, 28, 1\]"):
        mixer.forward(CONFIGS["mixer"], weights, stats, np.zeros(shape, np.float32), training=False)


@pytest.mark.parametrize("name", models.MODELS)
def test_stored_pictures_are_refused_by_the_first_layer_until_they_are_floating(name):
    module, config = models.MODELS[name], CONFIGS[name]
    config = module.fit(config, image_shape=(76, 76, 2), classes=7)
    weights, stats = module.init(0, config)
    forward = tf.function(lambda x: module.forward(config, weights, stats, x, training=False)[0], autograph=False)
    with pytest.raises(ValueError, match=r"^\w+[/\w]*: x is uint8, w is float32: preprocess\(images\) makes it"):
        forward(np.zeros([1, 76, 76, 2], np.uint8))
