"""A recipe, its data, the loop and its logs make a run; what the scripts call."""

import contextlib
import dataclasses
import functools
import json
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfcore import build, checkpoint, files, optimizers, plots, recipes, report, run_dir, training, tree
from tfcore.data import augment, datasets
from tfcore.data.order import batch_indices, blocks, epoch_order, take
from tfcore.init import as_seed, fold_in
from tfcore.journal import Journal
from tfcore.models import transfer
from tfcore.quiet import tf

SAVE_RATE = 1e7  # bytes of checkpoints a second, at most: large ones are not written after each short epoch


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


def train(recipe, logdir, *, data_dir=None, clean=False, histograms=False, splits=None, start=None, origin=None):
    """Runs `recipe` in the run directory `logdir`, or goes on where an earlier call stopped.

    Args:
      data_dir: where the files of the recipe's set are; None as in `tfcore.data.load`.
      clean: forget what is in `logdir` and start over.
      histograms: write histograms of weights and gradients each epoch.
      splits: the data itself, instead of loading `recipe.dataset`.
      start: the first weights and stats (trees of arrays), instead of drawing them; a transfer needs it.
      origin: a dictionary of JSON values: what `splits` were made from. A run with another one is another run.
    Returns: a Result.
    Raises:
      ValueError: the recipe does not fit the data, or not what `logdir` holds.
      OSError: `logdir` cannot be written or is in use.
      FloatingPointError: loss or gradients stopped being finite; the last good checkpoint is kept.
      Stopped: Ctrl-C or SIGTERM, after a checkpoint.
    """
    logdir = Path(logdir)
    run_dir.create(logdir)
    with files.locked(logdir):
        for directory in (logdir, logdir / "export", logdir / "plots"):
            files.remove_leftovers(directory)
        if splits is None:
            splits = build.load_data(recipe, data_dir)
        recipe = build.fit_to_data(dataclasses.replace(recipe, dataset=splits.name), splits)
        started = _Run(recipe, logdir, splits, histograms, start)  # refuses what does not fit before anything is erased
        if clean:
            run_dir.forget(logdir)
        run_dir.claim(logdir, recipe, splits, start=start, origin=origin)
        return started.finish()


class _Run:
    """One run under way: the state, the compiled block, the position in the data, and the logs."""

    def __init__(self, recipe, logdir, splits, histograms, start=None):
        self.recipe, self.logdir, self.splits, self.histograms = recipe, logdir, splits, histograms
        n = len(splits.train.labels)
        self.steps = len(batch_indices(recipe.seed, 0, n, recipe.batch_size))
        self.steps = min(self.steps, recipe.steps_per_epoch or self.steps)
        self.optimizer, self.rate = build.make_optimizer(recipe, self.steps)
        if recipes.model_of(recipe) is transfer and not start:
            raise ValueError(f"{recipe.name} starts from a trained network: use scripts/train_transfer.py")
        weights, stats = recipes.model_of(recipe).init(fold_in(recipe.seed, "init"), recipe.model)
        if start:
            tree.assign({"weights": weights, "stats": stats}, dict(zip(("weights", "stats"), start)))
        learns = build.learns(recipe, weights)
        self.state = training.init_state(weights, stats, self.optimizer, learns=learns)
        self.run_block = build.make_block(recipe, self.state, self.optimizer)
        self.predict = build.make_predict(recipe, views=False)
        self.seed = as_seed(recipe.seed)
        self.loop_steps = min(recipe.steps_per_loop, self.steps)
        self.no_draws = tf.zeros([self.loop_steps, recipe.batch_size, 0])
        stored = tree.leaves({"weights": weights, "stats": stats, "slots": self.state.slots})
        self.size = sum(leaf.shape.num_elements() * leaf.dtype.size for leaf in stored)
        self.next_save = 0.0
        self.meta = {"seed": recipe.seed, "epoch": 0, "sums": {}, "seconds": 0.0, "total_seconds": 0.0, "stale": 0}
        self.meta["best"] = {"epoch": 0, "accuracy": -1.0}

    def finish(self):
        """Trains to the last epoch, tests once, and returns the Result."""
        done = self.logdir / "result.json"
        path = self._restore()
        if done.exists() and json.loads(done.read_text())["epochs"] >= self._last_epoch():
            print(f"{self.logdir} is complete; --clean starts over, more --epochs go on")
            return _result(self.logdir)
        run_dir.truncate(self.logdir / "metrics.jsonl", self.meta["epoch"])
        if path:
            position = f"epoch {self.meta['epoch']} of {self.recipe.epochs}, step {int(self.state.step)}"
            print(f"resumed from {path}: {position}")
        self.journal = Journal(self.recipe, self.logdir, self.steps)
        self.journal.introduce(self.splits, self.state)
        with _stop_signals() as stop:
            while self.meta["epoch"] < self._last_epoch():
                self._epoch(stop)
        self._test()
        self.journal.flush()
        return _result(self.logdir)

    def _last_epoch(self):
        """Returns the epoch to end with: earlier than planned when patience has run out."""
        patience = self.recipe.patience
        return self.meta["epoch"] if patience and self.meta["stale"] >= patience else self.recipe.epochs

    def _restore(self):
        """Reads the newest whole checkpoint and returns its path, None where there is none."""
        directory = self.logdir / "checkpoints"
        path = checkpoint.latest(directory) if directory.exists() else None
        if path:
            files.remove_leftovers(directory)
            self.meta = checkpoint.restore(path, self.state)
        return path

    def _epoch(self, stop):
        """Trains from the current position to the end of the epoch, then validates, logs and saves."""
        recipe, meta = self.recipe, self.meta
        n, epoch, batch_size = len(self.splits.train.labels), meta["epoch"], recipe.batch_size
        done = int(self.state.step) - epoch * self.steps
        order = batch_indices(recipe.seed, epoch, n, batch_size)[done : self.steps]
        gathered = blocks(self.splits.train, order, self.loop_steps)
        draws = augment.draw(recipe.seed, epoch, n) if recipe.augment.changes else None
        began = self.clock = time.perf_counter()
        with self.journal.bar(epoch, done) as bar, contextlib.closing(gathered):
            for count, rows, images, labels in gathered:
                drawn = self.no_draws if draws is None else tf.gather(draws, rows)
                self._take_block(count, images, labels, drawn)
                done += count
                bar.update(count * batch_size)
                bar.set_postfix({name: f"{meta['sums'][name] / done:.4f}" for name in ("loss", "accuracy")})
                meta["seconds"] += time.perf_counter() - began
                began = time.perf_counter()
                self._stop_if_asked(stop)
        self._end_of_epoch()
        self._stop_if_asked(stop)

    def _take_block(self, count, *block):
        """Takes the first `count` steps of a block (images, labels, draws); adds the metrics to the epoch's sums."""
        sums, before = self.meta["sums"], int(self.state.step)
        totals = self.run_block(*block, tf.constant(count), self.seed)
        taken = int(self.state.step) - before
        if taken < count:
            self._explain(*(part[taken] for part in block))
        totals = {name: float(total) for name, total in totals.items()}
        for name, total in totals.items():
            sums[name] = sums.get(name, 0.0) + total
        means = {name: total / count for name, total in totals.items()}
        rate = float(optimizers.rate_at(self.rate, self.state.step - 1))
        self.journal.block(means, rate, int(self.state.step))

    def _explain(self, images, labels, draws):
        """Raises FloatingPointError: takes the step that was not finite once more, eagerly, which names the weights."""
        images = build.augmented(self.recipe, images, draws)
        loss_fn = build.make_loss_fn(self.recipe)
        try:
            training.train_step(self.state, (images, labels), self.seed, loss_fn=loss_fn, optimizer=self.optimizer)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {self._last_good()}") from None
        raise FloatingPointError(f"step {int(self.state.step) - 1}: loss or gradients overflowed; {self._last_good()}")

    def _last_good(self):
        kept = checkpoint.checkpoints(self.logdir / "checkpoints")
        return f"the last good checkpoint is {kept[-1]}" if kept else "no epoch was finished"

    def _stop_if_asked(self, stop):
        if stop:
            self._count_time()
            path = checkpoint.save(self.logdir / "checkpoints", self.state, self.meta)
            self.journal.flush()
            raise Stopped(stop[0], path)

    def _count_time(self):
        """Adds the time since the last call, training and validation, to the run's."""
        now = time.perf_counter()
        self.meta["total_seconds"] += now - self.clock
        self.clock = now

    def _end_of_epoch(self):
        """Validates, decides what is best, logs, prints a line and saves."""
        meta, part = self.meta, self._validation_part()
        logits = self.predict(build.averaged_weights(self.recipe, self.state), self.state.stats, part.images)
        validation = report.measures(logits, part, self.splits.class_names, build.make_loss(self.recipe))
        if not np.isfinite(validation["loss"]):  # the last step can overflow weights without a gradient that shows it
            raise FloatingPointError(
                f"epoch {meta['epoch'] + 1}: the validation loss is {validation['loss']}; {self._last_good()}. "
                "Lower --learning_rate or set --clip_norm"
            )
        row = {
            "epoch": meta["epoch"] + 1,
            "step": int(self.state.step),
            "train": {name: total / self.steps for name, total in meta["sums"].items()},
            "validation": validation,
            "seconds": round(meta["seconds"], 3),
            "images_per_second": round(self.steps * self.recipe.batch_size / max(meta["seconds"], 1e-9)),
        }
        best = validation["accuracy"] > meta["best"]["accuracy"]
        meta.update(epoch=row["epoch"], sums={}, seconds=0.0, stale=0 if best else meta["stale"] + 1)
        if best:
            meta["best"] = {"epoch": row["epoch"], **validation}
        self.journal.draw(functools.partial(report.drawings, logits, part, self.splits.class_names), row["step"])
        self._count_time()
        self.journal.epoch(row, meta["total_seconds"], self._histograms() if self.histograms else None)
        wanted = best and self.recipe.report == "best"
        if wanted or meta["epoch"] >= self._last_epoch() or time.perf_counter() > self.next_save:
            checkpoint.save(self.logdir / "checkpoints", self.state, meta, best=wanted)
            self.next_save = time.perf_counter() + self.size / SAVE_RATE

    def _validation_part(self):
        """Returns what the epoch is validated on: all of the part, or `validation_steps` batches of it."""
        part, recipe = self.splits.validation, self.recipe
        count = recipe.validation_steps * recipe.batch_size
        if not 0 < count < len(part.labels):
            return part
        rows = np.sort(epoch_order(recipe.seed + 1, self.meta["epoch"], len(part.labels))[:count])
        return datasets.Arrays(*(take(array, rows) for array in part))

    def _histograms(self):
        """Returns the weights, and the gradients of the first batch of the set."""
        images, labels = (tf.constant(array[: self.recipe.batch_size]) for array in self.splits.train)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tree.leaves(self.state.trainable))
            loss, _ = build.make_loss_fn(self.recipe)(self.state.weights, self.state.stats, (images, labels), self.seed)
        return {"weights": self.state.weights, "gradients": tape.gradient(loss, self.state.trainable)}

    def _test(self):
        """Tests once, on the weights that the recipe reports; exports them and draws the plots."""
        recipe, splits, meta = self.recipe, self.splits, self.meta
        epoch = meta["epoch"]
        if recipe.report == "best":
            epoch = checkpoint.restore(self.logdir / "checkpoints" / checkpoint.BEST, self.state)["epoch"]
        weights, stats = build.averaged_weights(recipe, self.state), self.state.stats
        predict, loss, classes = build.make_predict(recipe), build.make_loss(recipe), splits.class_names
        logits = predict(weights, stats, splits.test.images)
        test = report.report(logits, splits.test, classes, loss)
        validation = report.measures(
            predict(weights, stats, splits.validation.images), splits.validation, classes, loss
        )
        export(self.logdir, recipe, weights, stats, splits, epoch)
        history = [json.loads(line) for line in (self.logdir / "metrics.jsonl").read_text().splitlines()]
        rows = [row for row in history if row["epoch"] == epoch]
        result = {"epochs": meta["epoch"], "reported_epoch": epoch, "seconds": round(meta["total_seconds"], 1),
                  "train": rows[-1]["train"], "validation": validation, "test": test}  # fmt: skip
        plots.save(self.logdir / "plots", {
            "curves": plots.curves(history),
            "confusion": plots.confusion_matrix(np.asarray(test["confusion"]), classes),
            **report.drawings(logits, splits.test, classes),
        })  # fmt: skip
        files.write_text(self.logdir / "result.json", json.dumps(result, indent=2) + "\n")
        print(f"test   loss {test['loss']:.4f} accuracy {test['accuracy']:.4f}  "
              f"({len(splits.test.labels):,} images, weights of epoch {epoch})")  # fmt: skip
        print(f"run    {self.logdir}")
        print(f"watch  tensorboard --logdir {self.logdir}")


def export(logdir, recipe, weights, stats, splits, epoch):
    """Writes `logdir`/export/weights.safetensors: all that evaluation and prediction need, in one file.

    Of a set of pictures it holds the hash, so that evaluation knows the pictures that were trained on.
    """
    directory = Path(logdir) / "export"
    directory.mkdir(parents=True, exist_ok=True)
    facts = {"recipe": recipes.to_dict(recipe), "class_names": list(splits.class_names), "epoch": epoch}
    facts |= {"content": splits.source.content, "order": splits.source.order} if splits.source else {}
    checkpoint.export_weights(directory / "weights.safetensors", weights, stats, metadata=facts)


def _result(logdir):
    values = json.loads((logdir / "result.json").read_text())
    return Result(logdir, values["train"], values["validation"], values["test"], values["epochs"], values["seconds"])


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
