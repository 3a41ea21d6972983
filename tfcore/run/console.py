"""What a run says while it goes: lines on the console, curves and pictures in TensorBoard."""

import contextlib
import functools
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tfcore import files, metrics, optimizers, plots, training, tree
from tfcore.data.meter import EVERY, watched
from tfcore.quiet import tf
from tfcore.run import anatomy, exhibits
from tfcore.run.board import Board
from tfcore.run.directory import Place
from tfcore.run.environment import environment
from tfcore.run.plan import Plan
from tfcore.run.progress import Progress
from tfcore.run.report import validation_part
from tfcore.run.result import Result
from tfcore.run.summary import sizes, summary
from tfcore.run.task import Task, loss_fn_of
from tfcore.showing import readable, warn, with_extra
from tfcore.training import TrainState
from tfcore.types import LearningRate, Tree

SHARE = 0.03  # of the time of training that drawing beside it may take


class Console:
    """The lines and the event files of one run."""

    def __init__(self, task: Task, place: Place, plan: Plan, *, histograms: bool = False) -> None:
        self._task, self._place, self._plan, self._histograms = task, place, plan, histograms
        self._board = Board(place.path)
        self._artist, self._drawing, self._warned = ThreadPoolExecutor(1), None, False
        self._due: Callable[[], None] | None = None  # what is still to be drawn of the data
        self._next = 1  # from which epoch on predictions are drawn
        self._spent, self._longest = 0.0, 1.0  # seconds of drawing; 1 is a guess at what the first takes

    def introduce(self, state: TrainState, *, resumed: bool) -> None:
        """Shows what is about to be trained, on what: the set, the table of parameters, the graph, the settings."""
        task, splits = self._task, self._task.splits
        print(f"{splits.name}: {sizes(splits)}")
        if splits.source:
            self._introduce_pictures(splits.source)
        concrete = anatomy.traced_forward(task, state, self._plan.batch_size)
        table = anatomy.parameter_rows(state.weights, state.stats)
        print(anatomy.as_text(table))
        count = anatomy.flops(concrete, self._plan.batch_size)
        print(f"{count:,} floating point operations per image, forward", flush=True)
        if not resumed:
            self._introduce_on_board(concrete, table, state)
        if not resumed or not any((self._place / "plots").glob(f"{exhibits.LAST}.png")):
            self._due = functools.partial(self._show_data, state)

    def _introduce_on_board(self, concrete, table, state):
        """Writes to TensorBoard what is known before the first step."""
        board, settings = self._board, {**tree.flatten(self._task.config), **self._plan._asdict()}
        board.layout()
        board.settings({path.rpartition("/")[2]: value for path, value in settings.items()})
        board.text("configuration", anatomy.as_markdown([("setting", "value"), *settings.items()]))
        board.text("parameters", anatomy.as_markdown(table))
        board.text("environment", anatomy.as_markdown([("of this start", ""), *environment().items()]))
        board.graph(anatomy.named_graph(concrete, state))
        board.flush()

    def _show_data(self, state):
        """Draws the training pictures, and writes the graph of a training step."""
        step = anatomy.traced_step(self._task, state, self._plan)
        self._board.graph(anatomy.named_graph(step, state), "training step")
        drawn = exhibits.of_data(self._task, self._plan.seed)
        drawn = {name: plots.titled(drawing, self.title("train")) for name, drawing in drawn.items()}
        plots.save(self._place / "plots", self._pictures("train", drawn, 0))

    def _introduce_pictures(self, source):
        """Prints and draws what was found in the files, and lists in bad_files.json those that could not be used."""
        print(readable(str(source.survey)))
        rows = [{"file": name, "reason": reason} for name, reason in source.bad]
        with self.sparing():
            survey = plots.titled(plots.survey(source.survey), self.title("all files"))
            plots.save(self._place / "plots", {"survey": survey})
            files.write_text(self._place / "bad_files.json", json.dumps(rows, indent=2) + "\n")
        for row in rows[:3]:
            print(readable(f"left out {row['file']}: {row['reason']}"))
        if len(rows) > 3:
            print(f"left out {len(rows) - 3} more: {self._place / 'bad_files.json'}")

    @contextlib.contextmanager
    def epoch(self, progress: Progress) -> Iterator["Shown"]:
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

    def end_of_epoch(self, progress: Progress, logits: np.ndarray, state: TrainState) -> None:
        """Prints the line of an epoch, and writes its curves, and now and then its drawings and histograms."""
        row = progress.row
        self._board.scalars("train", {"images_per_second": row["images_per_second"]}, row["step"])
        self._board.scalars("validation", row["validation"], row["step"])
        if self._histograms:
            weights, gradients = self._weights_and_gradients(state)
            self._board.histograms(weights, gradients, row["step"])
        self._board.flush()
        self._draw_where_time_allows(progress, logits, state)
        left = progress.total_seconds / row["epoch"] * (self._plan.epochs - row["epoch"])
        measures = [
            f"{split} loss {row[split]['loss']:.4f} accuracy {row[split].get('accuracy', math.nan):.4f}"
            for split in ("train", "validation")
        ]
        speed = f"{row['seconds']:.1f} s  {row['images_per_second']:,} images/s"
        print(f"{self._label(row['epoch'])}  {'  '.join(measures)}  {speed}  left {duration(left)}", flush=True)

    def _draw_where_time_allows(self, progress, logits, state):
        """Draws beside training what is due: the data, then predictions after twice as many epochs each time."""
        row = progress.row
        if self._spent + self._longest > SHARE * progress.total_seconds or (self._drawing and not self._drawing.done()):
            return
        if self._due:
            due, self._due = self._due, None
            self._beside(due)
        elif row["epoch"] >= self._next:
            self._next = 2 * row["epoch"]
            kept = training.averages(state.weights, state.slots), state.stats
            weights, stats = (tree.map(tf.convert_to_tensor, part) for part in kept)
            seen = (self._task.pictures or self._task.splits).validation
            seen = validation_part(seen, self._plan.examined, seed=self._plan.seed, epoch=row["epoch"] - 1)
            self._beside(functools.partial(self._show, "validation", logits, seen, weights, stats, row["step"]))

    def _show(self, part, logits, examples, weights, stats, step):
        """Writes to TensorBoard what the network says of a part, and what it has learned. Returns {name: PNG bytes}."""
        names = self._task.splits.class_names
        drawn = exhibits.of_predictions(logits, examples, names)
        title = self.title(f"{part}, step {step:,}")
        drawn = {name: plots.titled(drawing, title) for name, drawing in drawn.items()}
        drawn |= exhibits.of_network(self._task, weights, stats, examples.images[0], title)
        made = self._pictures(part, drawn, step)
        p = metrics.probabilities(logits).numpy()
        self._board.precision_recall(part, p, examples.labels, names[: p.shape[1]], step)
        return made

    def title(self, part: str) -> str:
        """Returns which run, set and part a drawing is of."""
        return f"{self._task.name}, seed {self._plan.seed}, on {self._task.splits.name}: {part}"

    def _pictures(self, part, drawn, step):
        """Writes {name: figure} to TensorBoard, and returns {name: the bytes of its PNG file}."""
        made = {}
        for name, drawing in drawn.items():
            made[name] = plots.png(drawing)
            smaller = functools.partial(plots.jpeg, drawing)
            self._board.picture(part, name.replace("_", " "), made[name], step, smaller)
        return made

    def _weights_and_gradients(self, state):
        """Returns the weights, and the gradients of the first batch of the set."""
        images, labels = (tf.constant(array[: self._plan.batch_size]) for array in self._task.splits.train)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tree.leaves(state.trainable))
            loss, _ = loss_fn_of(self._task)(state.weights, state.stats, (images, labels), self._plan.seed)
        return state.weights, tape.gradient(loss, state.trainable)

    def _beside(self, show):
        """Calls show() while training goes on."""

        def spare():
            began = time.perf_counter()
            with self.sparing():  # Matplotlib may find no place for its cache
                show()
            seconds = time.perf_counter() - began
            self._spent, self._longest = self._spent + seconds, max(self._longest, seconds)

        self._wait()
        self._drawing = self._artist.submit(spare)

    @contextlib.contextmanager
    def sparing(self) -> Iterator[None]:
        """Turns failures to write drawings in the block into one warning in all: the run goes on without them."""
        try:
            yield
        except (OSError, ModuleNotFoundError) as error:
            if not self._warned:
                warn(f"the drawings cannot be written, the run goes on: {with_extra(error)}")
            self._warned = True

    def _wait(self):
        """Waits for the drawing under way, and raises what it raised."""
        if self._drawing:
            self._drawing.result()
        self._drawing = None

    def tested(
        self, measured: dict[str, Any], logits: np.ndarray, weights: Tree, stats: Tree, step: int, reported: int
    ) -> dict[str, bytes]:
        """Writes the test: its values, drawings, what the last layer tells apart. Returns {name: PNG bytes}."""
        self._wait()
        if self._due:
            with self.sparing():
                self._due()
        seen, board = self._task.pictures or self._task.splits, self._board
        board.scalars("test", {name: measured[name] for name in ("loss", "accuracy")}, step)
        shown = {name: value for name, value in measured.items() if isinstance(value, int | float)}
        board.text("result", anatomy.as_markdown([("test", f"of epoch {reported}"), *shown.items()]))
        drawn = {}
        with self.sparing():
            drawn = self._show("test", logits, seen.test, weights, stats, step)
            if found := exhibits.projected(self._task, weights, stats):
                board.projector("validation", *found)
        return drawn

    def page(
        self,
        values: dict[str, Any],
        history: list[dict[str, Any]],
        drawn: dict[str, bytes],
        config: dict[str, Any],
        weights: Tree,
        stats: Tree,
    ) -> None:
        """Writes the curves, the other drawings and report.html. values: of result.json; drawn: of `tested`."""
        place = self._place
        with self.sparing():
            curves = plots.curves(history, reported=values["reported_epoch"], test=values["test"])
            curves = plots.titled(curves, self.title("training and validation"))
            plots.save(place / "plots", {**drawn, "curves": curves})
            files.write_text(place / "report.html", summary(place, self._task, values, config, weights, stats))

    def close(self) -> None:
        """Makes all that was written visible to TensorBoard."""
        self._wait()
        self._board.flush()

    def end(self, result: Result) -> None:
        """Prints the test, and how to look at the run."""
        count, test = len(self._task.splits.test.labels), result.test
        print(f"test   loss {test['loss']:.4f} accuracy {test['accuracy']:.4f}  ({count:,} images)")
        print(f"run    {result.run_dir}")
        print(f"watch  {tensorboard_command()} --logdir {shlex.quote(str(result.run_dir))}", flush=True)


class Shown:
    """The display of an epoch under way."""

    def __init__(
        self,
        bar: tqdm,
        board: Board,
        learning_rate: LearningRate | None,
        label: str,
        plan: Plan,
        progress: Progress,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bar, self._board, self._rate, self._label, self._plan = bar, board, learning_rate, label, plan
        self._clock, self._first, self._began = clock, progress.steps, clock()
        self._next = self._began + EVERY

    def block(self, progress: Progress, sums: dict[str, float], count: int, step: int) -> None:
        """Shows a block of `count` steps: moves the bar, or prints a line, and adds to the curves."""
        curves = {name: value / count for name, value in sums.items() if name != "gradient_norm"}
        curves["gradient_norm"] = sums["gradient_norm"]
        if self._rate is not None:
            curves["learning_rate"] = float(optimizers.rate_at(self._rate, step - 1))
        if count == self._plan.steps_per_loop:  # all points are means over as many steps
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


def duration(seconds: float) -> str:
    """Returns "01:05" or "1:01:05"."""
    return tqdm.format_interval(seconds)


def tensorboard_command() -> str:
    """Returns what starts TensorBoard from here: the program of this Python's environment, or its module."""
    program = Path(sys.executable).with_name("tensorboard")
    if not program.exists():
        return f"{shlex.quote(sys.executable)} -m tensorboard.main"
    if Path(os.path.abspath(program)).is_relative_to(Path.cwd()):
        program = Path(os.path.abspath(program)).relative_to(Path.cwd())
    return shlex.quote(str(program))
