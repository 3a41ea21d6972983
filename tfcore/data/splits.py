"""What is learned from: images and labels in three parts."""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfcore.data.order import Rows, epoch_order, take

if TYPE_CHECKING:
    from tfcore.data.folders import Survey

PARTS = ("train", "validation", "test")
SAMPLE = 64  # of the images of a part whose files are known by a hash


class Arrays(NamedTuple):
    """images: [N, H, W, C] uint8, an array or `Rows` of one on disk; labels: [N] int32."""

    images: np.ndarray | Rows
    labels: np.ndarray

    def __repr__(self):
        return f"Arrays(images {_form(self.images)}, labels {_form(self.labels)})"


class Source(NamedTuple):
    """The files that a set of pictures was made of; each field as in `folders.Folder`."""

    bad: list[tuple[str, str]]
    survey: "Survey"
    content: str
    order: str


class Splits(NamedTuple):
    """Three parts of one set, and the name of each class. `name` is the set that was read; `source` is there for sets
    of pictures."""

    train: Arrays
    validation: Arrays
    test: Arrays
    class_names: tuple[str, ...]
    name: str
    source: Source | None = None

    def __repr__(self):
        parts = ", ".join(f"{part} {getattr(self, part)!r}" for part in PARTS)
        names = ", ".join(map(str, self.class_names[:3])) + (", ..." if len(self.class_names) > 3 else "")
        return f"Splits({self.name}: {parts}; {len(self.class_names)} classes {names})"


def _form(array):
    """Returns "[N, H, W, C] uint8"."""
    array = array if isinstance(array, Rows) else np.asarray(array)
    return f"{list(array.shape)} {array.dtype}"


def split(arrays: Arrays, count: int, seed: int) -> tuple[Arrays, Arrays]:
    """Returns the rest, and `count` examples chosen by `seed`."""
    order = epoch_order(seed, 0x5EED, len(arrays.labels))  # an epoch number that no run reaches
    held_out, rest = np.sort(order[:count]), np.sort(order[count:])
    return Arrays._make(take(a, rest) for a in arrays), Arrays._make(take(a, held_out) for a in arrays)


def check_splits(splits: Splits, *, may_be_empty: Sequence[str] = ()) -> None:
    """Raises ValueError where no network could learn from the splits, or be measured: one sentence that names the part.

    In each part there must be examples, as many labels as images, images of one shape, and labels that are integers
    from 0 to the number of classes less one.

    Args:
      may_be_empty: names of parts that need no examples.
    """
    for part in PARTS:
        images, labels = getattr(splits, part)
        problem = _problem(images, np.asarray(labels), len(splits.class_names), part in may_be_empty)
        if not problem and images.shape[1:] != splits.train.images.shape[1:]:
            problem = f"images of shape {list(images.shape[1:])}, those of train {list(splits.train.images.shape[1:])}"
        if problem:
            raise ValueError(f"{part}: {problem}")


def _problem(images, labels, classes, may_be_empty):
    """Returns what is wrong with one part; "" where nothing is."""
    if len(images) != len(labels):
        return f"{len(images)} images, but {len(labels)} labels"
    if not len(images):
        return "" if may_be_empty else "there are no images"
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return f"the labels are {list(labels.shape)} {labels.dtype}, they must be one integer for each image"
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        return f"label {labels[wrong[0]]} at {wrong[0]}, but the {classes} classes are 0 to {classes - 1}"
    return ""


def content(splits: Splits) -> str:
    """Returns a sha256 over the images and labels of all parts and the class names: other data, another hash.

    Sets of pictures have a hash of their files, `source.order`; of their images only a few of each part are read.
    """
    source = splits.source.order if splits.source else None
    digest = hashlib.sha256(json.dumps([source, list(splits.class_names)]).encode())
    for part in PARTS:
        images, labels = getattr(splits, part)
        digest.update(f"{part} {list(images.shape)} {images.dtype} {labels.dtype}".encode())
        step = len(images) // SAMPLE + 1 if source else 1
        for start in range(0, len(images), 1024 * step):
            digest.update(np.ascontiguousarray(images[start : start + 1024 * step : step]).data)
        digest.update(labels.tobytes())
    return digest.hexdigest()
