"""The sets that have a name, as uint8 arrays in three splits."""

import hashlib
from pathlib import Path

import numpy as np

from tfcore.data.idx import read_idx
from tfcore.data.sources import (  # noqa: F401
    DIGIT_CLASSES,
    FASHION_CLASSES,
    NAMES,
    OWNERS,
    PICTURES,
    SOURCES,
    cache_dir,
    find_files,
    find_pictures,
    first_at_hand,
)
from tfcore.data.splits import Arrays, Source, Splits, check_splits, content, split  # noqa: F401


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    validation: int = 5000,
    seed: int = 0,
    train_examples: int = 0,
    image_size: tuple[int, int] = (150, 150),
    resize: str = "stretch",
    max_bad_fraction: float = 0.05,
) -> Splits:
    """Loads a set and splits `validation` examples off its training part.

    Args:
      name: "mnist", "fashion_mnist", "digits" (comes with scikit-learn), "cats_vs_dogs" (cat is class 1) or "folder"
        (CLASS/*.jpg in `data_dir`, or in a zip there).
      data_dir: where `name`'s files are; None looks into $TFCORE_DATA_DIR, then into the user's cache, and
        downloads into the cache.
      train_examples: how many of the rest to train on, chosen by `seed`; 0 for all.
      image_size, resize, max_bad_fraction: as in `load_folder`, for pictures of various sizes.
      validation: how many training examples to hold out, at most a sixth of them; the choice is a function of `seed`.
        0 leaves that part empty.
    Raises:
      ValueError: no set has this name, a file is not what it should be, or as `check_splits`.
      OSError: a file is missing and cannot be downloaded.
    """
    for option, value in (("validation", validation), ("train_examples", train_examples)):
        if value < 0:
            raise ValueError(f"{option}={value} must not be negative")
    if name not in NAMES:
        raise ValueError(f"dataset={name} is not one of {', '.join(NAMES)}")
    source = None
    if name == "digits":
        train, test, classes = _load_digits()
    elif name in PICTURES:
        everything, classes, source = load_pictures(
            name, data_dir, image_size=image_size, resize=resize, max_bad_fraction=max_bad_fraction
        )
        train, test = split(everything, test_size(len(everything.labels)), seed=0)
    else:
        classes = SOURCES[name][1]
        files = find_files(name, data_dir)
        train, test = _load_part(name, "train", files), _load_part(name, "t10k", files)
    train, held_out = split(train, min(validation, len(train.labels) // 6), seed)
    if source and validation and not len(held_out.labels):
        raise ValueError(f"{len(everything.labels)} usable pictures are too few to hold some out: 8 are the least")
    if 0 < train_examples < len(train.labels):
        _, train = split(train, train_examples, seed)
    splits = Splits(train, held_out, test, classes, name, source)
    check_splits(splits, may_be_empty=() if validation else ("validation",))
    return splits


def test_size(n: int) -> int:
    """Returns how many of n pictures are the test part of a set that has none of its own.

    A sixth, at most 1,024; of 16,384 pictures or more 2,048, so that an accuracy of 0.96 has an error of 0.004.
    """
    return 2048 if n >= 16384 else min(1024, n // 6)


def _load_part(name, part, files):
    """Reads the images and labels of "train" or "t10k" and checks them against each other."""
    image_file, label_file = files[f"{part}-images-idx3-ubyte"], files[f"{part}-labels-idx1-ubyte"]
    images, labels = read_idx(image_file, dimensions=3), read_idx(label_file, dimensions=1)
    if len(images) != len(labels):
        raise ValueError(f"{image_file} has {len(images)} images, {label_file} has {len(labels)} labels")
    if images.shape[1:] != (28, 28) or not len(images):
        raise ValueError(f"{image_file} has images {images.shape}, {name} wants [N, 28, 28], N at least 1")
    classes = len(SOURCES[name][1])
    if labels.max() >= classes:
        raise ValueError(f"{label_file}: label {labels.max()} at {labels.argmax()}, {name} has 0 to {classes - 1}")
    owner = OWNERS.get(hashlib.sha256(labels).hexdigest(), name)
    if owner != name:
        raise ValueError(f"{label_file} holds the labels of {owner}, not of {name}")
    return Arrays(images[..., np.newaxis], labels.astype(np.int32))


def load_pictures(
    name: str,
    data_dir: str | Path | None = None,
    *,
    image_size: tuple[int, int] = (150, 150),
    resize: str = "stretch",
    max_bad_fraction: float = 0.05,
) -> tuple[Arrays, tuple[str, ...], Source]:
    """Returns all pictures of "cats_vs_dogs" (cat is class 1) or of a "folder" as Arrays, the class names, the Source.

    Arguments and errors are those of `load`.
    """
    from tfcore.data.folders import load_folder  # here: Pillow, for whoever has no pictures

    folder = load_folder(
        find_pictures(name, data_dir),
        image_size=image_size,
        resize=resize,
        max_bad_fraction=max_bad_fraction,
        cache_dir=cache_dir() / "pictures",
    )
    labels, classes = folder.labels, folder.class_names
    if name == "cats_vs_dogs" and [c.lower() for c in classes] == ["cat", "dog"]:
        labels, classes = 1 - labels, classes[::-1]
    return Arrays(folder.images, labels), classes, Source(folder.bad, folder.survey, folder.content, folder.order)


def _load_digits():
    """Returns the training part (1,497), the test part (300) and the classes of scikit-learn's digits, at 28x28."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (digits.images * (255 / 16)).round().astype(np.uint8)  # [1797, 8, 8]; the set counts 0 .. 16
    large = np.stack([np.asarray(Image.fromarray(i).resize((28, 28), Image.Resampling.BILINEAR)) for i in small])
    everything = Arrays(large[..., np.newaxis], digits.target.astype(np.int32))
    train, test = split(everything, 300, seed=0)
    return train, test, DIGIT_CLASSES
