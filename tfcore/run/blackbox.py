"""The black box: what a run that was not finite leaves in `stopped/`, so that its last step can be taken again.

Or its last forward pass, where only what it says of the validation or test part was not finite.

stopped/ckpt-<step>.safetensors: the state before the step, as a checkpoint; stopped/batch.safetensors: what went in;
stopped/stopped.json: which step, what was not finite, the run. It is written last: without it there is no black box.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import checkpoint, files, tree
from tfcore.quiet import tf
from tfcore.run import blocks, records
from tfcore.run.directory import Place
from tfcore.training import TrainState

KINDS = {"step": int, "seed": int, "why": str, "not_finite": list, "train_examples": int, "config": dict}
FOLDER, FACTS, BATCH = "stopped", "stopped.json", "batch.safetensors"


@contextlib.contextmanager
def kept(
    place: Place, state: TrainState, config: dict[str, Any], examples: int, *, written: bool = True
) -> Iterator[None]:
    """Writes the black box when the block raises NotFinite, and says so in the error.

    Args:
      config: what config.json holds.
      examples: how many there are to train on, on which a learning rate may depend.
      written: False leaves it to another worker of the run.
    """
    try:
        yield
    except blocks.NotFinite as error:
        if not written:
            raise
        try:
            write(place, state, error, config, examples)
            error.args = (f"{error}; run.replay(task, {str(place)!r}) takes it again, op by op",)
        except OSError as failed:  # such as a full disk: what stopped the run is what must be told
            error.args = (f"{error}; no black box could be written ({failed})",)
        raise


def write(place: Place, state: TrainState, error: blocks.NotFinite, config: dict[str, Any], examples: int) -> None:
    """Writes `place`/stopped, durably. error: a `blocks.NotFinite`; `state`: the one before its step."""
    folder = place / FOLDER
    (folder / FACTS).unlink(missing_ok=True)
    checkpoint.save(folder, state, keep=1)
    checkpoint.write(folder / BATCH, {name: np.asarray(v) for name, v in error.batch._asdict().items()}, {})
    facts = {
        "format": records.FORMAT,
        "step": int(state.step),
        "seed": config["run"]["seed"],
        "loss": str(error.loss),
        "not_finite": error.paths,
        "why": str(error),
        "part": error.part,
        "train_examples": examples,
        "config": config,
    }
    files.write_text(folder / FACTS, json.dumps(facts, indent=2) + "\n")


def read(run_dir: str | Path) -> tuple[dict[str, Any], blocks.Block, Path]:
    """Returns the facts of stopped.json, the `Block` of the step and the path of the checkpoint before it.

    Raises:
      ValueError, OSError: there is no black box, or a damaged one.
    """
    folder = Path(run_dir) / FOLDER
    if not (folder / FACTS).exists():
        raise FileNotFoundError(f"run={run_dir}: no {FOLDER}/{FACTS} there: no run has stopped on what is not finite")
    facts = records.read_json(folder / FACTS, KINDS, advice="run the training again")
    bad = [name for name in ("config", "run") if not isinstance(facts["config"].get(name), dict)]
    if bad:
        raise ValueError(f"{folder / FACTS} is damaged, its {', '.join(bad)} cannot be: run the training again")
    tensors, _ = checkpoint.read(folder / BATCH)
    shapes = {path: leaf.shape for path, leaf in tree.flatten(tensors).items()}
    counts = {(len(shape) > 1, *shape[:2]) for shape in shapes.values()}  # all begin with [1, B]
    if set(shapes) != set(blocks.Block._fields) or len(counts) > 1 or not min(counts)[:2] == (True, 1):
        raise ValueError(f"{folder / BATCH} does not hold the images, labels and draws of one batch: {shapes}")
    batch = blocks.Block(**tree.map(tf.constant, tensors))
    return facts, batch, folder / f"ckpt-{facts['step']:09d}.safetensors"
