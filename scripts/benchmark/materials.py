"""What a job's folder holds: arrays, generated pictures, photographs in a zip, a trunk."""

import dataclasses
import zipfile

import numpy as np

from tfcore import tree
from tfcore.data import Arrays, folders, listing
from tfcore.data.datasets import find_pictures
from tfcore.data.order import preprocess
from tfcore.formats import keras_h5
from tfcore.models import inception_v3


def save_arrays(folder, part, weights):
    """Writes data.npz: images, labels, weight0, weight1, ... in the order of the layers."""
    numbered = {f"weight{i}": leaf.numpy() for i, leaf in enumerate(tree.leaves(weights))}
    np.savez(f"{folder}/data.npz", images=np.asarray(part.images), labels=np.asarray(part.labels), **numbered)


def generated(count, shape):
    """Returns random pictures of two classes, always the same."""
    rng = np.random.default_rng(0)
    return Arrays(rng.integers(0, 256, [count, *shape], np.uint8), rng.integers(0, 2, count).astype(np.int32))


def write_pictures(folder, count, shape):
    """Writes `count` random pictures as a file to be mapped, images.u8, and labels.npy."""
    rng = np.random.default_rng(0)
    images = np.memmap(f"{folder}/images.u8", np.uint8, "w+", shape=(count, *shape))
    for begin in range(0, count, 10**4):
        images[begin : begin + 10**4] = rng.integers(0, 256, images[begin : begin + 10**4].shape, np.uint8)
    images.flush()
    np.save(f"{folder}/labels.npy", rng.integers(0, 10, count).astype(np.int32))


def zip_photographs(folder, count, data_dir):
    """Writes pictures.zip with the first photographs of each class of cats_vs_dogs; returns how many there are."""
    entries, names = listing.scan(find_pictures("cats_vs_dogs", data_dir))
    chosen = [
        e for label in range(len(names)) for e in [e for e in entries if e.size and e.label == label][: count // 2]
    ]
    with zipfile.ZipFile(f"{folder}/pictures.zip", "w") as archive:
        for entry in chosen:
            archive.writestr(entry.name, listing.read(entry))
    return len(chosen)


def photographs(folder, count, data_dir, image_size):
    """Returns the first photographs of each class of cats_vs_dogs as arrays, cats and dogs."""
    zip_photographs(folder, count, data_dir)
    found = folders.load_folder(
        f"{folder}/pictures.zip", image_size=image_size, cache_dir=f"{folder}/cache", progress=False
    )
    return Arrays(np.asarray(found.images), np.asarray(found.labels))


def write_trunk(folder, config, images):
    """Writes trunk.h5: drawn weights, with the batch norm statistics of some pictures, so that features say something.

    images: [N, H, W, 3] uint8.
    """
    config = dataclasses.replace(config, endpoint="mixed10")
    weights, stats = inception_v3.init(0, config)
    _, moved = inception_v3.forward(config, weights, stats, preprocess(images), training=True)
    tree.assign(stats, tree.map(lambda new, old: (new - 0.99 * old) / 0.01, moved, stats))  # batch norm keeps 0.99
    keras_h5.write_keras_h5(f"{folder}/trunk.h5", weights, stats, config)
