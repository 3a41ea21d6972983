"""Trains a convolutional network.

python scripts/train_cnn.py --dataset=fashion_mnist                  # conv 64, conv 64, dense 64, 10
python scripts/train_cnn.py --filters=128 --dataset=fashion_mnist    # conv 128, conv 128
python scripts/train_cnn.py --dataset=cats_vs_dogs --filters=128     # recipe pets_cnn128
python scripts/train_cnn.py --dataset=folder --data_dir=my_pictures  # CLASS/*.jpg; recipe folder_cnn
python scripts/train_cnn.py --recipe=pets_best
"""

from _command import FLAGS, changed_recipe, define_training_flags, flags, integers, start, train, usage_error

from tfcore.models import cnn
from tfcore.recipes import RECIPES

PETS = ("pets_cnn24", "pets_cnn48", "pets_cnn128", "pets_cnn64_128")  # what --dataset=cats_vs_dogs --filters means
define_training_flags("fashion_cnn", [n for n, r in RECIPES.items() if isinstance(r.model, cnn.Config)])
flags.DEFINE_list("filters", None, "channels of each convolution, such as 64,128; one number serves all")
flags.DEFINE_boolean("batch_norm", None, "normalize after each convolution")


def main(_):
    """Trains; without --recipe fashion_cnn, or what fits the set; without --dataset too on what is at hand."""
    recipe, model, filters = RECIPES[FLAGS.recipe or default_recipe()], {}, FLAGS.filters
    if not FLAGS.recipe and recipe.name == pets_name(filters):
        filters = None  # it says them already
    if FLAGS.batch_norm is not None:
        model["batch_norm"] = FLAGS.batch_norm
    if filters is not None:
        model["blocks"] = with_filters(recipe.model.blocks, integers("filters", filters))
    recipe, changes = changed_recipe(recipe, model)
    if filters is not None:
        changes["filters"] = ",".join(filters)
        del changes["blocks"]
    if not FLAGS.recipe and not FLAGS.dataset:
        FLAGS.dataset = "auto"
    train(recipe, changes)


def default_recipe():
    """Returns the name of the recipe that --dataset and --filters mean."""
    if FLAGS.dataset == "cats_vs_dogs":
        return pets_name(FLAGS.filters) if pets_name(FLAGS.filters) in PETS else "pets_cnn128"
    return "folder_cnn" if FLAGS.dataset == "folder" else "fashion_cnn"


def pets_name(filters):
    """Returns "pets_cnn64_128" for --filters=64,128, whether or not there is such a recipe."""
    return f"pets_cnn{'_'.join(filters or [])}"


def with_filters(blocks, filters):
    """Returns the blocks with other channels: one number for all convolutions, or one for each."""
    count = sum(len(block) for block in blocks)
    if len(filters) not in (1, count):
        raise usage_error(f"--filters has {len(filters)} numbers, the network has {count} convolutions")
    numbers = iter(filters * count if len(filters) == 1 else filters)
    return tuple(tuple(next(numbers) for _ in block) for block in blocks)


if __name__ == "__main__":
    start(main)
