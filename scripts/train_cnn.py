"""Trains a convolutional network.

python scripts/train_cnn.py --filters=128                            # cats and dogs where at hand: recipe pets_cnn128
python scripts/train_cnn.py --dataset=fashion_mnist                  # recipe fashion_cnn: conv 64, conv 64, dense 64
python scripts/train_cnn.py --dataset=folder --data_dir=my_pictures  # CLASS/*.jpg; recipe folder_cnn
python scripts/train_cnn.py --recipe=pets_best
"""

import flags

import dataclasses

import training_flags
from absl.flags import DEFINE_boolean, DEFINE_list

from tfcore.data import sources
from tfcore.models import cnn
from tfcore.recipes import RECIPES

NAMES = [name for name, recipe in RECIPES.items() if isinstance(recipe.model, cnn.Config)]
AUTO = {"cats_vs_dogs": "pets_cnn128", "fashion_mnist": "fashion_cnn128", "digits": "digits_cnn128"}  # the best first
BY_DATASET = {"cats_vs_dogs": "pets_cnn128", "folder": "folder_cnn"}  # of the others: fashion_cnn


def define(values):
    """Defines the flags."""
    training_flags.define(values, NAMES, "pets_cnn128")
    training_flags.define_start(values)
    text = "network: channels of each convolution, such as 64,128; one number serves all"
    DEFINE_list("filters", None, text, flag_values=values)
    DEFINE_boolean("batch_norm", None, "network: normalize after each convolution", flag_values=values)


def main(values, _):
    """Trains; without --recipe what fits the set, without --dataset too on what is at hand."""
    base, note = chosen(values)
    training_flags.train(values, changed_recipe(base, values), base, note)


def chosen(values):
    """Returns the recipe that --recipe and --dataset mean, and why where they leave it open; prints that."""
    dataset, note, name = values.dataset, "", values.recipe
    if dataset == "auto" or not (dataset or name):
        dataset, why = sources.first_at_hand(tuple(AUTO), values.data_dir)
        name = name or AUTO[dataset]
        note = f"--dataset=auto: {dataset}, recipe {name} ({why})"
        print(f"{note}; --dataset and --recipe choose another")
    base = training_flags.named(name or BY_DATASET.get(dataset, "fashion_cnn"), values)
    return dataclasses.replace(base, dataset=dataset or base.dataset), note


def changed_recipe(recipe, values):
    """Returns `recipe` with the flags that were given."""
    model = {} if values.batch_norm is None else {"batch_norm": values.batch_norm}
    if values.filters is not None:
        model["blocks"] = with_filters(recipe.model.blocks, flags.integers("filters", values.filters))
    return training_flags.changed_recipe(recipe, values, **model)


def with_filters(blocks, filters):
    """Returns the blocks with other channels: one number for all convolutions, or one for each."""
    count = sum(len(block) for block in blocks)
    if len(filters) not in (1, count):
        raise flags.usage_error(f"--filters has {len(filters)} numbers, the network has {count} convolutions")
    numbers = iter(filters * count if len(filters) == 1 else filters)
    return tuple(tuple(next(numbers) for _ in block) for block in blocks)


if __name__ == "__main__":
    flags.start(main, define)
