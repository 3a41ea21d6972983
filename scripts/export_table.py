"""Measures exports beside the run they are of: size, time of a picture, and how often they choose another class.

python scripts/export_table.py --runs=logs/fashion_cnn_best/fashion_mnist-seed0 --write      # into docs/export.md
"""

import flags

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from absl.flags import DEFINE_boolean, DEFINE_integer, DEFINE_list, DEFINE_string
from tables import splice

from tfcore import files, metrics, recipes
from tfcore.formats import litert, onnx
from tfcore.quiet import tf
from tfcore.recipes import exports

PAGE = Path(__file__).parent.parent / "docs" / "export.md"
BEGIN, END = "<!-- exports: python scripts/export_table.py --write -->", "<!-- end of exports -->"
FORMATS = ("saved_model", "tflite", "tflite_int8", "onnx")


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    usual = ["logs/mnist_perceptron/mnist-seed0", "logs/fashion_cnn/fashion_mnist-seed0"]
    DEFINE_list("runs", usual, "what: run directories", **more)
    DEFINE_integer("pictures", 1000, "what: how many test pictures", lower_bound=1, **more)
    DEFINE_string("data_dir", None, "what: where their sets are; default $TFCORE_DATA_DIR, then the cache", **more)
    DEFINE_boolean("write", False, "output: put the table into docs/export.md", **more)


def main(values, _):
    """Prints a row for each run and format, and writes them into the page where that is asked for."""
    rows = [
        "| run | format | bytes | ms a picture | the same class | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for run_dir in values.runs:
        for row in measured(run_dir, values.pictures, values.data_dir):
            rows.append(f"| {' | '.join(row)} |")
            print(rows[-1], flush=True)
    if values.write:
        files.write_text(PAGE, splice(PAGE.read_text(), BEGIN, END, "\n".join(rows)))


def measured(run_dir, count, data_dir):
    """Yields the cells of a run's rows."""
    recipe, weights, stats, _ = recipes.load_run(run_dir)
    splits = recipes.load_data(recipe, data_dir)
    images = np.asarray(splits.test.images[:count])
    wanted = metrics.probabilities(recipes.predictor(recipe)(weights, stats, images)).numpy()
    with tempfile.TemporaryDirectory() as place:
        for form in FORMATS:
            calibration = np.asarray(splits.train.images[: exports.CALIBRATING])
            path = exports.export(run_dir, form, Path(place) / exports.file_name(form), calibration=calibration)
            shares, milliseconds = timed(predictor(form, path), images)
            same = np.mean(shares.argmax(axis=1) == wanted.argmax(axis=1))
            difference = f"{np.abs(shares - wanted).max():.1e}"
            size = f"{exports.size_of(path):,}"
            yield [recipe.name, f"`{form}`", size, f"{milliseconds:.2f}", f"{same:.1%}", difference]


def predictor(form, path):
    """Returns predict(images) -> probabilities of an export."""
    if form == "saved_model":
        model = tf.saved_model.load(str(path)).signatures["serving_default"]
        return lambda images: model(pictures=tf.constant(images))["probabilities"].numpy()
    return (onnx if form == "onnx" else litert).predictor(path)


def timed(predict, images):
    """Returns the probabilities of all images, given one at a time, and the median time of one in milliseconds."""
    predict(images[:1])
    shares, seconds = [], []
    for image in images:
        began = time.perf_counter()
        shares.append(predict(image[np.newaxis])[0])
        seconds.append(time.perf_counter() - began)
    return np.stack(shares), 1000 * statistics.median(seconds)


if __name__ == "__main__":
    flags.start(main, define)
