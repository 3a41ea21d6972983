"""Transfer in stages: a head on the features of a trained trunk; then, when asked, the upper trunk learns too."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import checkpoint, run, tree
from tfcore.data import augment
from tfcore.data.augment import Augment
from tfcore.data.order import Rows
from tfcore.data.splits import Splits
from tfcore.distribution import Team
from tfcore.models import inception_v3, mlp, transfer
from tfcore.quiet import tf
from tfcore.recipes.assemble import fit_to_data, make_forward, task
from tfcore.recipes.recipe import Recipe, plan, settings_of
from tfcore.recipes.trunks import Trunk
from tfcore.run import directory, features
from tfcore.run.profile import checked
from tfcore.run.result import export


def train(
    recipe: Recipe,
    logdir: str | Path,
    trunk: Trunk,
    splits: Splits,
    *,
    cache: str | Path | None = None,
    fine_tune: Recipe | None = None,
    clean: bool = False,
    histograms: bool = False,
    check_numerics: bool = False,
    profile: tuple[int, int] | None = None,
    note: str = "",
    strategy: tf.distribute.Strategy | None = None,
) -> run.Result:
    """Trains a head on a frozen trunk in `logdir`/head, then, with `fine_tune`, the upper trunk too.

    Args:
      recipe: its model is a `transfer.Config`. Of its `augment_copies` variants of each training picture features are
        computed once; with 0, or where the model says with `learns_from` that the trunk learns too, the trunk runs in
        each step, on freshly augmented pictures.
      trunk: a `trunks.Trunk`.
      cache: where features are kept; None keeps none.
      fine_tune: the recipe of a second run, in `logdir`/fine_tune, which starts from the first one's weights and whose
        model says with `learns_from` where the trunk begins to learn.
      clean, histograms, check_numerics, profile, note, strategy: as in `run.train`.
    Returns: the Result of the last run. `logdir`/export holds trunk and head together, for evaluation and prediction.
    Raises:
      ValueError: as `run.train`; another `fine_tune` or trunk is another run, with another `logdir`.
      OSError, FloatingPointError, Stopped: as `run.train`.
    """
    recipe, digest = fit_to_data(recipe, splits), trunk.digest()
    last = fit_to_data(fine_tune, splits) if fine_tune else recipe
    if runs_once(recipe) and (recipe.view_flip or recipe.view_shift):
        raise ValueError("view_flip and view_shift look at pictures: they need augment_copies=0")
    options = {"clean": clean, "histograms": histograms, "check_numerics": check_numerics, "profile": profile}
    options["strategy"], team = strategy, Team.of(strategy)
    plans = [run.Plan(**plan(stage)).fitted(splits) for stage in (recipe, last)]  # refused before anything is erased
    for each in plans:
        checked(profile, each)
    whole = task(last, splits, config={"trunk": digest, "head": settings_of(recipe)})
    config = directory.describe(whole, plans[-1]._replace(check_numerics=check_numerics), note)
    own = team.own_directory(logdir)
    with team.naming_the_lost(), directory.held(own) as place:
        place = directory.claim(place, config, clean=clean or not team.chief, written=("export",))
        result, weights = _first(recipe, place, trunk, digest, splits, cache, options)
        if fine_tune:
            start = functools.partial(_given, weights, trunk)
            origin = {"trunk": digest, "start": trunk._replace(weights=weights).digest()}
            result, weights = _whole(last, place / "fine_tune", start, origin, splits, options)
        place.check()
        export(place, weights, {"trunk": trunk.stats}, {**config, "epoch": result.epochs})
        return result


def _first(recipe, place, trunk, digest, splits, cache, options):
    """Trains the first stage, in `place`/head; returns the Result and the weights of trunk and head."""
    if runs_once(recipe):
        result, head = _head_on_features(recipe, place, trunk, digest, splits, cache, options)
        return result, {"trunk": trunk.weights, "head": head}
    return _whole(recipe, place / "head", _start(recipe, trunk), {"trunk": digest}, splits, options)


def runs_once(recipe: Recipe) -> bool:
    """True where the trunk runs once over each picture, and its features are kept."""
    return recipe.augment_copies > 0 and not recipe.model.learns_from


def _head_on_features(recipe, place, trunk, digest, splits, cache, options):
    """Trains the head alone; returns the Result and the head's weights."""
    facts = trunk_facts(recipe, digest)
    change = functools.partial(augment.apply, recipe.augment) if recipe.augment.changes else None
    seen = features.splits_of(
        splits,
        features_of(recipe, trunk, facts, cache),
        change=change,
        seed=recipe.seed,
        copies=recipe.augment_copies,
    )
    steps = recipe.steps_per_epoch or len(splits.train.labels) // recipe.batch_size
    head = dataclasses.replace(
        recipe, model=recipe.model.head, augment=Augment(), steps_per_epoch=steps, precision="float32"
    )
    origin = {**facts, "copies": recipe.augment_copies, "variants": dataclasses.asdict(recipe.augment)}
    learning = task(head, seen, config={"origin": origin}, pictures=splits)
    result = run.train(learning, place / "head", **plan(head), **options)
    return result, _exported(result)


def features_of(
    recipe: Recipe, trunk: Trunk, facts: dict[str, Any], cache: str | Path | None
) -> Callable[[np.ndarray | Rows], np.ndarray]:
    """Returns images -> the trunk's features of them, kept in `cache`. Batch norm is folded into convolutions."""
    config, weights, stats = recipe.model, trunk.weights, trunk.stats
    if isinstance(config.trunk, inception_v3.Config):
        weights, stats = inception_v3.fold(weights, stats), {}
    forward = make_forward(dataclasses.replace(recipe, model=config.trunk))

    def read(weights, stats, images, *, training):
        found, stats = forward(weights, stats, images, training=training)
        return transfer.pooled(config, found), stats

    compute = features.extractor(read, weights, stats)
    return lambda images: features.kept(compute, images, recipe.model.head.image_shape, facts, cache)


def trunk_facts(recipe: Recipe, digest: str) -> dict[str, Any]:
    """Returns all that the features of a picture depend on, as JSON values."""
    facts = {"trunk": digest, "scale": recipe.scale, "offset": recipe.offset, "precision": recipe.precision}
    facts["pooled"] = recipe.model.pool_features
    return {**facts, "network": dataclasses.asdict(recipe.model.trunk)}


def _start(recipe, trunk):
    """Returns (seed) -> the trunk's weights with a new head, and the stats."""

    def init(seed):
        head, _ = mlp.init(seed, recipe.model.head)
        return _given({"trunk": trunk.weights, "head": head}, trunk, seed)

    return init


def _given(weights, trunk, seed):
    """Returns copies of given weights, and of the trunk's stats: a run changes what it starts from."""
    return tree.map(np.asarray, weights), tree.map(np.asarray, {"trunk": trunk.stats})


def _whole(recipe, place, init, origin, splits, options):
    """Trains trunk and head as one network, from given weights; returns the Result and the weights."""
    whole = task(recipe, splits, init=init, config={"origin": origin})
    result = run.train(whole, place, **plan(recipe), **options)
    return result, _exported(result)


def _exported(result):
    return checkpoint.import_weights(result.run_dir / "export" / "weights.safetensors")[0]
