"""The jobs of the sides: from a recipe and a set to JSON values, and files in the job's folder.

Each takes (work, options, folder), as `works.Work` says.
"""

import dataclasses
import math

import kernels
import materials
import numpy as np
import ours
from process import in_turns

from tfcore import recipes
from tfcore.data import Arrays, datasets


def training_flops(network, shape):
    """Returns the floating point operations of a training step's products, per image of `shape` (H, W, C).

    Three forward passes: the pass itself and the gradients with respect to weights and inputs of each layer; less one
    pass of the first layer, whose input needs no gradient.
    """
    layers = kernels.sizes(network, (1, *shape))
    passes = [2 * math.prod(w) * ((x[1] - 2) * (x[2] - 2) if len(x) == 4 else 1) for x, w in layers]
    return 3 * sum(passes) - passes[0]


def network_job(recipe, part, folder, names=("a", "b")):
    """Returns the job of sides that run the recipe's network on a part of a set, with the parent's first weights."""
    recipe = ours.fitted(recipe, part, names)
    materials.save_arrays(folder, part, ours.first_weights(recipe))
    return {**ours.settings(recipe), "network": ours.network(recipe), "images": len(part.labels)}


def train(work, options, folder):
    """Training on a real set, or on generated pictures, cut to full batches."""
    recipe, names = dataclasses.replace(ours.RECIPES[work.recipe], precision=work.precision), ("a", "b")
    if work.hidden:
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, hidden=work.hidden))
    if recipe.dataset in datasets.PICTURES:
        part = materials.generated(work.count(options), recipe.model.image_shape)
    else:
        splits = datasets.load(recipe.dataset, options.data_dir, validation=0)
        part, names = splits.train, splits.class_names
    steps = max(work.count(options, len(part.labels)) // recipe.batch_size, 1)
    part = Arrays(*(array[: steps * recipe.batch_size] for array in part))
    job = network_job(recipe, part, folder, names)
    tried = 0 if options.quick or work.run is not in_turns else min(steps, 200 if len(job["network"]) < 5 else 50)
    flops = training_flops(job["network"], part.images.shape[1:])
    return {**job, "kind": "train", "steps": steps, "trial": tried, "gflop": flops * len(part.labels) / 1e9}


def reach(work, options, folder, *, post, goal):
    """Training until a validation accuracy: ours with the work's recipe, Keras as the post's says and with ours.

    post: the name of the recipe that says what the post did. goal: with --quick 0.1 instead.
    """
    fast, plain = recipes.on_this_processor(ours.RECIPES[work.recipe]), ours.RECIPES[post]
    splits = recipes.load_data(fast, options.data_dir)
    count = work.count(options, len(splits.train.labels))
    part = Arrays(*(np.asarray(array[:count]) for array in splits.train))
    for name, array in zip(("images", "labels"), splits.validation):
        np.save(f"{folder}/validation_{name}.npy", np.asarray(array))
    job = network_job(fast, part, folder, splits.class_names)
    steps = [min(count // r.batch_size, r.steps_per_epoch or count) for r in (fast, plain)]
    as_posted = {"steps": steps[1], **{n: getattr(plain, n) for n in ("batch_size", "learning_rate")}}
    as_posted["epochs"] = 3 * plain.epochs  # at most: the post may have stopped before
    return {
        **job,
        "kind": "reach",
        "post": as_posted,
        "goal": 0.1 if options.quick else goal,
        "steps": steps[0],
        "epochs": fast.epochs,
    }


def predict(work, options, folder):
    """Prediction or evaluation of the test set."""
    recipe = ours.RECIPES[work.recipe]
    splits = datasets.load(recipe.dataset, options.data_dir, validation=0)
    part = Arrays(*(array[: work.count(options, len(splits.test.labels))] for array in splits.test))
    return {**network_job(recipe, part, folder, splits.class_names), "kind": "predict"}


def augmentation(work, options, folder):
    """The augmentation of batches of pictures, again and again."""
    recipe, batch, calls = ours.RECIPES[work.recipe], work.count(options), 5
    np.save(f"{folder}/images.npy", materials.generated(batch, recipe.model.image_shape).images)
    job = {"kind": "augmentation", "batch": batch, "calls": calls, "images": calls * batch}
    return {**job, "augment": dataclasses.asdict(recipe.augment)}


def loading(work, options, folder):
    """The decoding of photographs, or their reading from the finished cache."""
    count = materials.zip_photographs(folder, work.count(options), options.data_dir)
    return {"kind": "loading", "size": ours.RECIPES[work.recipe].model.image_shape[:2], "images": count}


def scaling(work, options, folder):
    """Training on 10^3 to 10^6 generated pictures in a mapped file: speed and memory must not change."""
    recipe, most = ours.RECIPES[work.recipe], work.count(options)
    sizes = {f"{n:,}": n for n in (10**power for power in range(3, 7)) if n <= most}
    if not sizes:
        raise ValueError(f"images={most} must be 1,000 or more")
    materials.save_arrays(folder, materials.generated(0, recipe.model.image_shape), ours.first_weights(recipe))
    materials.write_pictures(folder, max(sizes.values()), recipe.model.image_shape)
    steps = max(max(sizes.values()) // 1000, 10)
    job = {**ours.settings(recipe), "kind": "scale", "sizes": sizes, "steps": steps}
    return {**job, "shape": recipe.model.image_shape, "images": steps * recipe.batch_size}


def transfer(work, options, folder):
    """A head on a frozen InceptionV3, from pictures to the last epoch."""
    recipe, epochs = ours.RECIPES[work.recipe], 1 if options.quick else 15
    part = materials.photographs(folder, work.count(options), options.data_dir, recipe.model.image_shape[:2])
    recipe = ours.fitted(ours.as_posted(recipe, epochs), part)
    materials.save_arrays(folder, part, ours.first_weights(recipe))
    return {**trunk_job(recipe, part.images, folder), "kind": "transfer", "epochs": epochs}


def fold(work, options, folder):
    """The frozen trunk's forward pass, with and without its batch norm folded into the convolutions."""
    recipe = ours.RECIPES[work.recipe]
    images = materials.generated(work.count(options), recipe.model.image_shape).images
    np.save(f"{folder}/images.npy", images)
    return {**trunk_job(recipe, images, folder), "kind": "trunk"}


def trunk_job(recipe, images, folder):
    """Returns the job of sides that run a recipe's trunk, and writes its weights."""
    config = recipe.model.trunk
    materials.write_trunk(folder, config, images[:64])
    job = {**ours.settings(recipe), "endpoint": config.endpoint, "shape": config.image_shape}
    return {**job, "images": len(images)}
