"""Trains a multi-layer perceptron.

python scripts/train_mlp.py                          # 784-256-256-10 on MNIST, or on digits when MNIST is out of reach
python scripts/train_mlp.py --init=normal            # as the post: N(0, 1) weights and biases
python scripts/train_mlp.py --recipe=fashion_perceptron
"""

from _command import FLAGS, changed_recipe, define_training_flags, start, train

from tfcore.models import mixer, mlp
from tfcore.recipes import RECIPES

define_training_flags(
    "mnist_perceptron", [n for n, r in RECIPES.items() if isinstance(r.model, mlp.Config | mixer.Config)]
)


def main(_):
    """Trains; without --recipe the MNIST perceptron, without --dataset too on what is at hand."""
    recipe, changes = changed_recipe(RECIPES[FLAGS.recipe or "mnist_perceptron"], {})
    if not FLAGS.recipe and not FLAGS.dataset:
        FLAGS.dataset = "auto"
    train(recipe, changes)


if __name__ == "__main__":
    start(main)
