"""What a run shows: scalars, histograms, the graph and the configuration in TensorBoard, and a table of parameters."""

import contextlib
import json
import math
import sys
from pathlib import Path

from tfcore import tree
from tfcore.quiet import tf

SPLITS = ("train", "validation")


class Board:
    """Writes event files under `run_dir`/train and `run_dir`/validation, with equal tags so that curves overlay."""

    def __init__(self, run_dir):
        self._writers = {split: tf.summary.create_file_writer(str(Path(run_dir) / split)) for split in SPLITS}
        self._full = False

    @contextlib.contextmanager
    def _writing(self, split, step):
        """Makes `split` the place of tf.summary's calls. A full disk costs the curves and one warning, not the run."""
        try:
            with self._writers[split].as_default(step=step):
                yield
        except (tf.errors.ResourceExhaustedError, tf.errors.FailedPreconditionError, OSError) as error:
            self._warn(error)

    def _warn(self, error):
        if not self._full:
            print(f"TensorBoard's files cannot be written, the run goes on: {error}".splitlines()[0], file=sys.stderr)
        self._full = True

    def scalars(self, split, values, step):
        """Writes {tag: number} at a step."""
        with self._writing(split, step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)

    def histograms(self, values, step):
        """Writes a histogram of each leaf of a tree under its path."""
        with self._writing("train", step):
            for path, leaf in tree.flatten(values).items():
                tf.summary.histogram(path, leaf)

    def text(self, tag, text):
        """Writes a text, in Markdown."""
        with self._writing("train", 0):
            tf.summary.text(tag, text)

    def graph(self, concrete):
        """Writes the graph of a concrete function."""
        with self._writing("train", 0):
            tf.summary.graph(concrete.graph)

    def image(self, tag, image, step):
        """Writes a picture, [H, W, C] uint8."""
        with self._writing("train", step):
            tf.summary.image(tag, image[tf.newaxis])

    def flush(self):
        """Makes all that was written visible to TensorBoard."""
        for writer in self._writers.values():
            try:
                writer.flush()
            except (tf.errors.OpError, OSError) as error:
                self._warn(error)


def config_text(config):
    """Returns JSON values as a Markdown block."""
    return "```json\n" + json.dumps(config, indent=2) + "\n```"


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
