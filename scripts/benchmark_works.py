"""What benchmark.py compares: of each work the data, the job of its sides, and the rows that come of it."""

import dataclasses
import tempfile
import zipfile
from pathlib import Path

import benchmark_table
import numpy as np
from benchmark_jobs import (
    Work,
    commands,
    data_of,
    environment,
    generated,
    matmul_limit,
    model_job,
    new_row,
    save_data,
    sides_of,
    training_flops,
)
from benchmark_process import compare

from tfcore import build, recipes, run_dir, tree
from tfcore.data import Arrays, datasets, folders
from tfcore.data.order import preprocess
from tfcore.formats import keras_h5
from tfcore.init import fold_in
from tfcore.models import inception_v3, mlp


def train(name, work, options):
    """Compares epochs of training; with the whole set also the peak memory."""
    part, _, recipe = data_of(recipes.RECIPES[work.recipe], options, work.quick)
    limit, count = matmul_limit(), len(part.labels)
    with model_job("train", recipe, part) as (job, weights, stats):
        raw = sides_of(work, options, job, first="step")
        cost = training_flops(recipe, weights, stats)
    generated = recipe.dataset in datasets.PICTURES
    unit = (
        f"{count // recipe.batch_size} steps of {recipe.batch_size}" if generated else f"an epoch of {count:,} images"
    )
    row = new_row(name, work, unit, raw, images=count)
    if work.share:
        seconds = row["sides"]["tfcore"]["median"]
        row |= {"share": benchmark_table.share(cost, count, seconds, limit), "share_target": work.share}
        row |= {"limit_gflops": limit}
    whole = not (options.quick or options.images)
    return [row, *([memory_row(name, work, row)] if work.memory and whole else [])]


def memory_row(name, work, row):
    """Returns a row about peak memory, of the processes of another row."""
    sides = {
        side: benchmark_table.spread([figures["peak_mb"]])
        for side, figures in row["sides"].items()
        if side in ("tfcore", *work.memory)
    }
    kept = {key: row[key] for key in ("images", "machine", "versions")}
    return {"work": f"{name}_memory", "unit": f"peak memory with {row['images']:,} images", "measure": "MB",
            "sides": sides, "ratios": benchmark_table.ratios(sides), "targets": work.memory, **kept}  # fmt: skip


def predict(name, work, options):
    """Compares prediction or evaluation of the test set."""
    _, part, recipe = data_of(recipes.RECIPES[work.recipe], options, work.quick)
    most = options.images or (work.quick if options.quick else 0) or len(part.labels)
    part = Arrays(*(array[:most] for array in part))
    with model_job("predict", recipe, part) as (job, _, _):
        raw = sides_of(work, options, job)
    return [new_row(name, work, f"{len(part.labels):,} images of {work.recipe}", raw, images=len(part.labels))]


def start(name, work, options):
    """Compares the time from the start of a process to the end of its first step, each time in new processes."""
    part, _, recipe = data_of(recipes.RECIPES[work.recipe], options, work.quick)
    raw, wanted = {}, commands(work, options)
    with model_job("train", recipe, part) as (job, _, _):
        for number in range(options.rounds + 1):  # the first is the warm-up: it reads the libraries from disk
            for side in list(wanted):
                once = compare({side: wanted[side]}, job, "", 0, first="step", warmups=0, report=options.report,
                               environment=environment())  # fmt: skip
                if side not in once:
                    del wanted[side]
                    continue
                first, memory = once[side]["first"], once[side]["memory"]
                answers = raw.setdefault(side, {"first": {}, "rounds": [], "memory": memory})
                answers["rounds"] += [{"seconds": first["since_start"], "loss": first["loss"]}] if number else []
    raw = {side: raw[side] for side in wanted}
    return [new_row(name, work, f"process to first step of {work.recipe}", raw)]


def augmentation(name, work, options):
    """Compares the augmentation of batches of 150 x 150 pictures."""
    recipe = recipes.RECIPES[work.recipe]
    count, calls = options.images or recipe.batch_size, 5
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", generated(count, (150, 150, 3)).images)
        job = {"kind": "augmentation", "folder": folder, "calls": calls}
        raw = sides_of(work, options, {**job, "augment": dataclasses.asdict(recipe.augment)})
    return [new_row(name, work, f"{calls} batches of {count} pictures, 150 x 150", raw, images=calls * count)]


def loading(name, work, options):
    """Compares the decoding of photographs, and times their reading from the finished cache."""
    with tempfile.TemporaryDirectory() as folder:
        count = some_pictures(f"{folder}/pictures.zip", options.images or 4096, options.data_dir)
        job = {"kind": "loading", "folder": folder, "size": [125, 94]}
        raw = sides_of(work, options, job)
        own = dataclasses.replace(work, targets={}, action="cached")
        cached = sides_of(own, options, job)
    unit = f"{count:,} photographs at 125 x 94"
    row = new_row(f"{name}_cached", own, f"{unit}, from the cache", cached, images=count, at_most=0.5)
    return [new_row(name, work, unit, raw, images=count), row]


def some_pictures(path, count, data_dir):
    """Writes a zip with the first pictures of each class of cats_vs_dogs; returns how many there are."""
    entries, names = folders.scan(datasets.find_pictures("cats_vs_dogs", data_dir))
    entries = [entry for entry in entries if entry.size]
    classes = [[e for e in entries if e.label == label] for label in range(len(names))]
    chosen = [entry for members in classes for entry in members[: count // len(names)]]
    with zipfile.ZipFile(path, "w") as archive:
        for entry in chosen:
            archive.writestr(entry.name, folders.read(entry))
    return len(chosen)


def scaling(name, work, options):
    """Trains on 10^3 to 10^6 generated pictures in a mapped file: speed and memory must not change."""
    recipe, largest = recipes.RECIPES[work.recipe], options.images or 10**6
    examples = {f"{n:,}": n for n in (10**power for power in range(3, 7)) if n <= largest}
    if not examples:
        raise ValueError(f"--images={largest} must be 1,000 or more")
    steps = max(max(examples.values()) // 1000, 10)
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), max(examples.values()), recipe.model.image_shape)
        job = {"kind": "scale", "folder": folder, "recipe": recipes.to_dict(recipe), "steps": steps}
        own = commands(work, options)["tfcore"]
        raw = compare(dict.fromkeys(examples, own), {**job, "examples": examples}, "some", options.rounds,
                      report=options.report, environment=environment())  # fmt: skip
    if not raw:
        raise ValueError("no side finished")
    sides = {side: benchmark_table.figures(answers) for side, answers in raw.items()}
    images = steps * recipe.batch_size
    flat = {"images/s": {side: images / figures["median"] for side, figures in sides.items()}}
    flat["MB, not of files"] = {side: figures["anonymous_mb"] for side, figures in sides.items()}
    return [{"work": name, "unit": f"{steps:,} steps of {work.recipe}", "measure": "s", "sides": sides, "flat": flat,
             "flat_target": 0.9, "images": images, "machine": run_dir.environment()["machine"]}]  # fmt: skip


def write_pictures(folder, count, shape):
    """Writes `count` random pictures and labels."""
    rng = np.random.default_rng(0)
    images = np.memmap(folder / "images.u8", np.uint8, "w+", shape=(count, *shape))
    for begin in range(0, count, 10**4):
        images[begin : begin + 10**4] = rng.integers(0, 256, images[begin : begin + 10**4].shape, np.uint8)
    images.flush()
    np.save(folder / "labels.npy", rng.integers(0, 10, count).astype(np.int32))


def transfer_recipe(work, options):
    """Returns the recipe of a head on a frozen InceptionV3 cut at mixed7, without augmentation."""
    recipe = recipes.RECIPES[work.recipe]
    return dataclasses.replace(
        recipe, augment=type(recipe.augment)(), steps_per_epoch=0, epochs=options.transfer_epochs,
        train_examples=options.photographs, precision=options.trunk_precision,
    )  # fmt: skip


def transfer(name, work, options):
    """Trains a head on a frozen InceptionV3, from pictures to the last epoch, once on each side."""
    recipe = transfer_recipe(work, options)
    splits = build.load_data(recipe, options.data_dir)
    recipe, part = build.fit_to_data(recipe, splits), Arrays(*(np.asarray(array) for array in splits.train))
    head, _ = mlp.init(fold_in(recipe.seed, "init"), recipe.model.head)  # as `tfcore.run` draws it
    with tempfile.TemporaryDirectory() as folder:
        save_data(folder, part, head)
        write_trunk(f"{folder}/trunk.h5", recipe, part.images[:64])
        job = {"kind": "transfer", "folder": folder, "recipe": recipes.to_dict(recipe), "loss": "sigmoid",
               "scale": recipe.scale, "learning_rate": recipe.learning_rate, "batch_size": recipe.batch_size,
               "epochs": recipe.epochs, "endpoint": recipe.model.trunk.endpoint,
               "shape": recipe.model.image_shape}  # fmt: skip
        raw = sides_of(work, options, job, rounds=1, warmups=0)
    unit = f"{recipe.epochs} epochs of {len(part.labels):,} photographs"
    seen = recipe.epochs * len(part.labels)
    return [new_row(name, work, unit, raw, images=seen, trunk_precision=recipe.precision)]


def fold(name, work, options):
    """Compares the frozen trunk's forward pass with and without its batch norm folded into the convolutions."""
    recipe, count = transfer_recipe(work, options), options.images or 100
    images = generated(count, recipe.model.image_shape).images
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", images)
        write_trunk(f"{folder}/trunk.h5", recipe, images[:32])
        job = {"kind": "trunk", "folder": folder, "recipe": recipes.to_dict(recipe)}
        raw = sides_of(work, options, job)
    return [new_row(name, work, f"{count} pictures to mixed7", raw, images=count, trunk_precision=recipe.precision)]


def write_trunk(path, recipe, images):
    """Writes drawn weights with the batch norm statistics of some pictures, so that the features say something."""
    config = dataclasses.replace(recipe.model.trunk, endpoint="mixed10")
    weights, stats = inception_v3.init(0, config)
    x = preprocess(images, scale=recipe.scale, offset=recipe.offset)
    _, moved = inception_v3.forward(config, weights, stats, x, training=True)
    tree.assign(stats, tree.map(lambda new, old: (new - 0.99 * old) / 0.01, moved, stats))  # batch norm keeps 0.99
    keras_h5.write_keras_h5(path, weights, stats, config)


WORKS = {
    "mnist_perceptron": Work(
        train, "mnist_perceptron", {"keras": 6.5, "keras_jit": 3.5, "torch": 2.5, "jax": 1.25}, share=0.85, quick=12000
    ),
    "fashion_cnn": Work(
        train,
        "fashion_cnn",
        {"keras": 2.0, "torch": 2.5, "jax": 6.5},
        share=0.85,
        memory={"keras": 2.0},
        quick=1920,
        slow=("jax",),
    ),
    "pets_cnn128": Work(train, "pets_cnn128", {"keras": 1.4}, share=0.85),
    "prediction": Work(
        predict, "fashion_cnn", {"keras": 1.5}, action="predict", check="mean absolute logit", quick=5000
    ),
    "evaluation": Work(predict, "fashion_cnn", {"keras": 1.5}, action="evaluate"),
    "start_perceptron": Work(start, "mnist_perceptron", {"keras": 1.0}),
    "start_cnn": Work(start, "fashion_cnn", {"keras": 1.0}),
    "augmentation": Work(augmentation, "pets_best", {"keras": 3.0}, action="batches", check="mean pixel", quick=64),
    "loading": Work(loading, "pets_cnn128", {"pillow": 3.0}, action="decode", check="mean pixel"),
    "scaling": Work(scaling, "mnist_perceptron", {}),
    "inception_fold": Work(fold, "pets_inception", {"unfolded": None}, action="forward", check="mean feature"),
    "inception_transfer": Work(transfer, "pets_inception", {"keras": 8.0}, action="fit", tolerance=0.3),
}
