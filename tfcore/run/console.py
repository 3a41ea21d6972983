"""What a run says while it goes: lines on the console, curves and pictures in TensorBoard."""

import contextlib
import functools
import json
import math
import os
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from tfcore import files, optimizers, plots, tree
from tfcore.data import augment
from tfcore.data.meter import EVERY, watched
from tfcore.quiet import tf
from tfcore.run import report
from tfcore.run.board import Board, config_text
from tfcore.run.task import loss_fn_of
from tfcore.showing import readable, spared


class Console:
    """The lines and the event files of one run."""

    def __init__(self, task, place, plan, *, histograms=False):
        self._task, self._place, self._plan, self._histograms = task, place, plan, histograms
        self._board = Board(place.path)
        self._artist, self._drawing = ThreadPoolExecutor(1), None

    def introduce(self, state, *, resumed):
        """Shows what is about to be trained, on what: the set, the table of parameters, the graph, the settings."""
        task, splits = self._task, self._task.splits
        sizes = ", ".join(f"{len(getattr(splits, part).labels):,} {part}" for part in ("train", "validation", "test"))
        print(f"{splits.name}: {sizes} images of {len(splits.class_names)} classes")
        if splits.source:
            self._introduce_pictures(splits.source)
        size = self._plan.batch_size
        forward = tf.function(functools.partial(task.forward, training=False), autograph=False)
        example = tf.TensorSpec([size, *splits.train.images.shape[1:]], splits.train.images.dtype)
        concrete = forward.get_concrete_function(state.weights, state.stats, example)
        print(parameter_table(state.weights, state.stats, flops(concrete, size)), flush=True)
        if not resumed:
            self._board.graph(concrete)
            self._board.text("configuration", config_text({**task.config, **self._plan._asdict()}))
            if task.augment:
                sheet = augment.examples(
                    task.augment, self._plan.seed, splits.train.images[:8], len(splits.train.labels)
                )
                self._board.image("augmented", plots.contact_sheet(sheet), 0)

    def _introduce_pictures(self, source):
        """Prints and draws what was found in the files, and lists in bad_files.json those that could not be used."""
        print(readable(str(source.survey)))
        rows = [{"file": name, "reason": reason} for name, reason in source.bad]
        with spared("the survey's drawing and list"):
            plots.save(self._place / "plots", {"survey": plots.survey(source.survey)})
            files.write_text(self._place / "bad_files.json", json.dumps(rows, indent=2) + "\n")
        for row in rows[:3]:
            print(readable(f"left out {row['file']}: {row['reason']}"))
        if len(rows) > 3:
            print(f"left out {len(rows) - 3} more: {self._place / 'bad_files.json'}")

    @contextlib.contextmanager
    def epoch(self, progress):
        """Yields the display of an epoch: a bar on a terminal and in Jupyter, else a line now and then."""
        plan, size = self._plan, self._plan.batch_size
        bar = tqdm(
            desc=self._label(progress.epoch + 1), total=plan.steps * size, initial=progress.steps * size,
            unit=" images", unit_scale=True, leave=False, disable=not watched(),
        )  # fmt: skip
        with bar:
            yield Shown(bar, self._board, self._task.learning_rate, self._label(progress.epoch + 1), plan, progress)

    def _label(self, epoch):
        return f"epoch {epoch:>{len(str(self._plan.epochs))}}/{self._plan.epochs}"

    def end_of_epoch(self, progress, logits, part, state):
        """Prints the line of an epoch, and writes its curves, drawings and histograms."""
        row = progress.row
        self._board.scalars("train", {"images_per_second": row["images_per_second"]}, row["step"])
        self._board.scalars("validation", row["validation"], row["step"])
        if self._histograms:
            self._board.histograms(self._weights_and_gradients(state), row["step"])
        self._board.flush()
        self._draw(functools.partial(report.drawings, logits, part, self._task.splits.class_names), row["step"])
        left = progress.total_seconds / row["epoch"] * (self._plan.epochs - row["epoch"])
        measures = [
            f"{split} loss {row[split]['loss']:.4f} accuracy {row[split].get('accuracy', math.nan):.4f}"
            for split in ("train", "validation")
        ]
        speed = f"{row['seconds']:.1f} s  {row['images_per_second']:,} images/s"
        print(f"{self._label(row['epoch'])}  {'  '.join(measures)}  {speed}  left {duration(left)}", flush=True)

    def _weights_and_gradients(self, state):
        """Returns the weights, and the gradients of the first batch of the set."""
        images, labels = (tf.constant(array[: self._plan.batch_size]) for array in self._task.splits.train)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tree.leaves(state.trainable))
            loss, _ = loss_fn_of(self._task)(state.weights, state.stats, (images, labels), self._plan.seed)
        return {"weights": state.weights, "gradients": tape.gradient(loss, state.trainable)}

    def _draw(self, make, step):
        """Writes to TensorBoard what make() draws, {name: Matplotlib figure}, while training goes on."""

        def draw():
            with spared("the drawings"):  # Matplotlib may find no place for its cache
                for name, drawing in make().items():
                    self._board.image(name, plots.to_pixels(drawing), step)

        self._wait()
        self._drawing = self._artist.submit(draw)

    def _wait(self):
        """Waits for the drawing under way, and raises what it raised."""
        if self._drawing:
            self._drawing.result()
        self._drawing = None

    def close(self):
        """Makes all that was written visible to TensorBoard."""
        self._wait()
        self._board.flush()

    def end(self, result):
        """Prints the test, and how to look at the run."""
        count, test = len(self._task.splits.test.labels), result.test
        print(f"test   loss {test['loss']:.4f} accuracy {test['accuracy']:.4f}  ({count:,} images)")
        print(f"run    {result.run_dir}")
        print(f"watch  {tensorboard_command()} --logdir {shlex.quote(str(result.run_dir))}", flush=True)


class Shown:
    """The display of an epoch under way."""

    def __init__(self, bar, board, learning_rate, label, plan, progress, *, clock=time.monotonic):
        self._bar, self._board, self._rate, self._label, self._plan = bar, board, learning_rate, label, plan
        self._clock, self._first, self._began = clock, progress.steps, clock()
        self._next = self._began + EVERY

    def block(self, progress, sums, count, step):
        """Shows a block of `count` steps: moves the bar, or prints a line, and adds to the curves."""
        curves = {name: value / count for name, value in sums.items() if name != "gradient_norm"}
        curves["gradient_norm"] = sums["gradient_norm"]
        if self._rate is not None:
            curves["learning_rate"] = float(optimizers.rate_at(self._rate, step - 1))
        self._board.scalars("train", curves, step)
        means = {name: f"{value:.4f}" for name, value in progress.means().items()}
        self._bar.update(count * self._plan.batch_size)
        self._bar.set_postfix(means)
        if self._bar.disable and self._clock() >= self._next and progress.steps < self._plan.steps:
            print(self._line(progress.steps, means), flush=True)
            self._next = self._clock() + EVERY

    def _line(self, steps, means):
        rate = (steps - self._first) / max(self._clock() - self._began, 1e-9)
        images, left = rate * self._plan.batch_size, (self._plan.steps - steps) / max(rate, 1e-9)
        shown = " ".join(f"{name} {value}" for name, value in means.items())
        position = f"{self._label}  step {steps:,}/{self._plan.steps:,}"
        return f"{position}  {shown}  {images:,.0f} images/s  left {duration(left)}"


def duration(seconds):
    """Returns "01:05" or "1:01:05"."""
    return tqdm.format_interval(seconds)


def tensorboard_command():
    """Returns what starts TensorBoard from here: the program of this Python's environment, or its module."""
    program = Path(sys.executable).with_name("tensorboard")
    if not program.exists():
        return f"{shlex.quote(sys.executable)} -m tensorboard.main"
    if Path(os.path.abspath(program)).is_relative_to(Path.cwd()):
        program = Path(os.path.abspath(program)).relative_to(Path.cwd())
    return shlex.quote(str(program))


def flops(concrete, batch_size):
    """Returns the floating point operations per image of a forward pass: its convolutions and matrix products.

    A multiplication and an addition count as two. concrete: traced for `batch_size` images.
    """
    total = 0
    for op in concrete.graph.get_operations():
        if op.type == "Conv2D":
            kernel, output = op.inputs[1].shape, op.outputs[0].shape
            total += 2 * math.prod(kernel) * math.prod(output[1:3])
        elif op.type == "MatMul":
            total += 2 * math.prod(op.inputs[0].shape) * op.outputs[0].shape[1] // batch_size
    return total


def parameter_table(weights, stats, flops_per_image):
    """Returns the table of all weights and stats: path, shape, count and bytes, then the sums."""
    leaves = {**tree.flatten(weights), **tree.flatten(stats)}
    rows = [
        (path, tree.describe(v)[0], math.prod(v.shape), math.prod(v.shape) * v.dtype.size) for path, v in leaves.items()
    ]
    rows.append(("total", "", sum(row[2] for row in rows), sum(row[3] for row in rows)))
    cells = [("parameter", "shape", "count", "bytes"), *((p, s, f"{c:,}", f"{b:,}") for p, s, c, b in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    lines = [f"{p:<{widths[0]}}  {s:<{widths[1]}}  {c:>{widths[2]}}  {b:>{widths[3]}}" for p, s, c, b in cells]
    return "\n".join([*lines, f"{flops_per_image:,} floating point operations per image, forward"])
