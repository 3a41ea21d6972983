"""Times tfcore and Keras on the same work, side by side in one call, and prints the ratios.

python scripts/benchmark.py                                       # all works, 5 rounds
python scripts/benchmark.py --works=mnist_perceptron --rounds=7
python scripts/benchmark.py --quick                               # fewer images, 3 rounds
python scripts/benchmark.py --works=inception_transfer            # takes as long as Keras does

Both sides start from the same weights and see as many images in batches of the same size. They take turns, after a
warm-up that does not count; the figure is the median. The loss after all rounds shows that both learned the same.
Results go to benchmarks.json and into the README's table.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from _command import FLAGS, build, flags, run_dir, start, tf, usage_error

from tfcore import files, keras_h5, recipes, training, transfer, tree
from tfcore.data import Arrays, Splits, augment, batching
from tfcore.init import as_seed, fold_in
from tfcore.models import inception_v3
from tfcore.summaries import flops

ROOT = Path(__file__).parent.parent
RESULTS, README = ROOT / "benchmarks.json", ROOT / "README.md"
BEGIN, END = "<!-- speed: python scripts/benchmark.py -->", "<!-- end of speed -->"

flags.DEFINE_list("works", ["mnist_perceptron", "fashion_cnn", "inception_transfer"], "what to time")
flags.DEFINE_integer("rounds", 5, "counted rounds of each side", lower_bound=1)
flags.DEFINE_boolean("quick", False, "a fifth of the images, 3 rounds, no transfer")
flags.DEFINE_string("data_dir", None, "where the data is; default $TFCORE_DATA_DIR, then the user's cache")
flags.DEFINE_integer("photographs", 2000, "training photographs of inception_transfer", lower_bound=64)
flags.DEFINE_integer("transfer_epochs", 15, "epochs of inception_transfer", lower_bound=1)
flags.DEFINE_enum("trunk_precision", "float32", ["float32", "bfloat16"], "of tfcore's trunk in inception_transfer")


def main(_):
    """Runs every work, prints a line for each and writes the results."""
    works = [name for name in FLAGS.works if not (FLAGS.quick and name == "inception_transfer")]
    unknown = [name for name in works if name not in WORKS]
    if unknown:
        raise usage_error(f"--works={','.join(unknown)}: choose from {', '.join(WORKS)}")
    limit = matmul_limit()
    print(f"matrix products of 2048 x 2048, float32: {limit:.0f} GFLOP/s")
    rows = [WORKS[name](name, limit) for name in works]
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    kept = [row for row in kept if row["work"] not in works] + rows
    files.write_text(RESULTS, json.dumps(kept, indent=1) + "\n")
    write_table(kept)


def matmul_limit(size=2048, repeats=8):
    """Returns the speed of this machine's matrix product, GFLOP/s: the best of a few."""
    product = tf.function(lambda a, b: tf.matmul(a, b))
    a = tf.random.stateless_normal([size, size], [0, 0])
    product(a, a)
    return max(2 * size**3 / timed(lambda: product(a, a).numpy())[0] / 1e9 for _ in range(repeats))


def timed(call):
    """Returns the seconds that call() takes, and what it returns."""
    began = time.perf_counter()
    value = call()
    return time.perf_counter() - began, value


def epochs(name, limit):
    """Times whole training epochs of a recipe. Keras runs `fit` as users write it, on float32 arrays."""
    recipe = recipes.RECIPES[name]
    splits = build.load_data(recipe, FLAGS.data_dir)
    count = (len(splits.train.labels) // (5 if FLAGS.quick else 1)) // recipe.batch_size * recipe.batch_size
    splits = splits._replace(train=Arrays(*(part[:count] for part in splits.train)))
    recipe = build.fit_to_data(recipe, splits)
    weights, stats = recipes.model_of(recipe).init(fold_in(0, "init"), recipe.model)
    sides = {"tfcore": our_epochs(recipe, splits.train, weights, stats), "keras": keras_epochs(recipe, splits, weights)}
    rounds = 3 if FLAGS.quick else FLAGS.rounds
    seconds, losses = {side: [] for side in sides}, {}
    for number in range(rounds + 1):  # the first is the warm-up
        for side, epoch in sides.items():
            taken, losses[side] = timed(epoch)
            seconds[side] += [taken] if number else []
    example = tf.TensorSpec([recipe.batch_size, *recipe.model.image_shape], tf.uint8)
    forward = tf.function(lambda x: build.make_forward(recipe)(weights, stats, x, training=False))
    per_image = flops(forward.get_concrete_function(example), recipe.batch_size)
    row = result(name, "an epoch", {s: statistics.median(t) for s, t in seconds.items()}, losses)
    row["spread"] = {side: [round(min(t), 3), round(max(t), 3)] for side, t in seconds.items()}
    row["images"] = count
    row["share_of_limit"] = round(3 * per_image * count / row["seconds"]["tfcore"] / limit / 1e9, 3)
    print(f"  {row['share_of_limit']:.2f} of the speed of a matrix product, counting 3 forward passes; {row['spread']}")
    return row


def our_epochs(recipe, train, weights, stats):
    """Returns epoch() -> mean loss: what a run does between two validations."""
    optimizer, _ = build.make_optimizer(recipe, 1)
    weights, stats = tree.variables(weights), tree.variables(stats)
    state = training.init_state(weights, stats, optimizer)
    block = build.make_block(recipe, state, optimizer)
    seed, k, n = as_seed(0), recipe.steps_per_loop, len(train.labels)
    draws = tf.zeros([k, recipe.batch_size, 0])
    number = iter(range(10**6))

    def epoch():
        order = batching.batch_indices(0, next(number), n, recipe.batch_size)
        sums = [block(x, y, draws, tf.constant(count), seed) for count, _, x, y in batching.blocks(train, order, k)]
        return sum(float(total["loss"]) for total in sums) / len(order)

    return epoch


def keras_epochs(recipe, splits, weights):
    """Returns epoch() -> mean loss of the same network in Keras, from the same weights."""
    import keras

    shape = recipe.model.image_shape
    layers = [keras.Input(shape)]
    if name_of(recipe) == "mlp":
        layers += [keras.layers.Flatten(), *(keras.layers.Dense(width, "relu") for width in recipe.model.hidden)]
    else:
        for (channels,) in recipe.model.blocks:
            layers += [keras.layers.Conv2D(channels, 3, activation="relu"), keras.layers.MaxPooling2D()]
        layers += [keras.layers.Flatten(), *(keras.layers.Dense(width) for width in recipe.model.hidden)]
    model = keras.Sequential([*layers, keras.layers.Dense(recipe.model.classes)])
    for variable, value in zip(model.trainable_variables, tree.leaves(weights)):
        variable.assign(value.numpy())
    model.compile(
        keras.optimizers.Adam(recipe.learning_rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x, y = splits.train.images.astype(np.float32) / 255, splits.train.labels
    return lambda: model.fit(x, y, batch_size=recipe.batch_size, epochs=1, verbose=0).history["loss"][0]


def name_of(recipe):
    """Returns "mlp" or "cnn"."""
    return recipes.model_of(recipe).__name__.rsplit(".", 1)[1]


def inception_transfer(name, limit):
    """Times a head on a frozen InceptionV3 cut at mixed7, from pictures to the last epoch, once each."""
    recipe = recipes.RECIPES["pets_inception"]
    recipe = dataclasses.replace(recipe, augment=augment.Augment(), steps_per_epoch=0, epochs=FLAGS.transfer_epochs)
    recipe = dataclasses.replace(recipe, train_examples=FLAGS.photographs, precision=FLAGS.trunk_precision)
    splits = build.load_data(recipe, FLAGS.data_dir)
    held = Arrays(*(part[:64] for part in splits.validation))
    splits = Splits(splits.train, held, held, splits.class_names, splits.name)
    trunk = calibrated_trunk(recipe, splits.train.images[:64])
    with tempfile.TemporaryDirectory() as logdir:
        ours, result_of_run = timed(lambda: transfer.train(recipe, logdir, trunk, splits))
    print(f"  tfcore {ours:.1f} s")
    fit = keras_transfer(recipe, trunk)
    x, y = splits.train.images.astype(np.float32) / 255, splits.train.labels
    theirs, history = timed(lambda: fit(x, y, batch_size=recipe.batch_size, epochs=recipe.epochs, verbose=0).history)
    losses = {"tfcore": result_of_run.train["loss"], "keras": history["loss"][-1]}
    row = result(name, f"{recipe.epochs} epochs of {len(y)} photographs", {"tfcore": ours, "keras": theirs}, losses)
    accuracy = {"tfcore": result_of_run.train["accuracy"], "keras": history["accuracy"][-1]}
    return {**row, "train_accuracy": accuracy, "trunk_precision": recipe.precision}


def calibrated_trunk(recipe, images):
    """Returns drawn weights with the batch norm statistics of some pictures, so that the features say something."""
    config = dataclasses.replace(recipe.model.trunk, endpoint="mixed10")
    weights, stats = inception_v3.init(0, config)
    x = batching.preprocess(images, scale=recipe.scale, offset=recipe.offset)
    _, moved = inception_v3.forward(config, weights, stats, x, training=True)
    tree.assign(stats, tree.map(lambda new, old: (new - 0.99 * old) / 0.01, moved, stats))  # batch norm keeps 0.99
    return weights, stats


def keras_transfer(recipe, trunk):
    """Returns the `fit` of the post's network in Keras, with the same frozen trunk."""
    import keras

    config = dataclasses.replace(recipe.model.trunk, endpoint="mixed10")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/trunk.h5"
        keras_h5.write_keras_h5(path, *trunk, config)
        base = keras.applications.InceptionV3(
            include_top=False, weights=path, input_shape=recipe.model.image_shape, name="trunk"
        )
    base.trainable = False
    x = keras.layers.Flatten()(base.get_layer(recipe.model.trunk.endpoint).output)
    x = keras.layers.Dropout(0.2)(keras.layers.Dense(1024, "relu")(x))
    model = keras.Model(base.input, keras.layers.Dense(1, "sigmoid")(x))
    model.compile(keras.optimizers.Adam(recipe.learning_rate), "binary_crossentropy", metrics=["accuracy"])
    return model.fit


def result(work, unit, seconds, losses):
    """Returns a row of benchmarks.json, and prints it."""
    ratio = seconds["keras"] / seconds["tfcore"]
    print(
        f"{work}, {unit}: tfcore {seconds['tfcore']:.3f} s, Keras fit {seconds['keras']:.3f} s, {ratio:.2f}x;"
        f" loss {losses['tfcore']:.4f} and {losses['keras']:.4f}",
        flush=True,
    )
    seconds = {side: round(value, 3) for side, value in seconds.items()}
    losses = {side: round(value, 4) for side, value in losses.items()}
    machine = run_dir.environment()["machine"]
    return {
        "work": work,
        "unit": unit,
        "seconds": seconds,
        "ratio": round(ratio, 2),
        "loss": losses,
        "machine": machine,
    }


def write_table(rows):
    """Puts the table between its two marks in the README."""
    lines = ["| work | tfcore | Keras `fit` | ratio | loss, tfcore and Keras |", "|---|---|---|---|---|"]
    for row in rows:
        seconds, loss = row["seconds"], row["loss"]
        lines.append(
            f"| {row['work']}, {row['unit']} | {seconds['tfcore']:.2f} s | {seconds['keras']:.2f} s "
            f"| **{row['ratio']:.2f}x** | {loss['tfcore']:.4f}, {loss['keras']:.4f} |"
        )
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    text = README.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{README} has no place for the table: it wants the lines {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    files.write_text(
        README,
        before + BEGIN + "\n\n" + "\n".join(lines) + f"\n\nMachine: {machines}.\n\n" + END + rest.split(END, 1)[1],
    )


WORKS = {"mnist_perceptron": epochs, "fashion_cnn": epochs, "inception_transfer": inception_transfer}

if __name__ == "__main__":
    start(main)
