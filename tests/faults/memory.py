"""Training on a set larger than the memory that the process may have."""

import dataclasses
import os
import resource
import signal
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from campaign import Row, require, start

from tfcore import recipes, run
from tfcore.data import Arrays, Splits
from tfcore.data.order import take
from tfcore.models import mlp

SHAPE = (125, 94, 3)
ROOM = 2**30  # bytes beyond what the process holds before the first step


def memory(root, seconds=600, gigabytes=6):
    """For so long the memory that is the process's own stays as it was after the first quarter."""
    row, path = Row(f"{gigabytes} GB of pictures, 1 GB of memory, {seconds} s of training"), root / "images.u8"
    n = int(gigabytes * 2**30) // int(np.prod(SHAPE))
    with open(path, "wb") as file:
        file.truncate(n * int(np.prod(SHAPE)))
    with row.attempt("training"), tempfile.TemporaryDirectory() as notes:
        pid = start(lambda: _train(path, n, root / "run"), Path(notes))
        try:
            found = _watched(pid, seconds)
        finally:
            os.kill(pid, signal.SIGTERM)
            _, how = os.waitpid(pid, 0)
        status, output = os.waitstatus_to_exitcode(how), (Path(notes) / "output").read_text()
        require(status == 0, f"it ended with {status}: {output[-500:]}")
        early, late = (statistics.median(found[len(found) * i // 4 : len(found) * (i + 1) // 4]) for i in (1, 3))
        row.notes[f"MB, after a quarter {early}, in the last {late}, at most {max(found)}; epochs"] = output.count(
            "epoch "
        )
        require(late <= 1.05 * early + 20, f"{early} MB grew to {late} MB")
    return [row]


def _watched(pid, seconds):
    """Returns the megabytes of the process's own memory, each half second. Raises AssertionError when it ends."""
    found, began = [], time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(0.5)
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        require("RssAnon" in status, "it ended by itself")
        found.append(int(status["RssAnon"].split()[0]) // 1024)
    return found


def _train(path, n, place):
    """Trains until it is told to stop."""
    images = np.memmap(path, np.uint8, "r", shape=(n, *SHAPE))
    labels, rows = (np.arange(n) % 2).astype(np.int32), np.arange(n)

    def part(chosen):
        return Arrays(take(images, chosen), labels[chosen])

    recipe = dataclasses.replace(
        recipes.RECIPES["pets_perceptron"], model=mlp.Config(image_shape=SHAPE, hidden=(8,)), batch_size=64,
        epochs=10**6, steps_per_epoch=100, steps_per_loop=10,
    )  # fmt: skip
    splits = Splits(part(rows[256:]), part(rows[:128]), part(rows[128:256]), ("a", "b"), "generated")
    status = Path("/proc/self/status").read_text().splitlines()
    used = int(next(line for line in status if line.startswith("VmData")).split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + ROOM,) * 2)
    try:
        recipes.train(recipe, place, splits=splits)
    except run.Stopped as stopped:
        print(stopped)
