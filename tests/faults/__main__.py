"""The campaign of faults: `python tests/faults [--quick] [family ...]`, or `make faults`. Prints a line for each fault.

Exit status 1 when anything was lost.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere
sys.path.insert(0, str(Path(__file__).parents[2]))

from families import FAMILIES

HEADER = f"{'fault':<58} {'tries':>6} {'survived':>9} {'lost':>5}"


def main():
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    parser.add_argument("family", nargs="*", help=f"of {', '.join(FAMILIES)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="few of each fault")
    options = parser.parse_args()
    if unknown := set(options.family) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    print(HEADER, flush=True)
    lost = sum([campaign(name, quick=options.quick) for name in options.family or FAMILIES])
    print(f"\n{lost} lost" if lost else "\nnothing lost")
    sys.exit(1 if lost else 0)


def campaign(name, *, quick):
    """Makes a family's faults, prints its rows, and returns how many were lost."""
    began, lost = time.monotonic(), 0
    print(f"\n# {name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tfcore-faults-") as root:
        for row in FAMILIES[name](Path(root), quick=quick):
            lost += len(row.lost)
            print(row, *[f"    lost: {reason}" for reason in row.lost[:5]], sep="\n")
            if row.notes:
                print(f"    {', '.join(f'{what}: {count}' for what, count in row.notes.items())}", flush=True)
    print(f"    {time.monotonic() - began:.0f} s", flush=True)
    return lost


if __name__ == "__main__":
    main()
