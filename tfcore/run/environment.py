"""environment.json: at each start of a run, what its bits depend on besides its settings."""

import contextlib
import datetime
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import files, processor
from tfcore.quiet import tf
from tfcore.run import records
from tfcore.showing import warn

# Variables that change how TensorFlow, XLA, oneDNN or a GPU compute. Further ones that are set are found by PREFIXES.
VARIABLES = (
    "XLA_FLAGS", "TF_XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE",
    "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_DETERMINISTIC_OPS",
    "TF_CUDNN_DETERMINISTIC", "TF_ENABLE_AUTO_MIXED_PRECISION", "NVIDIA_TF32_OVERRIDE", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
PREFIXES = ("ONEDNN_", "DNNL_", "TF_ONEDNN_", "TF_MKL_", "MKL_")


def environment(replicas: int = 1) -> dict[str, Any]:
    """Returns what the bits of a run depend on besides its settings. replicas: devices that take a step together."""
    named = dict.fromkeys([*VARIABLES, *sorted(name for name in os.environ if name.startswith(PREFIXES))])
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "machine": machine(),
        "system": platform.platform(),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "threads": len(os.sched_getaffinity(0)),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "replicas": replicas,
        "commit": _commit(),
        **{name: os.environ.get(name, "") for name in named},
    }


def machine() -> str:
    """Returns the processor, its cores and its widest instructions: one name is given to processors of other bits."""
    return ", ".join(filter(None, [processor.name(), f"{os.cpu_count()} cores", processor.instructions()]))


def _commit():
    """Returns the commit of the checkout that this package is in, "" where it is none."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    with contextlib.suppress(OSError):
        git = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def starts(path: Path) -> list[dict[str, Any]]:
    """Returns the starts that environment.json tells of; none where there is no such file.

    Raises:
      ValueError: it is damaged.
    """
    if not path.exists():
        return []
    advice = "put it back, or remove it: only what earlier starts ran on is lost"
    found = records.read_json(path, advice=advice)
    if not isinstance(found, list) or not all(isinstance(start, dict) for start in found):
        raise ValueError(f"{path} is damaged (not a list of starts): {advice}")
    return found


def note_start(path: Path, replicas: int = 1) -> None:
    """Adds this start to environment.json, with what differs from the start before, and says that on stderr."""
    before, now = starts(path), environment(replicas)
    last = {"replicas": 1, **before[-1]} if before else now  # the first ones did not name them
    names = [name for name in {**now, **last} if name not in ("format", "started", "changed")]
    pairs = [(name, last.get(name, ""), now.get(name, "")) for name in names if name in now or name.isupper()]
    changed = [f"{name}: {was}, now {value}" for name, was, value in pairs if was != value]
    if bits := [text for text in changed if not text.startswith("commit")]:
        warn(f"not the same environment, so not the same bits: {'; '.join(bits)}")
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    start = {"format": records.FORMAT, "started": began, **now, "changed": changed}
    files.write_text(path, json.dumps([*before, start], indent=2) + "\n")
