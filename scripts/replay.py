"""Takes the step on which a run stopped, because something was not finite, again: eagerly, operation by operation.

python scripts/replay.py --run=logs/pets_cnn24/cats_vs_dogs-learning_rate1000-seed0

It names the first operation whose output is not finite, where it is, and its largest inputs.
"""

import flags

from absl.flags import DEFINE_string

from tfcore import recipes


def define(values):
    """Defines the flags."""
    DEFINE_string("run", None, "what: the run directory", required=True, flag_values=values)


def main(values, _):
    """Prints what the replay finds."""
    recipes.replay(values.run)


if __name__ == "__main__":
    flags.start(main, define)
