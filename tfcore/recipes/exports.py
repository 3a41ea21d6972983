"""The exports of a run in the formats of others, and the way back: the weights from which a run starts."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfcore import checkpoint, models, run, tree
from tfcore.data.splits import Splits
from tfcore.formats.served import Served
from tfcore.quiet import tf
from tfcore.recipes.assemble import fit_to_data, tested_forward
from tfcore.recipes.finished import load_run, unfit
from tfcore.recipes.recipe import Recipe
from tfcore.run import directory
from tfcore.types import Seed, Tree

FORMATS = ("safetensors", *directory.EXPORTS)
CALIBRATING = 200  # training pictures that say which ranges 8-bit integers need
NEEDED = {"onnx": "tf2onnx"}  # packages of the extra "export", without which a format is not written


class Start(NamedTuple):
    """Weights and stats that a run starts from, trees of arrays."""

    weights: Tree
    stats: Tree

    def digest(self) -> str:
        """Returns a hash of both, which tells what a run starts from."""
        return tree.digest({"weights": self.weights, "stats": self.stats})

    def init(self, seed: Seed) -> tuple[Tree, Tree]:
        """Returns copies: a run changes what it starts from. The `init` of a `run.Task`."""
        return tree.map(np.array, self.weights), tree.map(np.array, self.stats)


def export(
    run_dir: str | Path, form: str, path: str | Path | None = None, *, calibration: np.ndarray | None = None
) -> Path:
    """Exports a run of a recipe in one of FORMATS, durably, and returns the path.

    Args:
      path: of the file, of a SavedModel the directory; None puts it into the run's export/.
      calibration: of "tflite_int8", [N, H, W, C] uint8, training pictures.
    Raises:
      ValueError: as `load_run`; another format; int8 without pictures; a package is missing, which is named.
      OSError: it cannot be written.
    """
    if form not in FORMATS:
        raise ValueError(f"format={form} is not one of {', '.join(FORMATS)}")
    if form in NEEDED and not importlib.util.find_spec(NEEDED[form]):
        raise ValueError(f"format={form} needs {NEEDED[form]}: pip install tfcore[export]")
    loaded = load_run(run_dir)
    own = Path(run_dir) / directory.EXPORT.parent / file_name(form)
    path = Path(path or own)
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "safetensors":
        return _weights(path, own, *loaded)
    if form == "tflite_int8" and calibration is None:
        raise ValueError(f"format={form} wants training pictures to calibrate its integers on")
    _write(form, path, served(*loaded, portable=form != "saved_model"), calibration)
    return path


def file_name(form: str) -> str:
    """Returns the name of an export in a directory."""
    return directory.EXPORTS.get(form, directory.EXPORT.name)


def size_of(path: Path) -> int:
    """Returns the bytes of an export, a file or a directory."""
    path = Path(path)
    return sum(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())


def _weights(path, own, _, weights, stats, facts):
    """Writes the file that a run leaves at its end; in the run's own place only the end of the run writes it."""
    if path.resolve() != own.resolve():
        checkpoint.export_weights(path, weights, stats, metadata=facts)
    elif not own.exists():
        raise ValueError(f"{own} is written when the run ends; to have the weights as they are now, name another place")
    return path


def _write(form, path, network, calibration):
    from tfcore.formats import litert, onnx, saved_model  # here, because few runs write them

    if form == "saved_model":
        saved_model.write(path, network)
    elif form == "onnx":
        onnx.write(path, network)
    else:
        litert.write(path, network, calibration=calibration if form == "tflite_int8" else None)


def served(recipe: Recipe, weights: Tree, stats: Tree, facts: dict[str, Any], *, portable: bool = False) -> Served:
    """Returns the `Served` of what `load_run` returned.

    portable: in float32 and without loops, as other programs want it; up to rounding the same.
    """
    shown = dataclasses.replace(recipe, precision="float32") if portable else recipe
    names = facts["class_names"]
    forward = tested_forward(shown, at_once=portable)
    return Served(forward, weights, stats, recipe.model.image_shape, tuple(names), recipe.resize, facts)


def read(path: str | Path) -> tuple[Tree, Tree, dict[str, Any]]:
    """Returns weights and stats (trees of arrays) and the facts of an export, a checkpoint, a run, or a SavedModel.

    Raises:
      ValueError: it is none of these, or damaged.
      OSError: it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return checkpoint.import_weights(path)
    if (path / "saved_model.pb").exists():
        from tfcore.formats import saved_model

        return saved_model.read(path)
    facts, weights, stats = run.load_run(path)
    return weights, stats, facts


def start_from(path: str | Path, recipe: Recipe, splits: Splits) -> Start:
    """Returns the Start in an export for a run of `recipe`: every path of the network, in its order.

    path: as in `read`.
    Raises:
      ValueError: the weights are not of that network; every bad path is listed. Else as `read`.
    """
    model = fit_to_data(recipe, splits).model
    weights, stats, _ = read(path)
    if problems := unfit(model, weights, stats):
        raise ValueError(f"{path} does not fit the network of {recipe.name}: {'; '.join(problems)}")
    with tf.Graph().as_default():
        wanted = models.module_of(model).init(0, model)
    weights, stats = (tree.map(lambda _, leaf: np.asarray(leaf), w, f) for w, f in zip(wanted, (weights, stats)))
    return Start(weights, stats)
