"""The program that `eject.py` makes plain: a recipe's training, from the files of its set to a loss for each epoch.

It runs as it is, on tfcore; `specialise.py` writes it out, with all functions that it calls, for one recipe.
"""

import argparse
import csv
import dataclasses
import functools
import gzip
import importlib.util
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

from tfcore import losses, models, training, tree
from tfcore.data import augment, decoding, sources
from tfcore.data.augment import Augment
from tfcore.data.order import batch_indices, epoch_order, preprocess
from tfcore.init import fold_in
from tfcore.models import inception_v3, transfer
from tfcore.quiet import tf
from tfcore.recipes.assemble import make_forward, make_optimizer


def main(recipe):
    """Trains, and prints the mean loss of each epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_dir", default=default_place(recipe), help="where the set's files are")
    parser.add_argument("--epochs", type=int, default=recipe.epochs, help="passes over the training part")
    if isinstance(recipe.model, transfer.Config):
        parser.add_argument("--weights", required=True, help="an export whose network has this trunk, .safetensors")
    arguments = parser.parse_args()
    images, labels = training_part(recipe, Path(arguments.data_dir).expanduser())
    if isinstance(recipe.model, transfer.Config):
        images = features(recipe, images, arguments.weights)
        train(head_of(recipe), images, labels, arguments.epochs)
    else:
        train(recipe, images, labels, arguments.epochs)


def train(recipe, images, labels, epochs):
    """Takes `epochs` passes over the examples and prints the mean loss of each."""
    network, loss = models.module_of(recipe.model), losses.LOSSES[recipe.loss]
    weights, stats = network.init(fold_in(recipe.seed, "init"), recipe.model)
    optimizer, _ = make_optimizer(recipe, len(labels))
    state = training.TrainState(weights, weights, stats, optimizer.init(weights), tf.Variable(0, dtype=tf.int64))

    def loss_fn(weights, stats, batch, seed):
        images, labels = batch
        dtype = tf.as_dtype(recipe.precision)
        x = preprocess(images, scale=recipe.scale, offset=recipe.offset, dtype=dtype)
        if recipe.precision != "float32":
            weights = tree.map(lambda w: tf.cast(w, dtype), weights)
        logits, new_stats = network.forward(recipe.model, weights, stats, x, training=True, seed=seed)
        logits = tf.cast(logits, tf.float32)
        measured = {}
        if recipe.label_smoothing:  # the plain loss is reported, the smoothed one minimized
            measured = {"loss": tf.reduce_mean(loss(logits, labels))}
            return tf.reduce_mean(loss(logits, labels, label_smoothing=recipe.label_smoothing)), (measured, new_stats)
        return tf.reduce_mean(loss(logits, labels)), (measured, new_stats)

    def steps(images, labels, count):
        def step(i, total):
            batch = images[i], labels[i]
            metrics = training.train_step(state, batch, recipe.seed, loss_fn=loss_fn, optimizer=optimizer)
            return i + 1, total + metrics["loss"]

        return tf.while_loop(lambda i, total: i < count, step, (0, 0.0))[1]

    if recipe.jit:
        steps = tf.function(steps, jit_compile=True, autograph=False)

    @functools.partial(tf.function, autograph=False)
    def take_block(images, labels, count, draws):  # images: [k, batch_size, H, W, C], a row for each step
        if recipe.augment.changes:
            flat = tf.reshape(images, [-1, *images.shape[2:]])
            flat = augment.apply(recipe.augment, flat, tf.reshape(draws, [flat.shape[0], -1]))
            images = tf.reshape(flat, images.shape)
        return steps(images, labels, count)

    for epoch in range(epochs):
        rows = batch_indices(recipe.seed, epoch, len(labels), recipe.batch_size)
        if recipe.steps_per_epoch:
            rows = rows[: recipe.steps_per_epoch]
        if recipe.augment.changes:
            drawn = augment.draw(recipe.seed, epoch, len(labels))
        size, total = min(recipe.steps_per_loop, len(rows)), 0.0
        for start in range(0, len(rows), size):
            count = len(rows[start : start + size])
            part = np.resize(rows[start : start + size], [size, recipe.batch_size])  # one shape: one trace
            draws = tf.gather(drawn, part) if recipe.augment.changes else None
            total += float(take_block(tf.constant(images[part]), tf.constant(labels[part]), tf.constant(count), draws))
        print(f"epoch {epoch + 1}  loss {total / len(rows)!r}", flush=True)


# The data


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
        images, labels = read_idx(recipe, place)
    rows = np.arange(len(labels))
    if recipe.dataset == "digits":
        rows = held_out(rows, 300, 0)[0]  # what is left is the test part
    elif recipe.dataset in sources.PICTURES:
        rows = held_out(rows, min(1024, len(rows) // 6), 0)[0]
    rows = held_out(rows, min(recipe.validation, len(rows) // 6), recipe.seed)[0]
    if recipe.train_examples:
        rows = held_out(rows, recipe.train_examples, recipe.seed)[1] if recipe.train_examples < len(rows) else rows
    return images[rows], labels[rows]


def held_out(rows, count, seed):
    """Returns the rest, and `count` of the rows, chosen by `seed`."""
    order = epoch_order(seed, 0x5EED, len(rows))
    return rows[np.sort(order[count:])], rows[np.sort(order[:count])]


def read_idx(recipe, place):
    """Returns the images and labels of the training files of MNIST or Fashion-MNIST, packed or not."""
    arrays = []
    for name, header, shape in (("images-idx3", 16, (-1, 28, 28, 1)), ("labels-idx1", 8, (-1,))):
        ends = [f"{folder}train-{name}-ubyte{end}" for folder in (f"{recipe.dataset}/", "") for end in (".gz", "")]
        path = next((place / end for end in ends if (place / end).is_file()), None)
        if path is None:
            sys.exit(f"no {ends[-1]} in {place}: --data_dir names the directory")
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        arrays.append(np.frombuffer(data, np.uint8, offset=header).reshape(shape))
    return arrays[0], arrays[1].astype(np.int32)


def read_digits(place):
    """Returns the images, enlarged to 28x28, and labels of scikit-learn's digits.csv.gz."""
    path = place / "digits.csv.gz"
    if not path.is_file():
        sys.exit(f"no {path}: --data_dir names the directory of scikit-learn's data")
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
    if [name.lower() for name in names] == ["cat", "dog"]:
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
        sys.exit(f"no CLASS/*.jpg in {place}: --data_dir names the folder or the zip file")
    return sorted(files, key=lambda file: file[:2])


def natural(name):
    """Returns what to sort by so that 2.jpg comes before 10.jpg."""
    return [int(p) if i % 2 else p.lower() for i, p in enumerate(re.split("([0-9]+)", name))], name


# The trained trunk


def features(recipe, images, path):
    """Returns what the frozen trunk says of each training picture, changed once: [N, H', W', C'] float32."""
    weights, stats = read_trunk(path)
    folded = inception_v3.fold(weights, stats)
    forward = tf.function(make_forward(trunk_recipe(recipe)), autograph=False)
    if recipe.augment.changes:
        drawn = augment.draw(recipe.seed, 0, len(images))
    found = []
    for chunk in range(0, len(images), 500):
        part = images[chunk : chunk + 500]
        if recipe.augment.changes:
            part = augment.apply(recipe.augment, part, drawn[chunk : chunk + 500]).numpy()
        for start in range(0, len(part), 50):
            few = part[start : start + 50]
            fill = min(50, len(part)) - len(few)
            padded = np.concatenate([few, np.repeat(few[:1], fill, axis=0)]) if fill else few
            y, _ = forward(folded, {}, tf.convert_to_tensor(padded), training=False)
            found.append(y.numpy()[: len(few)])
    return np.concatenate(found)


def read_trunk(path):
    """Returns weights and stats of a trunk, trees of arrays, of a safetensors file: a header in JSON, then numbers."""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    arrays = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if "/trunk/" in name:
            first, last = entry["data_offsets"]
            raw = data[8 + length + first : 8 + length + last]
            arrays[name.replace("/trunk/", "/")] = np.frombuffer(raw, np.float32).reshape(entry["shape"])
    nested = tree.unflatten(arrays)
    return nested["weights"], nested["stats"]


def head_of(recipe):
    """Returns the recipe of the head alone, which reads features."""
    return dataclasses.replace(recipe, model=recipe.model.head, augment=Augment(), precision="float32")


def trunk_recipe(recipe):
    """Returns the recipe of the trunk alone."""
    return dataclasses.replace(recipe, model=recipe.model.trunk)
