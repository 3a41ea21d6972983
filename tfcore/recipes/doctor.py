"""All that can be asked of a recipe and its data before step 1."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfcore import check, losses, models, tree
from tfcore.data.order import epoch_order
from tfcore.data.splits import Splits
from tfcore.quiet import tf
from tfcore.recipes.assemble import fit_to_data, task
from tfcore.recipes.recipe import Recipe

EXAMPLES = 8  # batch norm over fewer makes almost only signs of what it reads


def examine(recipe: Recipe, splits: Splits, *, examples: int = 32) -> Iterator[check.Finding]:
    """Yields the findings of a recipe on its data: of the data, the network, its first loss, and one batch by heart.

    Raises:
      ValueError: the recipe does not fit the data.
    """
    yield from check.data(splits)
    recipe = fit_to_data(recipe, splits)
    learner = task(recipe, splits)
    yield from of_network(recipe.model)
    weights, stats = learner.init(recipe.seed)
    rows = np.sort(epoch_order(recipe.seed, 0, len(splits.train.labels))[:examples])
    batch = np.asarray(splits.train.images[rows]), np.asarray(splits.train.labels)[rows]
    ways = learner.forward, losses.LOSSES[recipe.loss], weights, stats, *batch
    yield check.first_loss(*ways)
    yield check.overfits(*ways, learns=learner.learns)


def of_network(config: Any, *, entries: int = 3, seed: int = 0) -> list[check.Finding]:
    """Returns the findings of a network: `check.forward`, and `check.gradient` of the weights that learn.

    On random pictures and weights shaken off their zeros: at black pixels and zero biases relu has a kink.
    """
    network, rng = models.module_of(config), np.random.default_rng(seed)
    learns = network.learns(config)

    def shaken(leaf):
        more = rng.uniform(0, 0.1, leaf.shape) if leaf.shape.rank < 2 else 0
        return leaf.numpy() * rng.uniform(0.8, 1.2, leaf.shape) + more

    weights, stats = (tree.map(shaken, part) for part in network.init(seed, config))
    x = rng.uniform(size=(EXAMPLES, *config.image_shape))
    forward = functools.partial(network.forward, config)
    narrow = lambda part: tree.map(lambda leaf: leaf.astype(np.float32), part)  # noqa: E731
    found = check.forward(forward, narrow(weights), narrow(stats), x.astype(np.float32))
    f = tf.function(lambda at: forward(tree.merge(weights, at), stats, x, training=True)[0], autograph=False)
    return [*found, check.gradient(f, tree.select(weights, learns), entries=entries)]
