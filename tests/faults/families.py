"""The families of faults: {name: (root, quick) -> rows}."""

import caches
import cleaning
import clocks
import damage
import disks
import memory
import runs
import tested


def _tries(function, many, few):
    """Returns (root, quick) -> rows of a function that takes the number of tries."""
    return lambda root, *, quick: function(root, few if quick else many)


def _runs(root, *, quick):
    return runs.anywhere(root, 2, ["a perceptron, XLA"]) if quick else runs.anywhere(root)


def _cleaning(root, *, quick):
    return cleaning.cleaning(root, 15, ["a perceptron"]) if quick else cleaning.cleaning(root)


def _memory(root, *, quick):
    return memory.memory(root, 8, 2) if quick else memory.memory(root)


def _tests(root, *, quick):
    return [] if quick else tested.tests(root)


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
    "tests": _tests,
}
