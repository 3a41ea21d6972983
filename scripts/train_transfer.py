"""Trains a head on the features of a trained network, then, when asked, the network's upper part too.

python scripts/train_transfer.py --dataset=cats_vs_dogs                     # InceptionV3, ImageNet weights, mixed7
python scripts/train_transfer.py --dataset=folder --data_dir=my_pictures --weights=inception_v3_notop.h5
python scripts/train_transfer.py --dataset=cats_vs_dogs --fine_tune_from=mixed6
"""

import flags

import dataclasses
from pathlib import Path

import training_flags
from absl import flags as absl_flags

from tfcore import distribution, recipes
from tfcore.data.sources import cache_dir
from tfcore.models import inception_v3, transfer
from tfcore.recipes import RECIPES, stages, trunks

NAMES = [name for name, recipe in RECIPES.items() if isinstance(recipe.model, transfer.Config)]


def define(values):
    """Defines the flags."""
    training_flags.define(values, NAMES, "pets_inception")
    define = {"flag_values": values}
    absl_flags.DEFINE_string(
        "weights",
        None,
        "what: the trunk's weights, .h5 of Keras, or an export of ours or a run [published]",
        **define,
    )
    absl_flags.DEFINE_enum(
        "pixels",
        None,
        sorted(trunks.PIXELS),
        "network: how the trunk reads pixels [as its file wants]",
        **define,
    )
    absl_flags.DEFINE_enum("endpoint", None, list(inception_v3.BLOCKS), "network: the trunk's last block", **define)
    absl_flags.DEFINE_integer(
        "augment_copies",
        None,
        "augmentation: variants of a picture whose features are kept; 0 runs the trunk in each step [the recipe's]",
        lower_bound=0,
        **define,
    )
    absl_flags.DEFINE_string(
        "fine_tune_from", None, "training: then train the trunk too, from this block on, such as mixed6", **define
    )
    absl_flags.DEFINE_integer("fine_tune_epochs", 5, "more training: epochs of that", lower_bound=1, **define)
    absl_flags.DEFINE_float("fine_tune_learning_rate", 1e-5, "more training: its learning rate", **define)


def main(values, _):
    """Trains a head, and what --fine_tune_from says."""
    usual = "folder_inception" if values.dataset == "folder" else "pets_inception"
    named = training_flags.named(values.recipe or usual, values)
    base = dataclasses.replace(named, dataset=values.dataset or named.dataset)
    recipe = training_flags.changed_recipe(base, values)
    if values.augment_copies is not None:
        recipe = dataclasses.replace(recipe, augment_copies=values.augment_copies)
    if values.endpoint:
        trunk = dataclasses.replace(recipe.model.trunk, endpoint=values.endpoint)
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, trunk=trunk))
    fine_tune = fine_tuning(values, recipe) if values.fine_tune_from else None
    with training_flags.replay_as_command(), distribution.started(training_flags.strategy_of(values)) as strategy:
        train(values, recipe, base, fine_tune, strategy)


def train(values, recipe, base, fine_tune, strategy):
    """Loads the trunk, then the data, then trains in --logdir or where the differences from `base` put it."""
    trunk = trunks.load_trunk(recipe.model, values.weights or trunks.published_weights())
    recipe, base = reading(values, recipe, trunk), dataclasses.replace(base, scale=recipe.scale, offset=recipe.offset)
    if fine_tune:
        fine_tune = dataclasses.replace(fine_tune, scale=recipe.scale, offset=recipe.offset)
    logdir = training_flags.logdir_of(
        values, recipe, base,
        weights=Path(values.weights).stem if values.weights else None,
        pixels=values.pixels,
        fine_tune_from=values.fine_tune_from,
    )  # fmt: skip
    splits = recipes.load_data(recipe, values.data_dir)
    options = {"fine_tune": fine_tune, "strategy": strategy, **training_flags.options_of(values)}
    stages.train(recipe, logdir, trunk, splits, cache=cache_dir() / "features", **options)
    print(f"both   {logdir}/export: for scripts/evaluate.py and scripts/predict.py --run={logdir}")


def reading(values, recipe, trunk):
    """Returns the recipe that reads pixels as --pixels or the trunk's file says; pets_inception reads as its post."""
    pixels, why = (trunks.PIXELS[values.pixels], "--pixels") if values.pixels else (trunk.pixels, trunk.why)
    if recipe.name.startswith("pets_inception") and not values.pixels:
        pixels, why = (recipe.scale, recipe.offset), "as the post does; published weights want --pixels=-1..1"
    print(f"the trunk reads pixels 0..255 as {pixels[1]:g}..{255 * pixels[0] + pixels[1]:g}: {why}")
    return dataclasses.replace(recipe, scale=pixels[0], offset=pixels[1])


def fine_tuning(values, recipe):
    """Returns the recipe of the second run: the upper trunk learns too, slowly, on freshly augmented pictures."""
    blocks = inception_v3.parts(recipe.model.trunk)
    if values.fine_tune_from not in blocks:
        raise flags.usage_error(f"--fine_tune_from={values.fine_tune_from} is not one of {', '.join(blocks)}")
    model = dataclasses.replace(recipe.model, learns_from=values.fine_tune_from)
    rate, epochs = values.fine_tune_learning_rate, values.fine_tune_epochs
    return dataclasses.replace(recipe, model=model, learning_rate=rate, epochs=epochs)


if __name__ == "__main__":
    flags.start(main, define)
