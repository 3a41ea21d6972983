"""What a frozen network says of pictures, computed once and kept on disk: the data of a head that is trained on it."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import files, training
from tfcore.data import Arrays, augment
from tfcore.data.meter import meter
from tfcore.data.order import Rows
from tfcore.data.splits import Splits
from tfcore.quiet import tf
from tfcore.types import Array, Inference, Tensor, Tree

CHUNK = 500  # pictures at a time, so that memory stays flat


def extractor(forward: Inference, weights: Tree, stats: Tree, *, batch_size: int = 50) -> Callable[[Array], np.ndarray]:
    """Returns features(images) -> [N, H', W', C'] float32 in NumPy.

    forward: (weights, stats, images, *, training) -> features, stats; images as they are stored.
    """
    traced = tf.function(forward, autograph=False)
    return functools.partial(
        training.predict, traced, weights, stats, batch_size=batch_size, preprocess=tf.convert_to_tensor
    )


def kept(
    features: Callable[..., np.ndarray],
    images: np.ndarray | Rows,
    shape: tuple[int, int, int],
    facts: dict[str, Any],
    cache: str | Path | None,
) -> np.ndarray:
    """Returns features(images), from `cache` where they are there, else computed and left there.

    Args:
      features: what `extractor` returned.
      images: [N, H, W, C] uint8.
      shape: (H', W', C') of the features of one.
      facts: JSON values: all that the features of a picture depend on.
      cache: a directory; None keeps nothing.
    Returns: [N, H', W', C'] float32, a read-only map of a file where they are kept.
    Raises:
      OSError: the disk is too small for them, which is said before anything is written.
    """
    if cache is None:
        return np.concatenate(list(_chunks(features, images)))
    key = hashlib.sha256(json.dumps([facts, tf.__version__, list(images.shape)]).encode())
    for start in range(0, len(images), CHUNK):
        key.update(np.ascontiguousarray(images[start : start + CHUNK]).data)
    directory = Path(cache) / key.hexdigest()[:40]
    parts = lambda: ((part, None) for part in _chunks(features, images))  # noqa: E731
    return files.cached_array(directory, np.float32, (len(images), *shape), facts, parts)[0]


def _chunks(features, images):
    """Yields the features of CHUNK pictures at a time, and shows how far it is."""
    with meter("features", len(images), "pictures") as advance:
        for start in range(0, len(images), CHUNK):
            part = features(images[start : start + CHUNK])
            advance(len(part))
            yield part


def splits_of(
    splits: Splits,
    features_of: Callable[..., np.ndarray],
    *,
    change: Callable[[Array, Tensor], Tensor] | None = None,
    seed: int = 0,
    copies: int = 1,
) -> Splits:
    """Returns the splits with features in place of pictures.

    Args:
      features_of: images -> features.
      change: (images, draws) -> images: how training pictures are changed, `copies` times each, drawn as the first
        epochs would draw them; None leaves them as they are, once.
    """
    images, labels = splits.train
    if change:
        images = np.concatenate([_changed(change, images, augment.draw(seed, c, len(images))) for c in range(copies)])
        labels = np.concatenate([labels] * copies)
    changed = Arrays(images, labels), splits.validation, splits.test
    parts = [Arrays(features_of(part.images), part.labels) for part in changed]
    return splits._replace(train=parts[0], validation=parts[1], test=parts[2])


def _changed(change, images, draws):
    parts = range(0, len(images), CHUNK)
    return np.concatenate([change(images[i : i + CHUNK], draws[i : i + CHUNK]).numpy() for i in parts])
