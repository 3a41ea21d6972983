"""The run directory: who holds it, whose it is, and what is read back from it.

config.json environment.json metrics.jsonl result.json checkpoints/ plots/ export/ train/ validation/
"""

import contextlib
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from tfcore import checkpoint, files, training, tree
from tfcore.data import content
from tfcore.quiet import tf

FORMAT = 1  # of config.json, result.json, of each start in environment.json and of each row of metrics.jsonl
MAY_CHANGE = ("epochs", "steps_per_loop", "patience", "max_bad_fraction")  # on resuming: not the steps already taken
VARIABLES = ("XLA_FLAGS", "TF_XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS")


@contextlib.contextmanager
def held(logdir):
    """Makes the directory, holds it for this process while the block runs, and yields its path.

    Raises:
      OSError: nothing can be written there, or another process holds it; the message says which.
    """
    logdir = Path(logdir)
    try:
        logdir.mkdir(parents=True, exist_ok=True)
        files.write_text(logdir / ".writable", "")
        (logdir / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"logdir={logdir} cannot be written: {error.strerror}") from None
    with files.locked(logdir):
        for directory in (logdir, logdir / "export", logdir / "plots", logdir / "checkpoints", logdir / "stopped"):
            files.remove_leftovers(directory)
        yield logdir


def describe(task, plan, note=""):
    """Returns what makes a run this run, as JSON values: config.json, which its export holds too."""
    splits, settings = task.splits, plan._asdict()
    if not plan.check_numerics:
        del settings["check_numerics"]  # as in every run before there was such a setting
    return {
        "format": FORMAT,
        "name": task.name,
        "config": task.config,
        "run": {name: value for name, value in settings.items() if name != "steps"},
        "dataset": splits.name,
        "class_names": list(splits.class_names),
        "content": content(splits),
        "pictures": {"content": splits.source.content, "order": splits.source.order} if splits.source else {},
        "note": note,
    }


def claim(logdir, config, *, clean=False):
    """Makes the directory that of the run that `config` describes; with `clean` it first forgets what was there.

    Raises:
      ValueError: it holds another run, or one of which the user removed something; nothing is changed then.
    """
    path = logdir / "config.json"
    config = json.loads(json.dumps(config))
    if clean:
        forget(logdir)
    elif path.exists():
        _refuse_differences(logdir, read_json(path), config)
    elif (logdir / "checkpoints").exists():
        raise ValueError(f"{logdir} has checkpoints but no config.json to say whose: put it back, or clean=True")
    files.write_text(path, json.dumps(config, indent=2) + "\n")
    note_start(logdir)


def _refuse_differences(logdir, before, now):
    """Raises ValueError: the settings of two runs differ in more than may change; it names all."""
    before, now = (tree.flatten({k: v for k, v in c.items() if k not in ("format", "note")}) for c in (before, now))
    allowed = {f"run/{name}" for name in MAY_CHANGE} | {"config/max_bad_fraction"}
    changed = [name for name in {**before, **now} if name not in allowed and before.get(name) != now.get(name)]
    settings = [name for name in changed if name.split("/")[0] not in ("content", "pictures")]
    if changed:
        differences = ["it has other data"] if len(settings) < len(changed) else []
        differences += [f"{_setting(name)} was {before.get(name)}, now {now.get(name)}" for name in settings]
        raise ValueError(
            f"{logdir} holds a run with other settings: {'; '.join(differences)}. "
            "Use those, another logdir, or clean=True to start over"
        )


def _setting(name):
    """Returns the name by which people know a setting."""
    return name.removeprefix("config/").removeprefix("run/")


def forget(logdir):
    """Removes what a run wrote, and nothing else; what says that it is complete goes first, its name last."""
    (logdir / "result.json").unlink(missing_ok=True)
    for name in ("export", "checkpoints", "plots", "train", "validation", "stopped"):
        shutil.rmtree(logdir / name, ignore_errors=True)
    for name in ("metrics.jsonl", "bad_files.json", "environment.json", "config.json"):
        (logdir / name).unlink(missing_ok=True)


def reopen(logdir):
    """Takes back what says that a run is complete, since it goes on."""
    (logdir / "result.json").unlink(missing_ok=True)
    (logdir / "export" / "weights.safetensors").unlink(missing_ok=True)


def environment():
    """Returns what the bits of a run depend on besides its settings."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "threads": len(os.sched_getaffinity(0)),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "commit": _commit(),
        **{name: os.environ.get(name, "") for name in VARIABLES},
    }


def _processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit():
    """Returns the commit of the checkout that this package is in, "" where it is none."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    with contextlib.suppress(OSError):
        git = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def note_start(logdir):
    """Adds this start to environment.json, with what differs from the start before, and says that on stderr."""
    path, now = logdir / "environment.json", environment()
    starts = read_json(path) if path.exists() else []
    last = starts[-1] if starts else now
    changed = [f"{key}: {last.get(key)}, now {value}" for key, value in now.items() if last.get(key) != value]
    if bits := [text for text in changed if not text.startswith("commit")]:
        print(f"not the same environment, so not the same bits: {'; '.join(bits)}", file=sys.stderr)
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    start = {"format": FORMAT, "started": began, **now, "changed": changed}
    files.write_text(path, json.dumps([*starts, start], indent=2) + "\n")


def append(path, row):
    """Adds a JSON row to a file of lines, durably."""
    with open(path, "a") as file:
        file.write(json.dumps({"format": FORMAT, **row}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def rows(logdir):
    """Returns the rows of metrics.jsonl; a half-written last line is left out."""
    path, found = logdir / "metrics.jsonl", []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    for row in found:
        check_format(path, row)
    return found


def set_rows(logdir, kept):
    """Writes metrics.jsonl anew."""
    files.write_text(logdir / "metrics.jsonl", "".join(json.dumps({"format": FORMAT, **row}) + "\n" for row in kept))


def last_good(logdir):
    """Returns a sentence that names the newest checkpoint."""
    kept = checkpoint.checkpoints(logdir / "checkpoints")
    return f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"


def read_json(path, wanted=FORMAT):
    """Returns the JSON values of a file. Raises ValueError, which names it: it is damaged, or of another format."""
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): put it back, or clean=True to start over") from None
    for part in values if isinstance(values, list) else [values]:
        check_format(path, part, wanted)
    return values


def check_format(path, values, wanted=FORMAT):
    """Raises ValueError: what was read from `path` names another version of its format than `wanted`."""
    found = values.get("format", wanted) if isinstance(values, dict) else wanted  # the first files named none
    if found != wanted:
        raise ValueError(f"{path} has version {found} of its format, this tfcore reads {wanted}")


def load_run(run_dir):
    """Returns config, weights and stats of a run: of its export, or of its newest checkpoint while it trains.

    config: what config.json holds: "config" of the task, "run", "class_names", "content" and more.

    Raises:
      ValueError, OSError: `run_dir` holds no run, or a broken one.
    """
    run_dir = Path(run_dir)
    exported = run_dir / "export" / "weights.safetensors"
    if exported.exists():
        weights, stats, config = checkpoint.import_weights(exported)
        check_format(exported, config)
        return config, weights, stats
    path = checkpoint.latest(run_dir / "checkpoints")
    if path is None or not (run_dir / "config.json").exists():
        raise FileNotFoundError(f"run={run_dir}: no export and no checkpoint there; a run is logs/<experiment>/<run>")
    tensors, _ = checkpoint.read(path)
    weights = training.averages(tensors["weights"], tensors.get("slots", {}))
    return read_json(run_dir / "config.json"), weights, tensors.get("stats", {})
