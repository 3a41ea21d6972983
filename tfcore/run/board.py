"""What a run shows in TensorBoard: scalars, histograms, pictures, the graph and the configuration."""

import contextlib
import json
import re
from pathlib import Path

from tfcore import tree
from tfcore.quiet import tf
from tfcore.showing import readable, warn


class Board:
    """Writes event files under `run_dir`/train and `run_dir`/validation, with equal tags so that curves overlay."""

    def __init__(self, run_dir):
        self._run_dir, self._writers, self._warned = Path(run_dir), {}, False

    def _writer(self, split):
        """Returns the writer of `split`, whose file begins with the first thing to write; else one of nothing."""
        try:
            if split not in self._writers:
                self._writers[split] = tf.summary.create_file_writer(str(self._run_dir / split))
            return self._writers[split]
        except (tf.errors.OpError, OSError) as error:
            self._warn(error)
            return tf.summary.create_noop_writer()

    @contextlib.contextmanager
    def _writing(self, split, step):
        """Makes `split` the place of tf.summary's calls. What cannot be written costs one warning, not the run."""
        try:
            with self._writer(split).as_default(step=step):
                yield
        except (tf.errors.OpError, OSError) as error:
            self._warn(error)

    def _warn(self, error):
        if not self._warned:
            reason = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", str(error), flags=re.DOTALL).strip()
            warn(f"TensorBoard's files cannot be written, the run goes on: {self._run_dir}: {reason}")
        self._warned = True

    def scalars(self, split, values, step):
        """Writes {tag: number} at a step."""
        with self._writing(split, step):
            for tag, value in values.items():
                tf.summary.scalar(readable(tag), value)

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
