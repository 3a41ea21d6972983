"""Trains a head on the features of a trained network, then, when asked, the network's upper part too.

python scripts/train_transfer.py --dataset=cats_vs_dogs                     # InceptionV3, ImageNet weights, mixed7
python scripts/train_transfer.py --dataset=folder --data_dir=my_pictures --weights=inception_v3_notop.h5
python scripts/train_transfer.py --dataset=cats_vs_dogs --fine_tune_from=mixed6
"""

import dataclasses
from pathlib import Path

from _command import FLAGS, changed_recipe, define_training_flags, flags, place, start, usage_error

from tfcore import build, transfer
from tfcore.data import datasets
from tfcore.models import inception_v3, transfer as network
from tfcore.recipes import RECIPES

define_training_flags("pets_inception", [n for n, r in RECIPES.items() if isinstance(r.model, network.Config)])
flags.DEFINE_string("weights", None, "InceptionV3's weights, .h5 of Keras or .safetensors of ours; default: published")
flags.DEFINE_enum("endpoint", None, list(inception_v3.BLOCKS), "the trunk's last block")
flags.DEFINE_integer("augment_copies", 1, "variants of each training picture whose features are kept", lower_bound=1)
flags.DEFINE_boolean("feature_cache", True, "compute features once; off: run the trunk in each step")
flags.DEFINE_string("fine_tune_from", None, "then train the trunk too, from this block on, such as mixed6")
flags.DEFINE_integer("fine_tune_epochs", 5, "epochs of that", lower_bound=1)
flags.DEFINE_float("fine_tune_learning_rate", 1e-5, "learning rate of that", lower_bound=0.0)


def main(_):
    """Loads the trunk, then the data, then trains."""
    recipe, changes = changed_recipe(RECIPES[FLAGS.recipe or "pets_inception"], {})
    config = recipe.model
    if FLAGS.endpoint:
        config = dataclasses.replace(config, trunk=dataclasses.replace(config.trunk, endpoint=FLAGS.endpoint))
        changes["endpoint"] = FLAGS.endpoint
    if FLAGS.weights:
        changes["weights"] = Path(FLAGS.weights).stem
    if FLAGS.augment_copies > 1:
        changes["augment_copies"] = FLAGS.augment_copies
    if not FLAGS.feature_cache:
        changes["feature_cache"] = False
    if FLAGS.fine_tune_from and FLAGS.fine_tune_from not in inception_v3.blocks(config.trunk):
        raise usage_error(f"--fine_tune_from={FLAGS.fine_tune_from} is not a block up to {config.trunk.endpoint}")
    recipe, logdir = place(dataclasses.replace(recipe, model=config), changes)
    trunk = transfer.load_trunk(config, FLAGS.weights or transfer.published_weights())
    splits = build.load_data(recipe, FLAGS.data_dir)
    transfer.train(
        recipe,
        logdir,
        trunk,
        splits,
        copies=FLAGS.augment_copies if FLAGS.feature_cache else 0,
        cache=datasets.cache_dir() / "features",
        fine_tune=fine_tuning(recipe) if FLAGS.fine_tune_from else None,
        clean=FLAGS.clean,
        histograms=FLAGS.histograms,
    )
    print(f"both   {logdir}/export: for scripts/evaluate.py and scripts/predict.py --run={logdir}")


def fine_tuning(recipe):
    """Returns the recipe of the second run: the upper trunk learns too, slowly, on freshly augmented pictures."""
    model = dataclasses.replace(recipe.model, learns_from=FLAGS.fine_tune_from)
    rate, epochs = FLAGS.fine_tune_learning_rate, FLAGS.fine_tune_epochs
    return dataclasses.replace(recipe, model=model, learning_rate=rate, epochs=epochs)


if __name__ == "__main__":
    start(main)
