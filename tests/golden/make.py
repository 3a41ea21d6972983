"""Writes the golden files anew: a tiny run of a recipe, and one that stops, in every format that a run writes.

python tests/golden/make.py

Do so only where a format changes, beside a new number of its version: the files that are here were written by an
earlier commit, and test_golden.py holds each later one to reading them.
"""

import dataclasses
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from tfcore import recipes
from tfcore.data import Arrays, Splits
from tfcore.models import mlp
from tfcore.recipes import Recipe

HERE = Path(__file__).parent
RECIPE = Recipe("golden", "made", mlp.Config((2, 2, 1), hidden=(2,)), batch_size=4, epochs=2, validation=1, seed=7)
RUN = ("config.json", "metrics.jsonl", "result.json", "environment.json", "export", "checkpoints")


def splits():
    """Returns eight pictures of 2x2 of two classes, for each part."""
    images = np.arange(32, dtype=np.uint8).reshape(8, 2, 2, 1) * 8
    return Splits(*[Arrays(images, np.arange(8, dtype=np.int32) % 2)] * 3, ("even", "odd"), "made")


def main():
    """Trains, and keeps what the formats are about."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        recipes.train(RECIPE, place / "run", splits=splits())
        try:
            recipes.train(dataclasses.replace(RECIPE, learning_rate=1e38), place / "stopped_run", splits=splits())
        except FloatingPointError as error:
            print(error)
        for run, names in (("run", RUN), ("stopped_run", ("stopped",))):
            shutil.rmtree(HERE / run, ignore_errors=True)
            for name in names:
                keep(place / run / name, HERE / run / name)


def keep(source, target):
    """Copies a file, or the files in a directory; without what is of the machine that wrote it."""
    if source.is_dir():
        found = sorted(source.iterdir())
        for path in found[-1:] if source.name == "checkpoints" else found:  # the newest is enough
            keep(path, target / path.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        if source.name == "environment.json":
            (start,) = json.loads(source.read_text())
            start |= {"machine": "a machine, 2 cores", "system": "a system", "commit": "0000000"}
            target.write_text(json.dumps([start], indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
