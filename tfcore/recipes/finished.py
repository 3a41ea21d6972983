"""From a run of a recipe back to its recipe and weights: to predict, to evaluate, to take a step again."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import models, run, tree
from tfcore.data import Arrays, Splits
from tfcore.quiet import tf
from tfcore.recipes.assemble import task, tested_forward
from tfcore.recipes.recipe import Recipe, from_dict
from tfcore.run import blackbox, numerics, report
from tfcore.types import Tree


def load_run(run_dir: str | Path) -> tuple[Recipe, Tree, Tree, dict[str, Any]]:
    """Returns recipe, weights, stats and config of a run of a recipe.

    Raises:
      ValueError: what is there does not fit the recipe's network, or is not finite; every bad path is listed.
        Else as `run.load_run`.
    """
    config, weights, stats = run.load_run(run_dir)
    try:
        recipe, names = recipe_of(config), config["class_names"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise KeyError("class_names")
        classes = 1 if recipe.loss.startswith("sigmoid") and len(names) == 2 else len(names)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"run={run_dir} is not a run of a recipe ({error} is missing or wrong)") from None
    problems = unfit(recipe.model, weights, stats)
    if classes != recipe.model.classes:
        problems.append(f"{recipe.model.classes} logits for the {len(names)} classes {', '.join(names)}")
    if problems:
        raise ValueError(f"run={run_dir} does not fit its network: {'; '.join(problems)}")
    return recipe, weights, stats, config


def recipe_of(config: dict[str, Any]) -> Recipe:
    """Returns the recipe of a run, of what its config.json holds. Raises ValueError, KeyError: it is of none."""
    known = {field.name for field in dataclasses.fields(Recipe)}
    return from_dict({name: value for name, value in {**config["config"], **config["run"]}.items() if name in known})


def unfit(model: Any, weights: Tree, stats: Tree) -> list[str]:
    """Returns one sentence for each path that a network does not have so, or that is not finite.

    model: the network's configuration; weights, stats: trees of arrays.
    """
    with tf.Graph().as_default():  # nothing is drawn: only shapes and dtypes are looked at
        wanted = models.module_of(model).init(0, model)
    problems = [problem for found, w in zip((weights, stats), wanted) for problem in tree.mismatches(found, w)]
    return problems + not_finite(weights) + not_finite(stats)


def not_finite(nested: Tree) -> list[str]:
    """Returns "conv1/w: 3 of 576 numbers are not finite" of each leaf of a tree of arrays of which that is so."""
    leaves = {path: np.asarray(leaf) for path, leaf in tree.flatten(nested).items()}
    counts = {p: np.count_nonzero(~np.isfinite(a)) for p, a in leaves.items() if tf.as_dtype(a.dtype).is_floating}
    return [f"{p}: {n:,} of {leaves[p].size:,} numbers are not finite" for p, n in counts.items() if n]


def replay(run_dir: str | Path) -> numerics.Finding | None:
    """Takes the step on which a run of a recipe stopped again; result and errors are those of `run.replay`."""
    facts, batch, _ = blackbox.read(run_dir)
    try:
        config = facts["config"]
        names, count = tuple(config["class_names"]), facts["train_examples"]
        recipe = recipe_of(config)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"run={run_dir} is not a run of a recipe ({error}): call run.replay(task, run_dir)") from None
    if "teacher" in config["config"]:
        raise ValueError(f"run={run_dir} had a teacher: call run.replay(teaching.taught(task, teacher), run_dir)")
    image = batch.images.numpy()[0, :1]
    stand_in = Arrays(
        np.broadcast_to(image, [count, *image.shape[1:]]), np.zeros(count, np.int32)
    )  # only its shape counts
    splits = Splits(stand_in, stand_in, stand_in, names, recipe.dataset)
    return run.replay(task(recipe, splits, config=config["config"]), run_dir)


def predictor(recipe: Recipe) -> Callable[..., np.ndarray]:
    """Returns predict(weights, stats, images) -> logits [N, C] in NumPy, over the views that the recipe names."""
    return report.predictor(tested_forward(recipe), recipe.model.image_shape)
