"""Exports a run for other programs: SavedModel, LiteRT in float32 and in 8-bit integers, ONNX, safetensors.

python scripts/export.py --run=logs/fashion_cnn/fashion_mnist-seed0 --format=saved_model,tflite,safetensors,onnx
python scripts/export.py --run=logs/fashion_cnn/fashion_mnist-seed0 --format=tflite_int8 --data_dir=~/data
"""

import flags

from pathlib import Path

from absl.flags import DEFINE_list, DEFINE_string

from tfcore import recipes
from tfcore.recipes import exports


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_string("run", None, "what: the run directory", required=True, **more)
    DEFINE_list("format", ["saved_model"], f"what: one or more of {', '.join(exports.FORMATS)}", **more)
    DEFINE_string("to", None, "output: the directory to write into; default export/ of the run", **more)
    text = "what: where the training pictures for tflite_int8 are; default $TFCORE_DATA_DIR, then the cache"
    DEFINE_string("data_dir", None, text, **more)


def main(values, _):
    """Writes each export and prints where it is and how large."""
    if unknown := [form for form in values.format if form not in exports.FORMATS]:
        raise flags.usage_error(f"--format={unknown[0]} is not one of {', '.join(exports.FORMATS)}")
    calibration = None
    if "tflite_int8" in values.format:
        recipe, *_ = recipes.load_run(values.run)
        splits = recipes.load_data(recipe, values.data_dir)
        calibration = splits.train.images[: exports.CALIBRATING]
    for form in values.format:
        path = Path(values.to).expanduser() / exports.file_name(form) if values.to else None
        path = exports.export(values.run, form, path, calibration=calibration)
        print(f"{form:<11} {exports.size_of(path):>12,} bytes  {path}")


if __name__ == "__main__":
    flags.start(main, define)
