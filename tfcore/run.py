"""A recipe, its data, the loop and its logs make a run; what the scripts call."""

import contextlib
import dataclasses
import functools
import json
import os
import platform
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfcore import checkpoint, files, losses, metrics as measures, optimizers, plots, recipes, schedules, tree
from tfcore import training
from tfcore.data import augment, batching, datasets
from tfcore.init import as_seed, fold_in
from tfcore.summaries import Board, config_text, flops, parameter_table

LOSSES = {
    "softmax_cross_entropy": losses.softmax_cross_entropy,
    "sigmoid_cross_entropy": losses.sigmoid_cross_entropy,
    "sigmoid_mse": losses.sigmoid_mse,
}
MAY_CHANGE = ("epochs", "steps_per_loop", "patience")  # on resuming: they do not alter the steps already taken


class Result(NamedTuple):
    """What a finished run gives: its directory, measures as numbers, epochs taken and seconds of training."""

    run_dir: Path
    train: dict
    validation: dict
    test: dict
    epochs: int
    seconds: float


class Stopped(KeyboardInterrupt):
    """A run that was asked to stop and saved a checkpoint; `signum` says by which signal."""

    def __init__(self, signum, path):
        super().__init__(f"stopped by {signal.Signals(signum).name}, saved {path}: the same command goes on from there")
        self.signum = signum


def make_optimizer(recipe, steps_per_epoch):
    """Returns the recipe's optimizer with its schedule, clipping and average, and the learning rate it uses."""
    rate = recipe.learning_rate
    if recipe.schedule == "cosine" or recipe.warmup_epochs:
        total, warmup = recipe.epochs * steps_per_epoch, int(recipe.warmup_epochs * steps_per_epoch)
        final = 0.0 if recipe.schedule == "cosine" else rate
        rate = schedules.cosine(rate, total, warmup_steps=warmup, final=final)
    makers = {
        "sgd": optimizers.sgd,
        "momentum": optimizers.momentum,
        "nesterov": functools.partial(optimizers.momentum, nesterov=True),
        "rmsprop": optimizers.rmsprop,
        "adam": optimizers.adam,
        "adamw": functools.partial(optimizers.adamw, weight_decay=recipe.weight_decay),
    }
    optimizer = makers[recipe.optimizer](rate)
    if recipe.clip_norm:
        optimizer = optimizers.clipped(optimizer, recipe.clip_norm)
    if recipe.ema_decay:
        optimizer = optimizers.averaged(optimizer, recipe.ema_decay)
    return optimizer, rate


def make_forward(recipe):
    """Returns forward(weights, stats, images, *, training, seed=None) -> logits float32, new_stats; images as stored."""
    model, dtype = recipes.model_of(recipe), tf.as_dtype(recipe.precision)

    def forward(weights, stats, images, *, training, seed=None):
        x = batching.preprocess(images, scale=recipe.scale, dtype=dtype)
        weights = tree.map(lambda w: tf.cast(w, dtype), weights)
        logits, new_stats = model.forward(recipe.model, weights, stats, x, training=training, seed=seed)
        return tf.cast(logits, tf.float32), new_stats

    return forward


def make_loss(recipe):
    """Returns the recipe's loss: (logits, labels) -> [N]."""
    if recipe.label_smoothing:
        return functools.partial(LOSSES[recipe.loss], label_smoothing=recipe.label_smoothing)
    return LOSSES[recipe.loss]


def make_loss_fn(recipe):
    """Returns loss_fn(weights, stats, (images, labels), seed) -> loss, (metrics, new_stats), as `train_step` takes it."""
    forward, loss = make_forward(recipe), make_loss(recipe)

    def loss_fn(weights, stats, batch, seed):
        images, labels = batch
        logits, new_stats = forward(weights, stats, images, training=True, seed=seed)
        return tf.reduce_mean(loss(logits, labels)), ({"accuracy": measures.accuracy(logits, labels)}, new_stats)

    return loss_fn


def make_predict(recipe):
    """Returns predict(weights, stats, images) -> logits [N, C] in NumPy; images uint8 as stored. Traced once."""
    forward = tf.function(functools.partial(make_forward(recipe), training=False), jit_compile=recipe.jit or None)
    bound = lambda weights, stats, x, training: forward(weights, stats, x)  # noqa: E731
    return functools.partial(training.predict, bound, preprocess=tf.convert_to_tensor)


def make_block(recipe, state, optimizer):
    """Returns run_block(images, labels, indices, draws, count, seed) -> sums of the metrics over `count` steps.

    It gathers the rows `indices` [k, batch_size] from arrays that live on the device as uint8, augments them as
    `draws` say, and takes a step for each of the first `count` rows. With `recipe.jit` the loop is compiled.
    """
    loss_fn = make_loss_fn(recipe)

    def loop(block, count, seed):
        return training.train_loop(state, block, count, seed, loss_fn=loss_fn, optimizer=optimizer)

    loop = tf.function(loop, jit_compile=True, autograph=False) if recipe.jit else loop
    augments = recipe.augment.moves or recipe.augment.tones

    def run_block(images, labels, indices, draws, count, seed):
        rows = tf.reshape(indices, [-1])
        x = tf.gather(images, rows)
        if augments:
            x = augment.apply(recipe.augment, x, draws)
        x = tf.reshape(x, [*indices.shape, *images.shape[1:]])
        return loop((x, tf.reshape(tf.gather(labels, rows), indices.shape)), count, seed)

    return training.traced_once(run_block)


def averaged_weights(recipe, state):
    """Returns the weights to evaluate: the moving average where the recipe keeps one."""
    return tree.merge(state.weights, state.slots["average"]) if recipe.ema_decay else state.weights


def fit_to_data(recipe, splits):
    """Returns the recipe with its network's input and output made to fit the data.

    Raises:
      ValueError: labels lie outside the classes, or a sigmoid loss meets more than two classes.
    """
    count = len(splits.class_names)
    for part in (splits.train, splits.validation, splits.test):
        if len(part.labels) and not 0 <= part.labels.min() <= part.labels.max() < count:
            raise ValueError(f"labels {part.labels.min()} to {part.labels.max()}, but {count} classes")
    if recipe.loss.startswith("sigmoid") and count != 2:
        raise ValueError(f"{recipe.loss} tells two classes apart, {splits.name} has {count}: use softmax_cross_entropy")
    classes = 1 if recipe.loss.startswith("sigmoid") else count
    shape = tuple(splits.train.images.shape[1:])
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, image_shape=shape, classes=classes))


def train(recipe, logdir, *, data_dir=None, clean=False, histograms=False, splits=None):
    """Runs `recipe` in the run directory `logdir`, or goes on where an earlier call stopped.

    Args:
      data_dir: where the files of the recipe's set are; None as in `tfcore.data.load`.
      clean: forget what is in `logdir` and start over.
      histograms: write histograms of weights each epoch.
      splits: the data itself, instead of loading `recipe.dataset`.
    Returns: a Result.
    Raises:
      ValueError: the recipe does not fit the data, or not what `logdir` holds.
      OSError: `logdir` cannot be written or is in use.
      FloatingPointError: loss or gradients stopped being finite; the last good checkpoint is kept.
      Stopped: Ctrl-C or SIGTERM, after a checkpoint.
    """
    logdir = Path(logdir)
    logdir.mkdir(parents=True, exist_ok=True)
    with files.locked(logdir):
        files.remove_leftovers(logdir)
        if splits is None:
            splits = datasets.load(recipe.dataset, data_dir, validation=recipe.validation, seed=recipe.seed)
        recipe = fit_to_data(dataclasses.replace(recipe, dataset=splits.name), splits)
        if clean:
            _forget(logdir)
        _claim(logdir, recipe)
        return _Run(recipe, logdir, splits, histograms).finish()


class _Run:
    """One run under way: the state, the compiled block, the position in the data, and the logs."""

    def __init__(self, recipe, logdir, splits, histograms):
        self.recipe, self.logdir, self.splits, self.histograms = recipe, logdir, splits, histograms
        n = len(splits.train.labels)
        self.steps = len(batching.batch_indices(recipe.seed, 0, n, recipe.batch_size))
        self.steps = min(self.steps, recipe.steps_per_epoch or self.steps)
        self.optimizer, self.rate = make_optimizer(recipe, self.steps)
        weights, stats = recipes.model_of(recipe).init(fold_in(recipe.seed, "init"), recipe.model)
        self.state = training.init_state(weights, stats, self.optimizer)
        self.block = make_block(recipe, self.state, self.optimizer)
        self.predict = make_predict(recipe)
        self.seed = as_seed(recipe.seed)
        self.meta = {"epoch": 0, "sums": {}, "seconds": 0.0, "best": None, "stale": 0}
        self.board = Board(logdir)

    def finish(self):
        """Trains to the last epoch, tests once, and returns the Result."""
        done = self.logdir / "result.json"
        self._resume()
        if done.exists() and json.loads(done.read_text())["epochs"] >= self._last_epoch():
            print(f"{self.logdir} is complete; --clean starts over, more --epochs go on")
            return _result(self.logdir)
        self._introduce()
        with _stop_signals() as stop:
            while self.meta["epoch"] < self._last_epoch():
                self._epoch(stop)
        self._test()
        return _result(self.logdir)

    def _last_epoch(self):
        """Returns the epoch to end with: earlier than planned when patience has run out."""
        patience = self.recipe.patience
        return self.meta["epoch"] if patience and self.meta["stale"] >= patience else self.recipe.epochs

    def _resume(self):
        directory = self.logdir / "checkpoints"
        path = checkpoint.latest(directory) if directory.exists() else None
        if path is None:
            _truncate(self.logdir / "metrics.jsonl", 0)
            return
        files.remove_leftovers(directory)
        self.meta = checkpoint.restore(path, self.state)
        _truncate(self.logdir / "metrics.jsonl", self.meta["epoch"])
        print(f"resumed from {path}: epoch {self.meta['epoch']} of {self.recipe.epochs}, step {int(self.state.step)}")

    def _introduce(self):
        """Prints and logs what is about to be trained, on what."""
        recipe, splits = self.recipe, self.splits
        counts = [len(part.labels) for part in (splits.train, splits.validation, splits.test)]
        print("{}: {:,} training, {:,} validation, {:,} test images, {}".format(splits.name, *counts, _classes(splits)))
        forward = tf.function(functools.partial(make_forward(recipe), training=False))
        example = tf.TensorSpec([recipe.batch_size, *splits.train.images.shape[1:]], splits.train.images.dtype)
        concrete = forward.get_concrete_function(self.state.weights, self.state.stats, example)
        print(parameter_table(self.state.weights, self.state.stats, flops(concrete, recipe.batch_size)))
        if not int(self.state.step):
            self.board.graph(concrete)
            self.board.text("configuration", config_text(recipes.to_dict(recipe)))
        self.arrays = tf.constant(splits.train.images), tf.constant(splits.train.labels)

    def _epoch(self, stop):
        """Trains from the current position to the end of the epoch, then validates, logs and saves."""
        recipe, epoch = self.recipe, self.meta["epoch"]
        n = len(self.splits.train.labels)
        order = batching.batch_indices(recipe.seed, epoch, n, recipe.batch_size)[: self.steps]
        draws = augment.draw(recipe.augment, recipe.seed, epoch, n)
        position = int(self.state.step) - epoch * self.steps
        label = f"epoch {epoch + 1:>{len(str(recipe.epochs))}}/{recipe.epochs}"
        bar = tqdm(total=self.steps * recipe.batch_size, initial=position * recipe.batch_size, desc=label,
                   unit=" images", unit_scale=True, leave=False, disable=not sys.stderr.isatty())  # fmt: skip
        with bar:
            for start in range(position, self.steps, recipe.steps_per_loop):
                began = time.perf_counter()
                taken = self._take_block(order[start : start + recipe.steps_per_loop], draws)
                self.meta["seconds"] += time.perf_counter() - began
                bar.update(taken * recipe.batch_size)
                bar.set_postfix({name: f"{total / (start + taken):.4f}" for name, total in self._shown().items()})
                self._stop_if_asked(stop)
        self._end_of_epoch(label)
        self._stop_if_asked(stop)

    def _shown(self):
        return {name: self.meta["sums"][name] for name in ("loss", "accuracy")}

    def _take_block(self, rows, draws):
        """Takes one step per row of indices; returns how many. Adds the metrics to the sums of the epoch."""
        k, count = self.recipe.steps_per_loop, len(rows)
        padded = np.concatenate([rows, np.repeat(rows[:1], k - count, axis=0)])
        chosen = tf.gather(draws, padded.reshape(-1))
        before = int(self.state.step)
        sums = self.block(*self.arrays, tf.constant(padded), chosen, tf.constant(count), self.seed)
        taken = int(self.state.step) - before
        if taken < count:
            self._explain(rows[taken], tf.gather(draws, rows[taken]))
        sums = {name: float(value) for name, value in sums.items()}
        self.meta["sums"] = {name: self.meta["sums"].get(name, 0.0) + value for name, value in sums.items()}
        means = {name: value / count for name, value in sums.items()}
        rate = float(optimizers.rate_at(self.rate, self.state.step - 1))
        self.board.scalars("train", {**means, "learning_rate": rate}, int(self.state.step))
        return taken

    def _explain(self, row, draws):
        """Takes the step that was not finite once more, eagerly: it names what is not finite."""
        images, labels = (tf.gather(array, row) for array in self.arrays)
        images = augment.apply(self.recipe.augment, images, draws)
        where = f"the last good checkpoint in {self.logdir / 'checkpoints'} is kept"
        try:
            training.train_step(
                self.state, (images, labels), self.seed, loss_fn=make_loss_fn(self.recipe), optimizer=self.optimizer
            )
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {where}") from None
        raise FloatingPointError(f"step {int(self.state.step) - 1}: loss or gradients overflowed; {where}")

    def _stop_if_asked(self, stop):
        if stop:
            path = checkpoint.save(self.logdir / "checkpoints", self.state, self.meta)
            self.board.flush()
            raise Stopped(stop[0], path)

    def _end_of_epoch(self, label):
        """Validates, decides what is best, logs, prints a line and saves."""
        recipe, meta = self.recipe, self.meta
        epoch, images = meta["epoch"] + 1, self.steps * recipe.batch_size
        train = {name: total / self.steps for name, total in meta["sums"].items()}
        validation = self._evaluate(self.splits.validation)
        speed = images / max(meta["seconds"], 1e-9)
        best = meta["best"] is None or validation["accuracy"] > meta["best"]["accuracy"]
        lowest = meta["best"] is None or validation["loss"] < meta["best"]["lowest_loss"]
        if best:
            meta["best"] = {**(meta["best"] or {}), "epoch": epoch, "accuracy": validation["accuracy"]}
        if lowest:
            meta["best"]["lowest_loss"] = validation["loss"]
        meta["stale"] = 0 if best or lowest else meta["stale"] + 1
        row = {"epoch": epoch, "step": int(self.state.step), "train": train, "validation": validation,
               "seconds": round(meta["seconds"], 3), "images_per_second": round(speed)}  # fmt: skip
        meta.update(epoch=epoch, sums={}, seconds=0.0, total_seconds=meta.get("total_seconds", 0.0) + row["seconds"])
        _append(self.logdir / "metrics.jsonl", row)
        self._log(row)
        checkpoint.save(self.logdir / "checkpoints", self.state, meta, best=best)
        left = meta["total_seconds"] / epoch * (recipe.epochs - epoch)
        print(
            f"{label}  train loss {train['loss']:.4f} accuracy {train['accuracy']:.4f}"
            f"  validation loss {validation['loss']:.4f} accuracy {validation['accuracy']:.4f}"
            f"  {row['seconds']:.1f} s  {speed:,.0f} images/s  left {tqdm.format_interval(left)}",
            flush=True,
        )

    def _log(self, row):
        self.board.scalars("train", {"images_per_second": row["images_per_second"]}, row["step"])
        self.board.scalars("validation", row["validation"], row["step"])
        if self.histograms:
            self.board.histograms({"weights": self.state.weights}, row["step"])
        self.board.flush()

    def _evaluate(self, part):
        """Returns exact measures of the weights that count."""
        logits = self.predict(averaged_weights(self.recipe, self.state), self.state.stats, part.images)
        return training.summarize(logits, part.labels, loss=make_loss(self.recipe))

    def _test(self):
        """Tests once, on the weights that the recipe reports; exports them and draws the plots."""
        recipe, splits, meta = self.recipe, self.splits, self.meta
        epoch = meta["epoch"]
        if recipe.report == "best":
            epoch = checkpoint.restore(self.logdir / "checkpoints" / checkpoint.BEST, self.state)["epoch"]
        weights, stats = averaged_weights(recipe, self.state), self.state.stats
        test = report(splits.test, self.predict(weights, stats, splits.test.images), make_loss(recipe))
        (self.logdir / "export").mkdir(exist_ok=True)
        facts = {"recipe": recipes.to_dict(recipe), "class_names": list(splits.class_names), "epoch": epoch}
        checkpoint.export_weights(self.logdir / "export" / "weights.safetensors", weights, stats, metadata=facts)
        history = [json.loads(line) for line in (self.logdir / "metrics.jsonl").read_text().splitlines()]
        rows = [row for row in history if row["epoch"] == epoch]
        result = {"epochs": meta["epoch"], "reported_epoch": epoch, "seconds": round(meta["total_seconds"], 1),
                  "train": rows[-1]["train"], "validation": rows[-1]["validation"], "test": test}  # fmt: skip
        plots.save_all(self.logdir / "plots", history, test["confusion"], splits.class_names)
        files.write_text(self.logdir / "result.json", json.dumps(result, indent=2) + "\n")
        print(f"test   loss {test['loss']:.4f} accuracy {test['accuracy']:.4f}  "
              f"({len(splits.test.labels):,} images, weights of epoch {epoch})")  # fmt: skip
        print(f"run    {self.logdir}")
        print(f"watch  tensorboard --logdir {self.logdir}")


def report(part, logits, loss=None):
    """Returns all measures of logits for `part`: loss, accuracy, top-3, confusion matrix, precision and recall per class."""
    classes = max(logits.shape[-1], 2)
    confusion = measures.confusion_matrix(part.labels, measures.predicted(logits), classes)
    precision, recall = measures.precision_recall(confusion)
    return {
        **training.summarize(logits, part.labels, loss=loss),
        **({"top_3": measures.top_k(logits, part.labels, 3)} if classes > 3 else {}),
        "precision": [round(float(p), 4) for p in precision],
        "recall": [round(float(r), 4) for r in recall],
        "confusion": confusion.tolist(),
    }


def load_run(run_dir):
    """Returns recipe, weights, stats and class names of a run: its export, or its newest checkpoint while it trains.

    Raises:
      ValueError, OSError: `run_dir` holds no run, or a broken one.
    """
    run_dir = Path(run_dir)
    exported = run_dir / "export" / "weights.safetensors"
    if exported.exists():
        weights, stats, facts = checkpoint.import_weights(exported)
        return recipes.from_dict(facts["recipe"]), weights, stats, tuple(facts["class_names"])
    config = run_dir / "config.json"
    path = checkpoint.latest(run_dir / "checkpoints")
    if path is None or not config.exists():
        raise FileNotFoundError(f"--run={run_dir}: no export and no checkpoint there; a run is logs/<experiment>/<run>")
    values = json.loads(config.read_text())
    recipe = recipes.from_dict(values["recipe"])
    tensors, _ = checkpoint.read(path)
    weights = tensors["weights"]
    if recipe.ema_decay:
        weights = tree.merge(weights, tensors["slots"]["average"])
    return recipe, weights, tensors.get("stats", {}), None


def environment():
    """Returns what the bits of a run depend on besides its recipe."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
    }


def _processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _claim(logdir, recipe):
    """Writes config.json and environment.json, or refuses a directory whose run has another recipe."""
    config, place = logdir / "config.json", logdir / "environment.json"
    now = {"recipe": recipes.to_dict(recipe)}
    if config.exists():
        differences = _differences(json.loads(config.read_text())["recipe"], now["recipe"])
        if differences:
            raise ValueError(
                f"{logdir} holds a run with other settings: {'; '.join(differences)}. "
                "Use those, another --logdir, or --clean to start over"
            )
    if place.exists():
        before = json.loads(place.read_text())
        changed = [f"{key}: {before.get(key)}, now {v}" for key, v in environment().items() if before.get(key) != v]
        if changed:
            print(f"not the same environment, so not the same bits: {'; '.join(changed)}", file=sys.stderr)
    files.write_text(config, json.dumps(now, indent=2) + "\n")
    files.write_text(place, json.dumps(environment(), indent=2) + "\n")


def _differences(before, now):
    """Returns "learning_rate was 0.001, now 0.01" for each setting that may not change on resuming."""
    allowed = [name for name in MAY_CHANGE if not (name == "epochs" and now["schedule"] != "constant")]
    before, now = (tree.flatten(json.loads(json.dumps(recipe))) for recipe in (before, now))
    return [
        f"{name} was {before.get(name)}, now {now.get(name)}"
        for name in {**before, **now}
        if name not in allowed and before.get(name) != now.get(name)
    ]


def _forget(logdir):
    """Removes what a run wrote, and nothing else."""
    import shutil

    for name in ("checkpoints", "plots", "export", "train", "validation"):
        shutil.rmtree(logdir / name, ignore_errors=True)
    for name in ("config.json", "environment.json", "metrics.jsonl", "result.json"):
        (logdir / name).unlink(missing_ok=True)


def _result(logdir):
    values = json.loads((logdir / "result.json").read_text())
    return Result(logdir, values["train"], values["validation"], values["test"], values["epochs"], values["seconds"])


def _append(path, row):
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _truncate(path, epoch):
    """Drops the lines after `epoch`, and a half-written last one: the run goes on from there."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            if json.loads(line)["epoch"] <= epoch:
                kept.append(line + "\n")
    files.write_text(path, "".join(kept))


@contextlib.contextmanager
def _stop_signals():
    """Yields a list that receives the number of a SIGINT or SIGTERM; a second one ends the process at once."""
    received = []

    def note(signum, frame):
        received.append(signum)
        for number in previous:
            signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _classes(splits):
    return f"{len(splits.class_names)} classes"
