"""Checks of a network before its first step: its loss, and whether it can learn one batch by heart."""

import math
from collections.abc import Callable

import numpy as np

from tfcore import optimizers, training, tree
from tfcore.check.finding import finding
from tfcore.optimizers import Optimizer
from tfcore.quiet import tf
from tfcore.types import Array, Inference, Loss, Tree


@finding("first loss")
def first_loss(
    forward: Inference, loss: Loss, weights: Tree, stats: Tree, images: Array, labels: Array
) -> tuple[bool, str]:
    """Compares the loss before the first step with that of a guess, of logits that are all 0: ln C for C classes.

    Much more means that the network begins by being sure of something wrong: pixels that are not scaled, weights that
    are too large. Twice as much is called wrong.

    Args:
      forward: (weights, stats, images, *, training) -> logits, new_stats.
      loss: (logits, labels) -> [N].
    """
    logits = tf.convert_to_tensor(forward(weights, stats, images, training=True)[0])
    first = float(np.mean(loss(logits, labels)))
    guess = float(np.mean(loss(tf.zeros_like(logits), labels)))
    classes = max(2, logits.shape[1])
    name = f", ln {classes}" if abs(guess - math.log(classes)) < 1e-3 else ""
    return bool(first <= 2 * guess), f"{first:.4f}, and that of a guess {guess:.4f}{name}"


@finding("one batch overfits")
def overfits(
    forward: Inference,
    loss: Loss,
    weights: Tree,
    stats: Tree,
    images: Array,
    labels: Array,
    *,
    learns: Callable[[str], bool] = lambda path: True,
    optimizer: Optimizer | None = None,
    steps: int = 200,
) -> tuple[bool, str]:
    """Trains on one batch until it is known by heart: every example right, at a quarter of a guess's loss.

    A network that cannot has no way from pixels to labels, or meets one picture with two labels. Without a seed, so
    that dropout is off; the weights that are given stay as they are.

    Args:
      forward, loss, images, labels: as in `first_loss`; 32 examples or so.
      learns: (path) -> whether a weight learns.
      optimizer: Adam at 0.001 where none is given.
      steps: the most that are taken.
    """

    def plain(weights, stats, images, *, training, seed=None):
        return forward(weights, stats, images, training=training)

    optimizer = optimizer or optimizers.adam(1e-3)
    state = training.init_state(tree.variables(weights), tree.variables(stats), optimizer, learns=learns)
    loss_fn = training.mean_loss(plain, loss)
    step = tf.function(
        lambda *batch: training.train_step(state, batch, 0, loss_fn=loss_fn, optimizer=optimizer), autograph=False
    )
    batch = tf.constant(images), tf.constant(labels)
    guess = float(np.mean(loss(tf.zeros_like(forward(weights, stats, images, training=True)[0]), labels)))
    for taken in range(1, steps + 1):  # noqa: B007  it is said below
        measured = {name: float(value) for name, value in step(*batch).items()}
        known = measured["accuracy"] == 1 and measured["loss"] < guess / 4
        if known or not math.isfinite(measured["loss"]):
            break
    text = f"{measured['accuracy']:.0%} of {len(labels)} examples right after {taken} steps"
    return known, f"{text}, loss {measured['loss']:.4f}"
