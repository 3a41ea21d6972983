"""The families of faults: {name: (root, quick) -> rows}."""

import contextlib
import os
import sys
from pathlib import Path

import caches
import cleaning
import clocks
import damage
import disks
import memory
import runs
import tested
import workers
from campaign import Row


def _tries(function, many, few):
    """Returns (root, quick) -> rows of a function that takes the number of tries."""
    return lambda root, *, quick: function(root, few if quick else many)


def _runs(root, *, quick):
    return runs.anywhere(root, 2, ["a perceptron, XLA"]) if quick else runs.anywhere(root)


def _cleaning(root, *, quick):
    return cleaning.cleaning(root, 15, ["a perceptron"]) if quick else cleaning.cleaning(root)


def _memory(root, *, quick):
    return memory.memory(root, 8, 2) if quick else memory.memory(root)


def _workers(root, *, quick):
    return workers.workers(root, 2, ["perceptron"]) if quick else workers.workers(root)


def _tests(root, *, quick):
    return [] if quick else tested.tests(root)


def _inputs(root, *, quick):
    """The campaigns of files and servers, each as a row."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.faults import bad_inputs, fuzz_readers, readers, servers

    campaigns = {
        "bad inputs of every kind, each one line": bad_inputs.campaign,
        "changed bytes of valid files": lambda: readers.campaign(50 if quick else 3000),
        "fuzzed bytes": lambda: fuzz_readers.campaign(seconds=1 if quick else 20),
        "ways in which a server fails": servers.campaign,
    }
    os.environ["XDG_CACHE_HOME"] = str(root)
    for fault, campaign in campaigns.items():
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):  # what the readers say of each file
            tries, _, lost = campaign()
        yield Row(fault, tries, lost)


FAMILIES = {
    "saving": _tries(runs.saving, 200, 12),
    "runs": _runs,
    "pictures": _tries(caches.pictures, 50, 4),
    "features": _tries(caches.features, 50, 2),
    "downloads": _tries(caches.downloads, 30, 4),
    "exports": _tries(runs.exporting, 30, 6),
    "flips": _tries(damage.flips, 500, 25),
    "cuts": _tries(damage.cuts, 100, 10),
    "cleaning": _cleaning,
    "disks": _tries(disks.full, 40, 1),
    "clocks": _tries(clocks.clocks, 10, 1),
    "memory": _memory,
    "workers": _workers,
    "inputs": _inputs,
    "tests": _tests,
}
