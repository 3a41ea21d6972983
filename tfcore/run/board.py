"""What a run shows in TensorBoard: event files, and how each of its pages reads them."""

import contextlib
import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import files, tree
from tfcore.quiet import tf
from tfcore.showing import readable, warn
from tfcore.types import Tree

WHOLE = "."  # the run itself, beside its parts train, validation and test
FIRST = ("accuracy", "loss")  # groups are opened and sorted by name: these two come first, thresholds last
GROUPS = (("thresholds", re.compile(r".*_at/0\.\d$")), ("progress", re.compile(r"learning_rate|gradient_norm|images_")))
LARGE = 250_000  # bytes of a picture
THRESHOLDS, CURVES = 101, 100  # of precision and recall: points of a class, and classes


class Board:
    """Writes event files under `run_dir`, /train, /validation and /test, with equal tags so that curves overlay."""

    def __init__(self, run_dir: str | Path) -> None:
        self._run_dir, self._warned = Path(run_dir), False
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def _writer(self, part):
        """Returns the writer of `part`, whose file begins with the first thing to write; else one of nothing."""
        try:
            if part not in self._writers:
                self._writers[part] = tf.summary.create_file_writer(str(self._run_dir / part))
            return self._writers[part]
        except (tf.errors.OpError, OSError) as error:
            self._warn(error)
            return tf.summary.create_noop_writer()

    @contextlib.contextmanager
    def writing(self, part: str, step: int = 0) -> Iterator[None]:
        """Makes `part` the place of tf.summary's calls. What cannot be written costs one warning, not the run."""
        try:
            with self._writer(part).as_default(step=step):
                yield
        except (tf.errors.OpError, OSError) as error:
            self._warn(error)

    def _warn(self, error):
        if not self._warned:
            reason = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", str(error), flags=re.DOTALL).strip()
            warn(f"TensorBoard's files cannot be written, the run goes on: {self._run_dir}: {reason}")
        self._warned = True

    def scalars(self, part: str, values: dict[str, float], step: int) -> None:
        """Writes {name: number} at a step, each in its group, in one operation: one for each would take longer."""
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        points = [scalar_pb(grouped(readable(name)), value).SerializeToString() for name, value in values.items()]
        with self.writing(part, step):  # bytes of several messages one after the other are those of all in one
            tf.summary.experimental.write_raw_pb(b"".join(points), step=step)

    def histograms(self, weights: Tree, gradients: Tree, step: int) -> None:
        """Writes a histogram of each leaf of two trees under its path."""
        with self.writing("train", step):
            for group, values in (("weights", weights), ("weights_gradients", gradients)):
                for path, leaf in tree.flatten(values).items():
                    tf.summary.histogram(f"{group}/{path}", leaf)

    def text(self, tag: str, text: str) -> None:
        """Writes a text, in Markdown."""
        with self.writing("train"):
            tf.summary.text(tag, text)

    def graph(self, graph: tf.compat.v1.GraphDef, tag: str | None = None) -> None:
        """Writes a GraphDef: the run's graph, or with a tag a further one."""
        with self.writing("train"):
            if not tag:
                tf.summary.graph(graph)
                return
            traced = tf.compat.v1.RunMetadata()
            traced.function_graphs.add().pre_optimization_graph.CopyFrom(graph)
            plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="graph_run_metadata_graph", content=b"1")
            tf.summary.write(tag, traced.SerializeToString(), metadata=tf.compat.v1.SummaryMetadata(plugin_data=plugin))

    def picture(self, part: str, tag: str, png: bytes, step: int, smaller: Callable[[], bytes] = lambda: b"") -> None:
        """Writes a picture: the bytes of its PNG file, or, where they are many, what smaller() gives in their place."""
        from tensorboard.plugins.image.metadata import create_summary_metadata

        size = [str(side).encode() for side in struct.unpack(">II", png[16:24])]  # of its first chunk: width, height
        with self.writing(part, step):
            values = tf.constant([*size, png if len(png) <= LARGE else smaller()])
            tf.summary.write(f"pictures/{tag}", values, metadata=create_summary_metadata(None, None))

    def settings(self, values: dict[str, Any]) -> None:
        """Writes {name: setting} for the page HParams, which puts runs side by side."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # its api would import Keras

        simple = {name: v if isinstance(v, bool | int | float | str) else json.dumps(v) for name, v in values.items()}
        with self.writing(WHOLE):
            tf.summary.experimental.write_raw_pb(hparams_pb(simple).SerializeToString(), step=0)

    def layout(self) -> None:
        """Writes which curves the page Custom Scalars puts together."""
        from tensorboard.plugins.custom_scalar import layout_pb2, summary

        charts = [
            layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[rf"^{tag}$"]))
            for title, tag in (("loss", "loss"), ("accuracy", "accuracy"), ("learning rate", "progress/learning_rate"))
        ]
        layout = layout_pb2.Layout(category=[layout_pb2.Category(title="training", chart=charts)])
        with self.writing("train"):
            tf.summary.experimental.write_raw_pb(summary.pb(layout).SerializeToString(), step=0)

    def precision_recall(
        self, part: str, probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str], step: int
    ) -> None:
        """Writes precision and recall over the threshold, a curve a class. probabilities: [N, C], labels: [N]."""
        from tensorboard.plugins.pr_curve import summary

        with self.writing(part, step):
            for c, name in enumerate(map(readable, class_names[:CURVES])):
                curve = summary.pb(f"classes/{name}", labels == c, probabilities[:, c], num_thresholds=THRESHOLDS)
                tf.summary.experimental.write_raw_pb(curve.SerializeToString(), step=step)

    def projector(self, part: str, vectors: np.ndarray, names: Sequence[str], images: np.ndarray | None = None) -> None:
        """Writes what the Projector shows: vectors, [N, D], with a name each, and pictures, [N, H, W, 3] uint8."""
        from google.protobuf import text_format
        from tensorboard.plugins.projector import ProjectorConfig

        folder, config = self._run_dir / part, ProjectorConfig()
        named = config.embeddings.add(tensor_name="last hidden layer", tensor_shape=vectors.shape)
        named.tensor_path, named.metadata_path = "vectors.tsv", "names.tsv"
        with files.durable(folder / "vectors.tsv") as file:
            np.savetxt(file, vectors, fmt="%.3g", delimiter="\t")
        files.write_text(folder / "names.tsv", "".join(readable(name) + "\n" for name in names))
        if images is not None:
            named.sprite.image_path = "sprites.png"
            named.sprite.single_image_dim.extend([images.shape[2], images.shape[1]])
            with files.durable(folder / "sprites.png") as file:
                file.write(tf.io.encode_png(sprite_sheet(images)).numpy())
        files.write_text(folder / "projector_config.pbtxt", text_format.MessageToString(config))

    def flush(self) -> None:
        """Makes all that was written visible to TensorBoard."""
        for writer in self._writers.values():
            try:
                writer.flush()
            except (tf.errors.OpError, OSError) as error:
                self._warn(error)


def grouped(name: str) -> str:
    """Returns the tag of a measure: loss and accuracy as they are, others behind them, in a group."""
    if name in FIRST:
        return name
    return next((f"{group}/{name}" for group, names in GROUPS if names.match(name)), f"measures/{name}")


def sprite_sheet(images: np.ndarray) -> np.ndarray:
    """Puts N pictures row by row into a square sheet, as the Projector reads them. [N, H, W, 3] -> [.., .., 3]."""
    count, height, width, channels = images.shape
    side = int(np.ceil(np.sqrt(count)))
    sheet = np.zeros([side * side, height, width, channels], np.uint8)
    sheet[:count] = images
    return sheet.reshape(side, side, height, width, channels).swapaxes(1, 2).reshape(side * height, side * width, -1)
