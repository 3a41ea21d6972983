"""Checkpoints and weights as safetensors files: one file, written by rename, with a digest over all it holds."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from tfcore import files, tree
from tfcore.training import TrainState
from tfcore.types import Tree

if TYPE_CHECKING:
    from tfcore.models import inception_v3

__all__ = ["export_weights", "import_keras_h5", "import_weights", "latest", "restore", "save"]

BEST = "best.safetensors"
FORMAT = 1  # of the files that `write` writes; those that name none are of version 1


def save(
    directory: str | Path, state: TrainState, meta: dict[str, Any] | None = None, *, keep: int = 2, best: bool = False
) -> Path:
    """Writes the whole `state` durably and removes all but the newest `keep` checkpoints.

    Args:
      state: a TrainState.
      meta: what else is needed to go on, JSON values; `restore` returns it.
      best: it is the best so far as well; one file under two names, of which this is not counted among `keep`.
    Returns: the path, `directory`/ckpt-<step>.safetensors.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"ckpt-{int(state.step):09d}.safetensors"
    write(directory / BEST if best else path, _tensors(state), meta or {})
    if best:
        files.link(directory / BEST, path)
    written = [old for old in checkpoints(directory) if old <= path and not old.is_dir()]  # newer ones: broken, skipped
    for old in written[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(directory: str | Path) -> list[Path]:
    """Returns the paths of the checkpoints, oldest first, without looking into them."""
    return sorted(Path(directory).glob("ckpt-*.safetensors"))


def latest(directory: str | Path, *, warn: Callable[[str], object] = print) -> Path | None:
    """Returns the path of the newest whole checkpoint; None when there is none at all. warn(text) hears of broken ones.

    Raises:
      ValueError: there are checkpoints but none is whole.
    """
    found = checkpoints(directory)
    for path in reversed(found):
        try:
            read(path)
            return path
        except (ValueError, OSError) as error:  # a directory of that name, a link to nowhere
            warn(f"skipped a broken checkpoint: {error}")
    if found:
        raise ValueError(f"{directory}: none of {len(found)} checkpoints is whole; clean=True starts over")
    return None


def restore(path: str | Path, state: TrainState) -> dict[str, Any]:
    """Assigns all of a checkpoint to `state` and returns its meta.

    Raises:
      ValueError: the file is broken, or does not fit; then every bad path is listed and nothing is assigned.
    """
    tensors, meta = read(path)
    wanted = tree.unflatten(_variables(state))
    problems = tree.mismatches(tensors, wanted)
    if problems:
        raise ValueError(f"{path} does not fit: " + "; ".join(_with_hints(problems)))
    tree.assign(wanted, tensors)
    return meta


def export_weights(
    path: str | Path, weights: Tree, stats: Tree | None = None, *, metadata: dict[str, Any] | None = None
) -> None:
    """Writes weights and stats (trees of variables, tensors or arrays) to one safetensors file, durably.

    The names in the file are `weights/<path>` and `stats/<path>`; `metadata` is JSON.
    """
    write(path, _arrays({"weights": weights, "stats": stats or {}}), metadata or {})


def import_weights(path: str | Path) -> tuple[Tree, Tree, dict[str, Any]]:
    """Reads what `export_weights` or `save` wrote. Returns weights, stats (trees of arrays) and the metadata.

    Raises:
      ValueError: the file is broken or holds no weights.
      OSError: it cannot be read.
    """
    tensors, metadata = read(path)
    weights, stats = tensors.get("weights"), tensors.get("stats", {})
    if not isinstance(weights, dict) or not isinstance(stats, dict):
        raise ValueError(f"{path} holds no weights/…, it was not written by export_weights")
    return weights, stats, metadata


def import_keras_h5(path: str | Path, config: "inception_v3.Config") -> tuple[Tree, Tree]:
    """Reads a Keras file of InceptionV3: `tfcore.formats.keras_h5.import_keras_h5`, which says more.

    Args:
      path: legacy HDF5, `.h5`, as the published weights are.
      config: an `inception_v3.Config`.
    Returns: weights, stats: float32 variables, as `inception_v3.init(seed, config)` makes them.
    Raises:
      ValueError: the file is broken or does not fit; every bad path is listed.
      OSError: it cannot be read.
    """
    from tfcore.formats import keras_h5  # here, because few runs read other people's files

    return keras_h5.import_keras_h5(path, config)


class OtherFormat(ValueError):
    """A file of another version of tfcore's format; the message names both."""


def write(path: str | Path, tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Writes {name: array} and JSON values to a safetensors file, durably."""
    header = {"format": FORMAT, "meta": meta, "names": list(tensors), "digest": _digest(tensors, meta)}
    with files.durable(path) as file:  # one entry of metadata: safetensors writes several in any order
        file.write(to_bytes(tensors, metadata={"tfcore": json.dumps(header)}))


def read(path: str | Path) -> tuple[Tree, dict[str, Any]]:
    """Returns the tree of arrays and the JSON values of a file of `write`.

    Raises:
      ValueError: it is not such a file, not as it was written, or larger than the memory of the machine.
      OSError: it cannot be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    size, memory = Path(path).stat().st_size, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ValueError(f"{path} has {size:,} bytes, the machine has a memory of {memory:,}")
    try:
        with safe_open(path, framework="numpy") as file:
            if "tfcore" not in (file.metadata() or {}):
                raise ValueError("it was not written by tfcore, whose entry in its metadata is missing")
            header = json.loads(file.metadata()["tfcore"])
            if header.get("format", 1) != FORMAT:
                raise OtherFormat(f"{path} has version {header['format']} of its format, this tfcore reads {FORMAT}")
            stored = list(file.keys())  # safetensors sorts them; ours keep the order in which they were given
            if set(header["names"]) != set(stored):
                raise ValueError("its names and its tensors differ")
            tensors = {name: file.get_tensor(name) for name in header["names"]}
            meta, digest = header["meta"], header["digest"]
            if not isinstance(meta, dict):
                raise ValueError("its meta is not a dictionary")
        nested = tree.unflatten(tensors)
    except OtherFormat:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error})") from None
    if digest != _digest(tensors, meta):
        raise ValueError(f"{path} is damaged: its content does not have the digest that was written with it")
    return nested, meta


def _digest(tensors, meta):
    """Returns the sha256 over names, dtypes, shapes and bytes of all tensors, and the JSON values."""
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _variables(state):
    parts = {"weights": state.weights, "stats": state.stats, "slots": state.slots, "step": state.step}
    return tree.flatten(parts)


def _tensors(state):
    return _arrays(tree.unflatten(_variables(state)))


def _arrays(nested):
    """Returns {path: contiguous array}."""
    return {path: np.asarray(leaf, order="C") for path, leaf in tree.flatten(nested).items()}


def _with_hints(problems):
    """Says which setting would make a weight fit, and drops what the slots repeat."""
    problems = [p for p in problems if not p.startswith("slots/")] or problems
    return [p.removeprefix("weights/") + _hint(p) for p in problems]


def _hint(problem):
    """Returns " (filters=64?)" where a file's kernel has another number of outputs than the model's."""
    path, _, rest = problem.partition(": file has ")
    has, _, wants = rest.partition(", model wants ")
    has, wants = has.split("x"), wants.split("x")
    if not path.endswith("/w") or len(has) != len(wants) or has[:-1] == [] or has[-1] == wants[-1]:
        return ""
    return f" ({'filters' if len(has) == 4 else 'hidden'}={has[-1]}?)"
