"""Looks at a recipe and its data before step 1, and says what is wrong with them, one line for each finding.

python scripts/doctor.py --recipe=mnist_perceptron --dataset=digits

The data: pictures in two parts or with two labels, of one colour, classes that are rare, labels that are shuffled.
The network: its gradient, what it reads and changes, whether it compiles; its first loss; whether it learns a batch.
"""

import flags

import dataclasses

from absl.flags import DEFINE_enum, DEFINE_string

from tfcore import recipes
from tfcore.data.sources import NAMES


def define(values):
    """Defines the flags."""
    DEFINE_enum("recipe", None, list(recipes.RECIPES), "what: the recipe", required=True, flag_values=values)
    DEFINE_enum("dataset", None, list(NAMES), "what: the set to look at, by default the recipe's", flag_values=values)
    text = "what: where its files are; default $TFCORE_DATA_DIR, then the cache"
    DEFINE_string("data_dir", None, text, flag_values=values)


def main(values, _):
    """Prints the findings."""
    recipe = recipes.on_this_processor(recipes.RECIPES[values.recipe])
    recipe = dataclasses.replace(recipe, dataset=values.dataset or recipe.dataset)
    found = []
    for finding in recipes.examine(recipe, recipes.load_data(recipe, values.data_dir)):
        print(finding, flush=True)
        found.append(finding)
    if wrong := sum(not finding.good for finding in found):
        raise ValueError(f"{wrong} of {len(found)} findings are wrong")


if __name__ == "__main__":
    flags.start(main, define)
