"""Trains a convolutional network.

python scripts/train_cnn.py --dataset=fashion_mnist                  # conv 64, conv 64, dense 64, 10
python scripts/train_cnn.py --filters=128 --dataset=fashion_mnist    # conv 128, conv 128
python scripts/train_cnn.py --recipe=fashion_deep_cnn
"""

from _command import FLAGS, changed_recipe, define_training_flags, flags, integers, start, train, usage_error

from tfcore.models import cnn
from tfcore.recipes import RECIPES

define_training_flags("fashion_cnn", [n for n, r in RECIPES.items() if isinstance(r.model, cnn.Config)])
flags.DEFINE_list("filters", None, "channels of each convolution, such as 64,128; one number serves all")
flags.DEFINE_boolean("batch_norm", None, "normalize after each convolution")


def main(_):
    """Trains; without --recipe fashion_cnn, without --dataset too on what is at hand."""
    recipe = RECIPES[FLAGS.recipe or "fashion_cnn"]
    model = {} if FLAGS.batch_norm is None else {"batch_norm": FLAGS.batch_norm}
    if FLAGS.filters is not None:
        model["blocks"] = with_filters(recipe.model.blocks, integers("filters", FLAGS.filters))
    recipe, changes = changed_recipe(recipe, model)
    if FLAGS.filters is not None:
        changes["filters"] = ",".join(FLAGS.filters)
        del changes["blocks"]
    if not FLAGS.recipe and not FLAGS.dataset:
        FLAGS.dataset = "auto"
    train(recipe, changes)


def with_filters(blocks, filters):
    """Returns the blocks with other channels: one number for all convolutions, or one for each."""
    count = sum(len(block) for block in blocks)
    if len(filters) not in (1, count):
        raise usage_error(f"--filters has {len(filters)} numbers, the network has {count} convolutions")
    numbers = iter(filters * count if len(filters) == 1 else filters)
    return tuple(tuple(next(numbers) for _ in block) for block in blocks)


if __name__ == "__main__":
    start(main)
