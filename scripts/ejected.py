"""The program that `eject.py` makes plain: a recipe's training, from the files of its set to a loss for each epoch.

It runs on tfcore as it is; the package `specialise` writes it out, with all functions that it calls, for one recipe.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
from ejected_data import default_place, training_part

from tfcore import losses, models, tree
from tfcore.data import augment
from tfcore.data.augment import Augment
from tfcore.data.order import batch_indices, passes, preprocess
from tfcore.init import fold_in
from tfcore.models import cnn, inception_v3, mixer, mlp, transfer
from tfcore.quiet import tf
from tfcore.recipes import stages
from tfcore.recipes.assemble import make_forward, make_optimizer


def main(recipe):
    """Trains, and prints the mean loss of each epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_dir", type=Path, default=default_place(recipe), help="where the set's files are")
    parser.add_argument("--epochs", type=int, default=recipe.epochs, help="passes over the training part")
    if isinstance(recipe.model, transfer.Config):
        parser.add_argument("--weights", required=True, help="an export whose network has this trunk, .safetensors")
    arguments = parser.parse_args()
    images, labels = training_part(recipe, arguments.data_dir.expanduser())
    if is_whole(recipe):
        train(recipe, images, labels, arguments.epochs, arguments.weights)
    elif isinstance(recipe.model, transfer.Config):
        if recipe.augment.changes and recipe.augment_copies > 1:
            labels = np.concatenate([labels] * recipe.augment_copies)
        train(head_of(recipe), features(recipe, images, arguments.weights), labels, arguments.epochs)
    else:
        train(recipe, images, labels, arguments.epochs)


def train(recipe, images, labels, epochs, trunk=None):
    """Takes `epochs` passes over the examples and prints the mean loss of each."""
    network, loss_of = models.module_of(recipe.model), losses.LOSSES[recipe.loss]
    seed, step = tf.constant(words_of(recipe.seed)), tf.Variable(0, dtype=tf.int64)
    if is_whole(recipe):
        weights, stats = from_trunk(recipe, fold_in(seed, "init"), trunk)
        learned = tree.select(weights, network.learns(recipe.model))
    else:
        weights, stats = network.init(fold_in(seed, "init"), recipe.model)
        learned = weights
    examples = len(labels) // copies_of(recipe)
    init_slots, update = make_optimizer(recipe, examples)
    slots = init_slots(learned)

    def train_step(images, labels):
        """Takes one step; returns its loss."""
        with tf.GradientTape() as tape:
            if is_whole(recipe):
                tape.watch(tf.nest.flatten(learned))
            dtype = tf.as_dtype(recipe.precision)
            if recipe.precision != "float32":
                read = tf.nest.map_structure(lambda w: tf.cast(w, dtype), weights)
            else:
                read = weights
            x = preprocess(images, scale=recipe.scale, offset=recipe.offset, dtype=dtype)
            logits, new_stats = network.forward(recipe.model, read, stats, x, training=True, seed=fold_in(seed, step))
            if recipe.precision != "float32":
                logits = tf.cast(logits, tf.float32)
            loss = tf.reduce_mean(loss_of(logits, labels))
            if recipe.label_smoothing:
                smoothed = tf.reduce_mean(loss_of(logits, labels, label_smoothing=recipe.label_smoothing))
        update(learned, tape.gradient(smoothed if recipe.label_smoothing else loss, learned), slots, step)
        if measures(recipe.model):
            tree.assign(stats, new_stats)
        step.assign_add(1)
        return loss

    @tf.function(autograph=False, **compiler(recipe))
    def take_steps(images, labels, count):
        """Takes `count` steps, each on a row of images [k, batch_size, H, W, C]; returns the sum of the losses."""
        take = lambda i, total: (i + 1, total + train_step(images[i], labels[i]))  # noqa: E731
        return tf.while_loop(lambda i, total: i < count, take, (0, 0.0))[1]

    @tf.function(autograph=False)
    def take_changed(images, labels, count, draws):
        """Takes steps on images that are changed as drawn."""
        flat = tf.reshape(images, [-1, *images.shape[2:]])
        flat = augment.apply(recipe.augment, flat, tf.reshape(draws, [flat.shape[0], -1]))
        return take_steps(tf.reshape(flat, images.shape), labels, count)

    for epoch in range(epochs):
        if recipe.steps_per_epoch:  # a part of a pass, or several
            steps = recipe.steps_per_epoch
            numbers = passes(epoch, len(labels), recipe.batch_size, steps)
            orders = [batch_indices(recipe.seed, number, len(labels), recipe.batch_size) for number in numbers]
            rows = np.concatenate(orders)[:steps]
            if recipe.augment.changes:
                pairs = zip(numbers, orders)
                drawn = [tf.gather(augment.draw(seed, number, len(labels)), order) for number, order in pairs]
                drawn = np.concatenate(drawn)[:steps]
        else:
            rows = batch_indices(recipe.seed, epoch, len(labels), recipe.batch_size)
            if copies_of(recipe) > 1:  # as many steps as there are pictures for
                rows = rows[: examples // recipe.batch_size]
            if recipe.augment.changes:
                drawn = tf.gather(augment.draw(seed, epoch, len(labels)), rows).numpy()
        size, total = min(recipe.steps_per_loop, len(rows)), 0.0
        for start in range(0, len(rows), size):
            part = np.resize(rows[start:], [size, recipe.batch_size])  # one shape: one trace
            if recipe.augment.changes:
                count = tf.constant(min(size, len(rows) - start))
                changes = np.resize(drawn[start:], [*part.shape, drawn.shape[-1]])
                total += float(take_changed(images[part], labels[part], count, changes))
            else:
                total += float(take_steps(images[part], labels[part], tf.constant(min(size, len(rows) - start))))
        print(f"epoch {epoch + 1}  loss {total / len(rows)!r}", flush=True)


# The trained trunk


def features(recipe, images, path):
    """Returns what the frozen trunk says of each training picture, changed once: [N, H', W', C'] float32."""
    weights, stats = read_trunk(path)
    folded = inception_v3.fold(weights, stats)
    forward = tf.function(make_forward(trunk_recipe(recipe)), autograph=False)
    if recipe.augment.changes:
        images = np.concatenate([changed(recipe, images, copy) for copy in range(recipe.augment_copies)])
    found = []
    for chunk in range(0, len(images), 500):
        part = images[chunk : chunk + 500]
        for start in range(0, len(part), 50):
            few = part[start : start + 50]
            fill = min(50, len(part)) - len(few)
            padded = np.concatenate([few, np.repeat(few[:1], fill, axis=0)]) if fill else few
            y, _ = forward(folded, {}, tf.convert_to_tensor(padded), training=False)
            found.append(y.numpy()[: len(few)])
    return np.concatenate(found)


def changed(recipe, images, epoch):
    """Returns the pictures, [N, H, W, C] uint8, changed as an epoch draws it."""
    drawn, parts = augment.draw(tf.constant(words_of(recipe.seed)), epoch, len(images)), range(0, len(images), 500)
    return np.concatenate([augment.apply(recipe.augment, images[i : i + 500], drawn[i : i + 500]) for i in parts])


def from_trunk(recipe, seed, path):
    """Returns the weights of a trained trunk and a new head, and the trunk's stats: variables."""
    trunk, stats = read_trunk(path)
    head, _ = mlp.init(seed, recipe.model.head)
    return {"trunk": tree.variables(trunk), "head": head}, {"trunk": tree.variables(stats)}


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


# What is known of a recipe


def words_of(seed):
    """Returns a seed as two 32-bit integers, as `as_seed` does."""
    return np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32).view(np.int32).tolist()


def is_whole(recipe):
    """True where a trained trunk and its head are trained as one network."""
    return isinstance(recipe.model, transfer.Config) and not stages.runs_once(recipe)


def copies_of(recipe):
    """Returns how often each picture is in what a head is trained on; an epoch is a pass over the pictures."""
    return 1 if recipe.steps_per_epoch or is_whole(recipe) else recipe.augment_copies


def compiler(recipe):
    """Returns the options of `tf.function` for the loop."""
    return {"jit_compile": True} if recipe.jit else {}


def measures(model):
    """True for a network that has stats."""
    return isinstance(model, mixer.Config) or (
        isinstance(model, cnn.Config) and (model.batch_norm or model.hidden_norm)
    )


def head_of(recipe):
    """Returns the recipe of the head alone, which reads features."""
    copies = recipe.augment_copies if recipe.augment.changes else 1
    return dataclasses.replace(
        recipe, model=recipe.model.head, augment=Augment(), augment_copies=copies, precision="float32"
    )


def trunk_recipe(recipe):
    """Returns the recipe of the trunk alone."""
    return dataclasses.replace(recipe, model=recipe.model.trunk)
