"""What a run says while it goes: lines on the console, rows in metrics.jsonl, curves in TensorBoard."""

import functools
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from tfcore import binary_plots, build, files, plots, recipes, run_dir
from tfcore.data import augment
from tfcore.quiet import tf
from tfcore.summaries import Board, config_text, flops, parameter_table


class Journal:
    """The console, metrics.jsonl and the event files of one run directory."""

    def __init__(self, recipe, logdir, steps):
        """`steps` is the number of steps in an epoch."""
        self._recipe, self._logdir, self._steps = recipe, logdir, steps
        self._board = Board(logdir)
        self._artist, self._drawing = ThreadPoolExecutor(1), None

    def introduce(self, splits, state):
        """Shows what is about to be trained, on what: the set, the table of parameters, the graph, the recipe."""
        recipe = self._recipe
        sizes = ", ".join(f"{len(getattr(splits, part).labels):,} {part}" for part in ("train", "validation", "test"))
        print(f"{splits.name}: {sizes} images of {len(splits.class_names)} classes")
        if splits.source:
            self._introduce_pictures(splits.source)
        forward = tf.function(functools.partial(build.make_forward(recipe), training=False))
        example = tf.TensorSpec([recipe.batch_size, *splits.train.images.shape[1:]], splits.train.images.dtype)
        concrete = forward.get_concrete_function(state.weights, state.stats, example)
        print(parameter_table(state.weights, state.stats, flops(concrete, recipe.batch_size)))
        if not int(state.step):
            self._board.graph(concrete)
            self._board.text("configuration", config_text(recipes.to_dict(recipe)))
            if recipe.augment.changes:
                n = len(splits.train.labels)
                sheet = augment.examples(recipe.augment, recipe.seed, splits.train.images[:8], n)
                self._board.image("augmented", binary_plots.contact_sheet(sheet), 0)

    def _introduce_pictures(self, source):
        """Prints and draws what was found in the files, and lists in bad_files.json those that could not be used."""
        print(source.survey)
        plots.save(self._logdir / "plots", {"survey": plots.survey(source.survey)})
        rows = [{"file": name, "reason": reason} for name, reason in source.bad]
        files.write_text(self._logdir / "bad_files.json", json.dumps(rows, indent=2) + "\n")
        for row in rows[:3]:
            print(f"left out {row['file']}: {row['reason']}")
        if len(rows) > 3:
            print(f"left out {len(rows) - 3} more: {self._logdir / 'bad_files.json'}")

    def bar(self, epoch, done):
        """Returns a progress bar over the images of an epoch, of which `done` steps are taken; for a terminal only."""
        size = self._recipe.batch_size
        return tqdm(
            desc=self._label(epoch + 1),
            total=self._steps * size,
            initial=done * size,
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def _label(self, epoch):
        last = self._recipe.epochs
        return f"epoch {epoch:>{len(str(last))}}/{last}"

    def block(self, means, learning_rate, step):
        """Notes the mean measures of a block of training steps."""
        self._board.scalars("train", {**means, "learning_rate": learning_rate}, step)

    def epoch(self, row, total_seconds, histograms=None):
        """Notes a row of metrics.jsonl, and histograms of a tree of weights where there is one."""
        run_dir.append(self._logdir / "metrics.jsonl", row)
        self._board.scalars("train", {"images_per_second": row["images_per_second"]}, row["step"])
        self._board.scalars("validation", row["validation"], row["step"])
        if histograms:
            self._board.histograms(histograms, row["step"])
        self._board.flush()
        left = total_seconds / row["epoch"] * (self._recipe.epochs - row["epoch"])
        measures = [
            f"{split} loss {row[split]['loss']:.4f} accuracy {row[split]['accuracy']:.4f}"
            for split in ("train", "validation")
        ]
        speed = f"{row['seconds']:.1f} s  {row['images_per_second']:,} images/s"
        print(
            f"{self._label(row['epoch'])}  {'  '.join(measures)}  {speed}  left {tqdm.format_interval(left)}",
            flush=True,
        )

    def draw(self, make, step):
        """Notes in TensorBoard what make() draws, {name: Matplotlib figure}, while training goes on."""
        self._wait()
        self._drawing = self._artist.submit(self._draw, make, step)

    def _draw(self, make, step):
        for name, drawing in make().items():
            self._board.image(name, binary_plots.to_pixels(drawing), step)

    def _wait(self):
        """Waits for the drawing under way, and raises what it raised."""
        if self._drawing:
            self._drawing.result()
        self._drawing = None

    def flush(self):
        """Makes all that was written visible to TensorBoard."""
        self._wait()
        self._board.flush()
