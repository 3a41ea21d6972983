"""The families of faults: {name: (root, quick) -> rows}."""

import caches
import runs


def _tries(function, many, few, **options):
    """Returns (root, quick) -> rows of a function that takes the number of tries."""
    return lambda root, *, quick: function(root, few if quick else many, **options)


FAMILIES = {
    "saving": _tries(runs.saving, 200, 12),
    "runs": lambda root, *, quick: (
        runs.anywhere(root, 2, ["a CNN, augmented, averaged"]) if quick else runs.anywhere(root)
    ),
    "exports": _tries(runs.exporting, 30, 6),
    "pictures": _tries(caches.pictures, 50, 4),
    "features": _tries(caches.features, 50, 2),
    "downloads": _tries(caches.downloads, 30, 4),
}
