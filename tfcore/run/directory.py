"""The run directory: who holds it, whose it is, and what is read back from it.

config.json environment.json metrics.jsonl result.json checkpoints/ plots/ export/ train/ validation/
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfcore import checkpoint, files, training, tree
from tfcore.data import content
from tfcore.run import environment, records
from tfcore.run.plan import Plan
from tfcore.run.task import Task
from tfcore.training import TrainState
from tfcore.types import Tree

MAY_CHANGE = ("epochs", "steps_per_loop", "patience", "max_bad_fraction")  # on resuming: not the steps already taken
WRITTEN = ("checkpoints", "plots", "export")  # directories; those of the event files may fail
EXPORT = Path("export", "weights.safetensors")
EXPORTS = {  # other forms of the same, beside it
    "saved_model": "saved_model",
    "tflite": "model.tflite",
    "tflite_int8": "model_int8.tflite",
    "onnx": "model.onnx",
}
KEPT = ("result.json", str(EXPORT), "checkpoints/*.safetensors", "metrics.jsonl")  # of a run, and of no other
CONFIG = {"config": dict, "run": dict, "class_names": list}  # what config.json has, among others


@dataclasses.dataclass(frozen=True)
class Place:
    """A run directory that this process holds: `place / name` is a path in it, as of a Path.

    lock: the descriptor of its lock's file, open, so that no other file can be taken for it.
    owner: what a checkpoint says of whose it is.
    """

    path: Path
    lock: int
    owner: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __truediv__(self, name: str | Path) -> Path:
        return self.path / name

    def __str__(self):
        return str(self.path)

    def check(self) -> None:
        """Raises OSError: the directory, or its lock, is not the one that this process holds any more."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self.lock), os.stat(self.path / ".lock")):
                return
        raise OSError(
            f"{self} was removed, or made anew, while this run went on: it ends here and writes nothing there"
        )


@contextlib.contextmanager
def held(logdir: str | Path) -> Iterator[Place]:
    """Makes the directory, holds it for this process while the block runs, and yields its Place.

    Raises:
      OSError: nothing can be written there, or another process holds it; the message says which.
    """
    logdir = Path(logdir)
    _check_writable(logdir, "logdir=")
    with contextlib.ExitStack() as stack:
        with records.naming(logdir / ".lock"):
            stack.enter_context(files.locked(logdir))
            lock = stack.enter_context(open(logdir / ".lock"))
        for directory in (logdir, *(logdir / name for name in (*WRITTEN, "stopped", "validation"))):
            files.remove_leftovers(directory)
        place = Place(logdir, lock.fileno())
        place.check()
        yield place


def _check_writable(directory, argument=""):
    """Makes the directory. Raises OSError: nothing can be written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        files.write_text(directory / ".writable", "")
        (directory / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"{argument}{directory} cannot be written: {error.strerror}") from None


def describe(task: Task, plan: Plan, note: str = "") -> dict[str, Any]:
    """Returns what makes a run this run, as JSON values: config.json, but for its id, and what its export holds."""
    splits, settings = task.splits, plan._asdict()
    if not plan.check_numerics:
        del settings["check_numerics"]  # it is named only where it makes another run
    return {
        "format": records.FORMAT,
        "name": task.name,
        "config": task.config,
        "run": {name: value for name, value in settings.items() if name != "steps"},
        "dataset": splits.name,
        "class_names": list(splits.class_names),
        "content": content(splits),
        "pictures": {"content": splits.source.content, "order": splits.source.order} if splits.source else {},
        "note": note,
    }


def claim(
    place: Place, config: dict[str, Any], *, clean: bool = False, written: Sequence[str] = WRITTEN, replicas: int = 1
) -> Place:
    """Makes the directory that of the run that `config` describes; with `clean` it first forgets what was there.

    written: the directories in it that the run will write.
    replicas: how many devices take a step together.
    Returns: the Place, which knows whose it is.
    Raises:
      ValueError: it holds another run, or one of which the user removed something; nothing is changed then.
      OSError: one of the directories in it cannot be written.
    """
    path, config, run_id = place / "config.json", json.loads(json.dumps(config)), secrets.token_hex(8)
    if path.exists() and not clean:
        before = records.read_json(path, CONFIG)
        _refuse_differences(place, before, config)
        run_id = before.get("id", "")
        environment.starts(place / "environment.json")  # refused, where it is damaged, before anything is written
    elif not clean and (kept := [name for name in KEPT if any(place.path.glob(name))]):
        raise ValueError(
            f"{place} holds {', '.join(kept)} but no config.json to say whose: put it back, or clean=True to start over"
        )
    for name in written:
        _check_writable(place / name)
    if clean:
        forget(place)
    files.write_text(path, json.dumps({**config, "id": run_id}, indent=2) + "\n")
    environment.note_start(place / "environment.json", replicas)
    return dataclasses.replace(place, owner={"run": run_id, "config": _digest(config)})


def _settings(config):
    """Returns {path: value} of all that may not change while a run goes on."""
    allowed = {f"run/{name}" for name in MAY_CHANGE} | {"config/max_bad_fraction"}
    settings = tree.flatten({name: value for name, value in config.items() if name not in ("format", "id", "note")})
    return {name: value for name, value in settings.items() if name not in allowed}


def _digest(config):
    return hashlib.sha256(json.dumps(_settings(config), sort_keys=True).encode()).hexdigest()


def _refuse_differences(place, before, now):
    """Raises ValueError: the settings of two runs differ in more than may change; it names all."""
    before, now = _settings(before), _settings(now)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    settings = [name for name in changed if name.split("/")[0] not in ("content", "pictures")]
    if changed:
        differences = ["it has other data"] if len(settings) < len(changed) else []
        differences += [f"{_setting(name)} was {before.get(name)}, now {now.get(name)}" for name in settings]
        raise ValueError(
            f"{place} holds a run with other settings: {'; '.join(differences)}. "
            "Use those, another logdir, or clean=True to start over"
        )


def _setting(name):
    """Returns the name by which people know a setting."""
    return name.removeprefix("config/").removeprefix("run/")


def forget(place: Place) -> None:
    """Removes what a run wrote, and nothing else, in an order in which what remains never lies.

    First goes what says that it is complete, then its weights, then its measures; last what says whose it is.
    """
    names = ["result.json", "export", "checkpoints", "metrics.jsonl", "stopped", "plots", "report.html"]
    names += ["train", "validation", "test", *(path.name for path in (place / ".").glob("events.out.tfevents.*"))]
    for path in (place / name for name in (*names, "bad_files.json", "environment.json", "config.json")):
        _remove(path)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def reopen(place: Place) -> None:
    """Takes back what says that a run is complete, since it goes on, and what was exported of it."""
    (place / "result.json").unlink(missing_ok=True)
    for path in (place / EXPORT, *(place / EXPORT.parent / name for name in EXPORTS.values())):
        _remove(path)


def save(place: Place, state: TrainState, meta: dict[str, Any], *, best: bool = False) -> Path:
    """Writes a checkpoint that says whose it is, and returns its path.

    Raises:
      OSError: it cannot be written, or the directory is not ours any more.
    """
    place.check()
    return checkpoint.save(place / "checkpoints", state, {**meta, **place.owner}, best=best)


def owned(path: str | Path, meta: dict[str, Any], place: Place) -> dict[str, Any]:
    """Returns the meta of a checkpoint without its owner. Raises ValueError: it is of another run."""
    meta = dict(meta)
    owner = {name: meta.pop(name, "") for name in place.owner}
    if place.owner["run"] and owner != place.owner:  # runs of earlier versions have no id
        raise ValueError(f"{path} is of another run, or of other settings: remove it, or clean=True to start over")
    return meta


def append(place: Place, row: dict[str, Any]) -> None:
    """Adds a row to metrics.jsonl, durably. Raises OSError: it cannot be written, or the directory is not ours."""
    place.check()
    records.append(place / "metrics.jsonl", row)


def newest(place: Place) -> Path | None:
    """Returns the path of the newest checkpoint, None where there is none."""
    return next(reversed(checkpoint.checkpoints(place / "checkpoints")), None)


def last_good(place: Place) -> str:
    """Returns a sentence that names the newest checkpoint."""
    path = newest(place)
    return f"the last good checkpoint is {path}" if path else "there is no checkpoint yet"


def load_run(run_dir: str | Path) -> tuple[dict[str, Any], Tree, Tree]:
    """Returns config, weights and stats of a run: of its export, or of its newest checkpoint while it trains.

    config: what config.json holds: "config" of the task, "run", "class_names", "content" and more.

    Raises:
      ValueError, OSError: `run_dir` holds no run, or a broken one.
    """
    run_dir = Path(run_dir)
    exported = run_dir / EXPORT
    if exported.exists():
        weights, stats, config = checkpoint.import_weights(exported)
        if problem := records.problem_of(config, CONFIG):
            raise ValueError(f"{exported} was not written by a run ({problem})")
        records.check_format(exported, config)
        return config, weights, stats
    path = checkpoint.latest(run_dir / "checkpoints")
    if path is None or not (run_dir / "config.json").exists():
        raise FileNotFoundError(f"run={run_dir}: no export and no checkpoint there; a run is logs/<experiment>/<run>")
    tensors, _ = checkpoint.read(path)
    weights = training.averages(tensors["weights"], tensors.get("slots", {}))
    return records.read_json(run_dir / "config.json", CONFIG), weights, tensors.get("stats", {})
