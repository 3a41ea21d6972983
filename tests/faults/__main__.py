"""The campaign of faults: `python tests/faults [--quick] [family ...]`, or `make faults`. Prints a line for each fault.

Exit status 1 when anything was lost. --quick makes few of each fault; --seconds is the length of the memory test.
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
    lost = 0
    for name in options.family or FAMILIES:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tfcore-faults-") as root:
            for row in FAMILIES[name](Path(root), quick=options.quick):
                lost += len(row.lost)
                print(row, flush=True)
                for reason in row.lost[:5]:
                    print(f"    lost: {reason}", flush=True)
                if row.notes and not options.quick:
                    print(f"    {', '.join(f'{far} {count}' for far, count in row.notes.items())}")
        print(f"    {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
