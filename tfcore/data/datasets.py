"""The sets that have a name, as uint8 arrays in three splits."""

import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfcore.data.download import download
from tfcore.data.folders import Survey, load_folder
from tfcore.data.idx import read_idx
from tfcore.data.order import epoch_order, take

PICTURES = ("cats_vs_dogs", "folder")
NAMES = ("auto", "mnist", "fashion_mnist", "digits", *PICTURES)

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGIT_CLASSES = tuple("0123456789")

_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# Each set: its address, its classes, and of each published file the length and the sha256.
SOURCES = {
    "mnist": (_MNIST, DIGIT_CLASSES, {
        "train-images-idx3-ubyte": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    }),
    "fashion_mnist": (_FASHION, FASHION_CLASSES, {
        "train-images-idx3-ubyte": (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        "train-labels-idx1-ubyte": (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        "t10k-images-idx3-ubyte": (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        "t10k-labels-idx1-ubyte": (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    }),
}  # fmt: skip

# Of each set's labels the sha256: all these files have one form, so that one set could pass for another.
OWNERS = {
    "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13": "mnist",
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5": "mnist",
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7": "fashion_mnist",
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9": "fashion_mnist",
}


CATS_VS_DOGS = (
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    824887076,
    "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
)
MAX_HELD_OUT = 1024  # test pictures of a set of pictures that has no test part of its own


class Arrays(NamedTuple):
    """images: [N, H, W, C] uint8, an array or `Rows` of one on disk; labels: [N] int32."""

    images: np.ndarray
    labels: np.ndarray


class Source(NamedTuple):
    """The files that a set of pictures was made of; each field as in `folders.Folder`."""

    bad: list[tuple[str, str]]
    survey: Survey
    content: str
    order: str


class Splits(NamedTuple):
    """Three parts of one set, and the name of each class. `name` is the set that was read, never "auto"; `source` is
    there for sets of pictures."""

    train: Arrays
    validation: Arrays
    test: Arrays
    class_names: tuple[str, ...]
    name: str
    source: Source | None = None


def load(
    name,
    data_dir=None,
    *,
    validation=5000,
    seed=0,
    train_examples=0,
    image_size=(150, 150),
    resize="stretch",
    max_bad_fraction=0.05,
):
    """Loads a set and splits `validation` examples off its training part.

    Args:
      name: "mnist", "fashion_mnist", "digits" (comes with scikit-learn), "cats_vs_dogs" (cat is class 1), "folder"
        (CLASS/*.jpg in `data_dir`, or in a zip there) or "auto": MNIST if it is on disk or can be fetched within
        seconds, else digits.
      data_dir: where `name`'s files are; None looks into $TFCORE_DATA_DIR, then into the user's cache, and
        downloads into the cache.
      train_examples: how many of the rest to train on, chosen by `seed`; 0 for all.
      image_size, resize, max_bad_fraction: as in `load_folder`, for pictures of various sizes.
      validation: how many training examples to hold out, at most a sixth of them; the choice is a function of `seed`.
    Raises:
      ValueError: no set has this name, or a file is not what it should be.
      OSError: a file is missing and cannot be downloaded.
    """
    if validation < 0:
        raise ValueError(f"validation={validation} examples to hold out: it must not be negative")
    if name not in NAMES:
        raise ValueError(f"--dataset={name} is not one of {', '.join(NAMES)}")
    name, source = resolve(name, data_dir), None
    if name == "digits":
        train, test, classes = _load_digits()
    elif name in PICTURES:
        everything, classes, source = load_pictures(
            name, data_dir, image_size=image_size, resize=resize, max_bad_fraction=max_bad_fraction
        )
        train, test = split(everything, min(MAX_HELD_OUT, len(everything.labels) // 6), seed=0)
    else:
        classes = SOURCES[name][1]
        files = find_files(name, data_dir)
        train, test = _load_part(name, "train", files), _load_part(name, "t10k", files)
    train, held_out = split(train, min(validation, len(train.labels) // 6), seed)
    if source and validation and not len(held_out.labels):
        raise ValueError(f"{len(everything.labels)} usable pictures are too few to hold some out: 8 are the least")
    if 0 < train_examples < len(train.labels):
        _, train = split(train, train_examples, seed)
    return Splits(train, held_out, test, classes, name, source)


def split(arrays, count, seed):
    """Returns the rest, and `count` examples chosen by `seed`."""
    order = epoch_order(seed, 0x5EED, len(arrays.labels))  # an epoch number that no run reaches
    held_out, rest = np.sort(order[:count]), np.sort(order[count:])
    return Arrays(*(take(a, rest) for a in arrays)), Arrays(*(take(a, held_out) for a in arrays))


def cache_dir():
    """Returns the user's cache, ~/.cache/tfcore unless XDG_CACHE_HOME says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tfcore"


def find_files(name, data_dir=None, *, deadline=1800.0, attempts=3):
    """Returns {published name: path} of a set's four files; downloads what is nowhere.

    Args:
      name, data_dir: as in `load`; the files are in the folder `name` there, or in `data_dir` itself.
      deadline: seconds for all downloads together.
      attempts: how often to try each.
    Raises:
      OSError: a file is missing from `data_dir`, or cannot be downloaded.
    """
    (address, _, files), places = SOURCES[name], _places(data_dir)
    found, ends = {}, time.monotonic() + deadline
    for file, (size, sha256) in files.items():
        candidates = [p / sub / (file + end) for p in places for sub in (name, ".") for end in (".gz", "")]
        path = next((c for c in candidates if c.is_file()), None)
        if path is None and data_dir:
            raise FileNotFoundError(
                f"no {file}.gz in {places[0] / name}: put it there, or leave --data_dir out to download it"
            )
        if path is None:
            path = places[-1] / name / f"{file}.gz"
            left = ends - time.monotonic()
            download(f"{address}{file}.gz", path, sha256=sha256, size=size, deadline=left, attempts=attempts)
        found[file] = path
    return found


def _places(data_dir):
    """Returns where to look, in this order; the last one is where a download goes."""
    if data_dir:
        return [Path(data_dir).expanduser()]
    given = os.environ.get("TFCORE_DATA_DIR")
    return [*([Path(given).expanduser()] if given else []), cache_dir()]


def find_pictures(name, data_dir=None):
    """Returns the folder or zip of a set of pictures; downloads cats_vs_dogs where it is nowhere. As `find_files`.

    Raises:
      ValueError: "folder" without `data_dir`.
      OSError: it is not in `data_dir`, or cannot be downloaded.
    """
    if name == "folder":
        if not data_dir:
            raise ValueError("--dataset=folder wants --data_dir: a folder CLASS/*.jpg, or a zip of one")
        return Path(data_dir).expanduser()
    places = _places(data_dir)
    url, size, sha256 = CATS_VS_DOGS
    names = ("PetImages", "PetImages.zip", Path(url).name)
    for path in (place / sub / file for place in places for sub in (name, ".") for file in names):
        if path.exists():
            return path
    if data_dir and (places[0].is_file() or (places[0] / "Cat").is_dir() or (places[0] / "cat").is_dir()):
        return places[0]
    if data_dir:
        raise FileNotFoundError(f"no {' or '.join(names)} in {places[0]}: put it there, or leave --data_dir out")
    path = places[-1] / name / Path(url).name
    download(url, path, sha256=sha256, size=size)
    return path


def resolve(name, data_dir=None):
    """Returns `name`; for "auto" it is "mnist" when its files are there or come within seconds, else "digits"."""
    if name != "auto":
        return name
    if data_dir:
        return "mnist" if _have("mnist", data_dir) else "digits"
    try:
        find_files("mnist", deadline=20.0, attempts=1)
        return "mnist"
    except OSError:
        return "digits"


def _have(name, data_dir):
    try:
        find_files(name, data_dir)
        return True
    except OSError:
        return False


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


def load_pictures(name, data_dir=None, *, image_size=(150, 150), resize="stretch", max_bad_fraction=0.05):
    """Returns all pictures of "cats_vs_dogs" (cat is class 1) or of a "folder" as Arrays, the class names, the Source.

    Arguments and errors are those of `load`.
    """
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
