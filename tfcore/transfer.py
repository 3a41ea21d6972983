"""A run that starts from a trained trunk: features once, a head on them, then the upper trunk at a lower rate."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from tfcore import build, checkpoint, files, run, run_dir, training, tree
from tfcore.data import augment, datasets
from tfcore.data.download import download
from tfcore.init import fold_in
from tfcore.models import inception_v3, transfer
from tfcore.quiet import tf

URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
SIZE, MD5 = 87910968, "bcbd6486424b2319ff4ef7d526e38f63"


def published_weights():
    """Returns the path of InceptionV3's ImageNet weights in the user's cache; downloads them when they are not there.

    Raises:
      OSError: they cannot be downloaded; the message says what file to put where.
    """
    path = datasets.cache_dir() / "weights" / URL.rsplit("/", 1)[1]
    if not path.exists():
        try:
            download(URL, path, md5=MD5, size=SIZE)
        except OSError as error:
            raise OSError(f"{error}; put the file at {path}, or name another with --weights") from None
    return path


def load_trunk(config, path):
    """Returns weights, stats of the trunk from a Keras .h5 of InceptionV3 or from a .safetensors file of ours.

    Args:
      config: a `transfer.Config`.
      path: of ours, the export of any run whose network has the trunk's paths; further paths are left out.
    Raises:
      ValueError: the file does not fit; every bad path is listed and nothing is loaded.
      OSError: it cannot be read.
    """
    if Path(path).suffix == ".h5":
        if not isinstance(config.trunk, inception_v3.Config):
            raise ValueError(f"{path}: only InceptionV3's weights are read from .h5, the trunk is another network")
        return checkpoint.import_keras_h5(path, config.trunk)
    found = checkpoint.import_weights(path)[:2]
    if "trunk" in found[0]:
        found = tuple(part.get("trunk", {}) for part in found)
    wanted = transfer.trunk_of(config).init(0, config.trunk)
    chosen = [tree.select(f, lambda p, w=w: p in tree.flatten(w)) for f, w in zip(found, wanted)]
    problems = [problem for f, w in zip(chosen, wanted) for problem in tree.mismatches(f, w)]
    if problems:
        raise ValueError(f"{path} does not fit the trunk: {'; '.join(problems)}")
    return tuple(chosen)


def frozen_trunk(recipe, weights, stats):
    """Returns the frozen trunk as features(images) -> [N, H', W', C'] float32 in NumPy; images uint8 as stored.

    Args:
      recipe: its model is a `transfer.Config`; its scale, offset and precision say how the trunk reads.
      weights, stats: of the trunk. Batch norm is folded into InceptionV3's convolutions.
    """
    config = recipe.model.trunk
    if isinstance(config, inception_v3.Config):
        weights, stats = inception_v3.fold(weights, stats), {}
    forward = tf.function(build.make_forward(dataclasses.replace(recipe, model=config)), autograph=False)
    bound = functools.partial(training.predict, forward, weights, stats)
    return functools.partial(bound, batch_size=50, preprocess=tf.convert_to_tensor)


def compute_features(recipe, weights, stats, images, *, cache=None, trunk=None):
    """Returns the trunk's activations of stored images, [N, H', W', C'] float32: a read-only map when cached.

    Args:
      recipe, weights, stats: as in `frozen_trunk`.
      images: [N, H, W, C] uint8.
      cache: the directory to keep them in, under a hash of trunk, reading and pictures; None keeps nothing.
      trunk: what `frozen_trunk` returned for these, to trace it once for several calls.
    """
    if not cache:
        return (trunk or frozen_trunk(recipe, weights, stats))(images)
    config = recipe.model
    shape = (len(images), *transfer.trunk_of(config).feature_shape(config.trunk))
    directory = Path(cache) / _features_key(recipe, weights, stats, images)

    def parts():  # so that memory stays flat
        features = trunk or frozen_trunk(recipe, weights, stats)
        for start in range(0, len(images), 500):
            yield features(images[start : start + 500]), None

    return files.cached_array(directory, np.float32, shape, "features", parts)[0]


def _features_key(recipe, weights, stats, images):
    """Returns a hash of all that the features depend on."""
    digest = hashlib.sha256(json.dumps([_trunk_facts(recipe, (weights, stats)), tf.__version__]).encode())
    digest.update(str(images.shape).encode())
    for start in range(0, len(images), 500):
        digest.update(np.ascontiguousarray(images[start : start + 500]).data)
    return digest.hexdigest()[:40]


def _trunk_facts(recipe, trunk):
    """Returns all that the features of a picture depend on, as JSON values."""
    facts = {"weights": run_dir.digest(trunk), "scale": recipe.scale, "offset": recipe.offset}
    return {**facts, "precision": recipe.precision, "network": dataclasses.asdict(recipe.model.trunk)}


def feature_splits(recipe, weights, stats, splits, *, copies=1, cache=None):
    """Returns the splits with features in place of pictures.

    With an augmenting recipe the training part holds `copies` variants of each picture, drawn as its first epochs
    would draw them; otherwise `copies` is not used.
    """
    images, labels = splits.train
    if recipe.augment.changes:
        variants = [_augmented(recipe, images, epoch) for epoch in range(copies)]
        images = np.concatenate(variants) if copies > 1 else variants[0]
        labels = np.concatenate([labels] * copies)
    parts = [datasets.Arrays(images, labels), splits.validation, splits.test]
    features = functools.partial(
        compute_features, recipe, weights, stats, cache=cache, trunk=frozen_trunk(recipe, weights, stats)
    )
    parts = [datasets.Arrays(features(part.images), part.labels) for part in parts]
    return datasets.Splits(*parts, splits.class_names, splits.name, splits.source)


def _augmented(recipe, images, epoch):
    """Returns all images as epoch `epoch` would show them."""
    draws = augment.draw(recipe.seed, epoch, len(images))
    parts = range(0, len(images), 500)
    return np.concatenate(
        [augment.apply(recipe.augment, images[i : i + 500], draws[i : i + 500]).numpy() for i in parts]
    )


def train(recipe, logdir, trunk, splits, *, copies=1, cache=None, fine_tune=None, clean=False, histograms=False):
    """Trains a head on a frozen trunk in `logdir`/head, then, with `fine_tune`, the upper trunk too.

    Args:
      recipe: its model is a `transfer.Config`; learns_from "" for the head.
      trunk: weights, stats of the trunk.
      copies: 0 runs the trunk in each step, on freshly augmented pictures; otherwise features are computed once, of
        that many augmented variants of each training picture.
      cache: as in `compute_features`.
      fine_tune: the recipe of a second run, in `logdir`/fine_tune, which starts from the first one's weights and whose
        model says with `learns_from` where the trunk begins to learn.
      clean, histograms: as in `run.train`.
    Returns: the Result of the last run. `logdir`/export holds trunk and head together, for evaluation and prediction.
    Raises:
      ValueError, OSError, FloatingPointError, Stopped: as `run.train`; or views of pictures are asked for, of which
        there are no features.
    """
    logdir, (weights, stats) = Path(logdir), trunk
    recipe, fit = build.fit_to_data(recipe, splits), functools.partial(run.train, clean=clean, histograms=histograms)
    if copies and (recipe.view_flip or recipe.view_shift):
        raise ValueError("--view_flip and --view_shift look at pictures: they need --nofeature_cache")
    if copies:
        features = feature_splits(recipe, weights, stats, splits, copies=copies, cache=cache)
        steps = recipe.steps_per_epoch or len(splits.train.labels) // recipe.batch_size
        head = dataclasses.replace(
            recipe, model=recipe.model.head, augment=augment.Augment(), steps_per_epoch=steps, precision="float32"
        )
        origin = {**_trunk_facts(recipe, trunk), "augment_copies": copies}
        origin["augment"] = dataclasses.asdict(recipe.augment)
        result = fit(head, logdir / "head", splits=features, origin=origin)
        weights = {"trunk": weights, "head": checkpoint.import_weights(_export(result))[0]}
    else:
        head, _ = transfer.mlp.init(fold_in(recipe.seed, "init"), recipe.model.head)
        start = {"trunk": weights, "head": head}, {"trunk": stats}
        result = fit(recipe, logdir / "head", splits=splits, start=start)
        weights = checkpoint.import_weights(_export(result))[0]
    stats = {"trunk": stats}
    if fine_tune:
        recipe = build.fit_to_data(fine_tune, splits)
        result = fit(recipe, logdir / "fine_tune", splits=splits, start=(weights, stats))
        weights = checkpoint.import_weights(_export(result))[0]
    run.export(logdir, recipe, weights, stats, splits, result.epochs)
    return result


def _export(result):
    return result.run_dir / "export" / "weights.safetensors"
