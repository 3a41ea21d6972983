"""The run directory: config.json, environment.json, metrics.jsonl, checkpoints/, export/, and reading a run back."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import sys
from pathlib import Path

import numpy as np

from tfcore import checkpoint, files, recipes, tree
from tfcore.quiet import tf

# On resuming: they do not alter the steps already taken.
MAY_CHANGE = ("epochs", "steps_per_loop", "patience", "max_bad_fraction")


def create(logdir):
    """Makes the directory. Raises OSError, which names --logdir, when nothing can be written there."""
    try:
        logdir.mkdir(parents=True, exist_ok=True)
        files.write_text(logdir / ".writable", "")
        (logdir / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"--logdir={logdir} cannot be written: {error.strerror}") from None


def environment():
    """Returns what the bits of a run depend on besides its recipe."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "threads": len(os.sched_getaffinity(0)),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
    }


def _processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def claim(logdir, recipe, splits, *, start=None, origin=None):
    """Writes config.json and environment.json, or refuses a directory whose run has another recipe, start or origin.

    start, origin: as in `run.train`.
    """
    config, place = logdir / "config.json", logdir / "environment.json"
    now = {"recipe": recipes.to_dict(recipe), "class_names": list(splits.class_names), "start": digest(start)}
    now["origin"] = origin or {}
    now |= {"content": splits.source.content, "order": splits.source.order} if splits.source else {}
    if config.exists():
        before = json.loads(config.read_text())
        differences = _differences(before["recipe"], now["recipe"])
        differences += _differences(before.get("origin", {}), now["origin"])
        differences += ["it started from other weights"] if before.get("start") != now["start"] else []
        differences += ["it has other pictures"] if before.get("order") != now.get("order") else []
        if differences:
            raise ValueError(
                f"{logdir} holds a run with other settings: {'; '.join(differences)}. "
                "Use those, another --logdir, or --clean to start over"
            )
    if place.exists():
        before = json.loads(place.read_text())
        changed = [f"{key}: {before.get(key)}, now {v}" for key, v in environment().items() if before.get(key) != v]
        if changed:
            print(f"not the same environment, so not the same bits: {'; '.join(changed)}", file=sys.stderr)
    files.write_text(config, json.dumps(now, indent=2) + "\n")
    files.write_text(place, json.dumps(environment(), indent=2) + "\n")


def digest(start):
    """Returns a hash of weights and stats that a run starts from, "drawn" where they come from the seed."""
    if not start:
        return "drawn"
    leaves = tree.flatten(dict(zip(("weights", "stats"), start)))
    return hashlib.sha256(b"".join(path.encode() + np.asarray(v).tobytes() for path, v in leaves.items())).hexdigest()


def _differences(before, now):
    """Returns "learning_rate was 0.001, now 0.01" for each setting that may not change on resuming."""
    allowed = [name for name in MAY_CHANGE if not (name == "epochs" and now.get("schedule") != "constant")]
    before, now = (tree.flatten(json.loads(json.dumps(recipe))) for recipe in (before, now))
    return [
        f"{name} was {before.get(name)}, now {now.get(name)}"
        for name in {**before, **now}
        if name not in allowed and before.get(name) != now.get(name)
    ]


def forget(logdir):
    """Removes what a run wrote, and nothing else."""
    for name in ("checkpoints", "plots", "export", "train", "validation"):
        shutil.rmtree(logdir / name, ignore_errors=True)
    for name in ("config.json", "environment.json", "metrics.jsonl", "result.json", "bad_files.json"):
        (logdir / name).unlink(missing_ok=True)


def append(path, row):
    """Adds a JSON row to a file of lines, durably."""
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def truncate(path, epoch):
    """Drops the lines after `epoch`, and a half-written last one: the run goes on from there."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            if json.loads(line)["epoch"] <= epoch:
                kept.append(line + "\n")
    files.write_text(path, "".join(kept))


def load_run(run_dir):
    """Returns recipe, weights, stats and facts of a run: its export, or its newest checkpoint while it trains.

    The facts are "class_names", and for a set of pictures its hashes "content" and "order".

    Raises:
      ValueError, OSError: `run_dir` holds no run, or a broken one.
    """
    run_dir = Path(run_dir)
    exported = run_dir / "export" / "weights.safetensors"
    if exported.exists():
        weights, stats, facts = checkpoint.import_weights(exported)
        return recipes.from_dict(facts.pop("recipe")), weights, stats, facts
    config = run_dir / "config.json"
    path = checkpoint.latest(run_dir / "checkpoints")
    if path is None or not config.exists():
        raise FileNotFoundError(f"--run={run_dir}: no export and no checkpoint there; a run is logs/<experiment>/<run>")
    values = json.loads(config.read_text())
    recipe = recipes.from_dict(values["recipe"])
    tensors, _ = checkpoint.read(path)
    weights = tensors["weights"]
    if recipe.ema_decay:
        weights = tree.merge(weights, tensors["slots"]["average"])
    return recipe, weights, tensors.get("stats", {}), values
