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
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from families import FAMILIES
from tables import splice

PAGE = Path(__file__).parents[2] / "docs" / "promises.md"
BEGIN, END = "<!-- faults: python tests/faults --write -->", "<!-- end of faults -->"

HEADER = f"{'fault':<58} {'tries':>6} {'survived':>9} {'lost':>5}"


def main():
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    parser.add_argument("family", nargs="*", help=f"of {', '.join(FAMILIES)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="few of each fault")
    parser.add_argument("--write", action="store_true", help="write the table into docs/promises.md")
    options = parser.parse_args()
    if unknown := set(options.family) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    if options.write and (options.quick or options.family):
        parser.error("--write is of all faults, at their full numbers")
    print(HEADER, flush=True)
    rows = [row for name in options.family or FAMILIES for row in campaign(name, quick=options.quick)]
    lost = sum(len(row.lost) for row in rows)
    print(f"\n{lost} lost" if lost else "\nnothing lost")
    if options.write:
        PAGE.write_text(splice(PAGE.read_text(), BEGIN, END, table(rows)))
    sys.exit(1 if lost else 0)


def table(rows):
    """Returns the rows as a table in Markdown."""
    lines = ["| fault | tries | survived | lost |", "|---|---|---|---|"]
    for row in rows:
        counts = (row.tries, row.tries - len(row.lost), len(row.lost))
        lines.append(f"| {row.fault} | {' | '.join(f'{count:,}' for count in counts)} |")
    return "\n".join(lines)


def campaign(name, *, quick):
    """Makes a family's faults, prints its rows, and returns them."""
    began, rows = time.monotonic(), []
    print(f"\n# {name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tfcore-faults-") as root:
        for row in FAMILIES[name](Path(root), quick=quick):
            rows.append(row)
            print(row, *[f"    lost: {reason}" for reason in row.lost[:5]], sep="\n")
            if row.notes:
                print(f"    {', '.join(f'{what}: {count}' for what, count in row.notes.items())}", flush=True)
    print(f"    {time.monotonic() - began:.0f} s", flush=True)
    return rows


if __name__ == "__main__":
    main()
