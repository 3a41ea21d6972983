"""The data of the program that `eject.py` makes plain: the files of a set, as the run reads them."""

import csv
import gzip
import importlib.util
import re
import zipfile
from pathlib import Path

import numpy as np

from tfcore.data import datasets, decoding, sources
from tfcore.data.order import epoch_order
from tfcore.quiet import tf


def default_place(recipe):
    """Returns where the files are unless told otherwise; those of digits came with scikit-learn."""
    if recipe.dataset == "digits":
        found = importlib.util.find_spec("sklearn")
        return Path(found.origin).parent / "datasets" / "data" if found else "."
    return "."


def training_part(recipe, place):
    """Returns images [N, H, W, C] uint8 and labels [N] int32 of the part that is trained on."""
    if recipe.dataset == "digits":
        images, labels = read_digits(place)
    elif recipe.dataset in sources.PICTURES:
        images, labels = read_pictures(recipe, place)
    else:
        images = read_idx(recipe.dataset, place, "images-idx3", 16).reshape(-1, 28, 28, 1)
        labels = read_idx(recipe.dataset, place, "labels-idx1", 8).astype(np.int32)
    rows = np.arange(len(labels))
    if recipe.dataset == "digits":
        rows = rest(rows, 300, 0)  # what is left out here is the test part, then the validation part
    elif recipe.dataset in sources.PICTURES:
        rows = rest(rows, datasets.test_size(len(rows)), 0)
    rows = rest(rows, min(recipe.validation, len(rows) // 6), recipe.seed)
    if recipe.train_examples:
        rows = chosen(rows, recipe.train_examples, recipe.seed)
    return images[rows], labels[rows]


def rest(rows, count, seed):
    """Returns the rows without `count` of them, which `seed` chooses."""
    return rows[np.sort(epoch_order(seed, 0x5EED, len(rows))[count:])]


def chosen(rows, count, seed):
    """Returns `count` of the rows, which `seed` chooses; all where there are no more."""
    return rows[np.sort(epoch_order(seed, 0x5EED, len(rows))[:count])]


def read_idx(name, place, part, header):
    """Returns the numbers in a training file of MNIST or Fashion-MNIST, packed or not."""
    found = [*place.glob(f"{name}/train-{part}-ubyte*"), *place.glob(f"train-{part}-ubyte*")]
    if not found:
        raise SystemExit(f"no train-{part}-ubyte.gz in {place}: --data_dir names the directory")
    data = found[0].read_bytes()
    return np.frombuffer(gzip.decompress(data) if found[0].suffix == ".gz" else data, np.uint8, offset=header)


def read_digits(place):
    """Returns the images, enlarged to 28x28, and labels of scikit-learn's digits.csv.gz."""
    path = place / "digits.csv.gz"
    if not path.is_file():
        raise SystemExit(f"no {path}: --data_dir names the directory of scikit-learn's data")
    with gzip.open(path, "rt") as file:
        table = np.array([[float(cell) for cell in row] for row in csv.reader(file)])
    small = (table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).round().astype(np.uint8)
    return decoding.fitted(tf.constant(small), (28, 28)).numpy(), table[:, -1].astype(np.int32)


def read_pictures(recipe, place):
    """Returns all pictures CLASS/file of a folder or a zip file, of one size, and their classes, by class and name."""
    files = list_pictures(place)
    names = sorted({folder for folder, _, _ in files})
    height, width, channels = recipe.model.image_shape
    spec = tf.TensorSpec([], tf.string)
    decode = tf.function(
        lambda data: decoding.decode(data, (height, width), resize=recipe.resize, channels=channels),
        input_signature=[spec], autograph=False,
    )  # fmt: skip
    images, labels = np.zeros([len(files), height, width, channels], np.uint8), []
    for folder, _, read in files:
        try:
            images[len(labels)] = decode(tf.constant(read())).numpy()
        except tf.errors.OpError:  # cut or damaged
            continue
        labels.append(names.index(folder))
    labels = np.array(labels, np.int32)
    if recipe.dataset == "cats_vs_dogs" and [name.lower() for name in names] == ["cat", "dog"]:
        labels = 1 - labels  # a cat is 1
    return images[: len(labels)], labels


def list_pictures(place):
    """Returns (class, natural order of the name, function that reads the bytes) of each picture, in order."""
    candidates = [
        place / "cats_vs_dogs" / "PetImages.zip",
        place / "cats_vs_dogs" / "PetImages",
        place / "PetImages.zip",
    ]
    place = next((path for path in candidates if path.exists()), place)
    if place.is_file():
        archive = zipfile.ZipFile(place)
        found = [(Path(i.filename), lambda i=i: archive.read(i)) for i in archive.infolist() if not i.is_dir()]
    else:
        found = [(path, path.read_bytes) for path in place.glob("*/*")]
    kinds = (".jpg", ".jpeg", ".png")
    shown = [(p, read) for p, read in found if p.suffix.lower() in kinds and not p.name.startswith(".")]
    files = [(path.parent.name, natural(path.name), read) for path, read in shown]
    if not files:
        raise SystemExit(f"no CLASS/*.jpg in {place}: --data_dir names the folder or the zip file")
    return sorted(files, key=lambda file: file[:2])


def natural(name):
    """Returns what to sort by so that 2.jpg comes before 10.jpg."""
    return [int(p) if i % 2 else p.lower() for i, p in enumerate(re.split("([0-9]+)", name))], name
