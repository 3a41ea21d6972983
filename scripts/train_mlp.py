"""Trains a multi-layer perceptron.

python scripts/train_mlp.py                          # 784-256-256-10 on MNIST, or on digits when MNIST is out of reach
python scripts/train_mlp.py --init=normal            # as the post: N(0, 1) weights and biases
python scripts/train_mlp.py --recipe=fashion_perceptron
"""

import flags

import dataclasses

import training_flags

from tfcore.data import sources
from tfcore.models import mixer, mlp
from tfcore.recipes import RECIPES

NAMES = [name for name, recipe in RECIPES.items() if isinstance(recipe.model, mlp.Config | mixer.Config)]


def define(values):
    """Defines the flags."""
    training_flags.define(values, NAMES, "mnist_perceptron")
    training_flags.define_start(values)


def main(values, _):
    """Trains; without --recipe the MNIST perceptron, without --dataset too on what is at hand."""
    base, dataset, note = training_flags.named(values.recipe or "mnist_perceptron", values), values.dataset, ""
    if dataset == "auto" or not (dataset or values.recipe):
        dataset, why = sources.first_at_hand(("mnist", "digits"), values.data_dir)
        note = f"--dataset=auto: {dataset} ({why})"
        print(f"{note}; --dataset and --recipe choose another")
    base = dataclasses.replace(base, dataset=dataset or base.dataset)
    training_flags.train(values, training_flags.changed_recipe(base, values), base, note)


if __name__ == "__main__":
    flags.start(main, define)
