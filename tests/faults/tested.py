"""Faults that the ordinary tests make: bad files, servers, settings, directories, signals. Counted as all others."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from campaign import Row

ROOT = Path(__file__).parents[2]
TESTED = {
    "weights files: entries missing, extra, misshapen, forged": ("tests/test_checkpoint.py",),
    "IDX files: counts, dimensions, labels, gzip": ("tests/data/test_idx.py",),
    "zips and folders: traversal, links, bombs, damaged caches": ("tests/data/test_folders.py",),
    "pictures: cut, forged, of any colour and size": (
        "tests/data/test_pictures.py",
        "tests/data/test_hostile_pictures.py",
    ),
    "h5 files: links, external storage, declared sizes": ("tests/formats",),
    "servers: wrong, cut, slow, endless, redirecting": ("tests/data/test_download.py",),
    "files and locks: kills, two processes, full disks": ("tests/test_files.py",),
    "runs: NaN, other settings, other data, lost or edited files": ("tests/run",),
    "signals and streams": ("tests/test_signals.py", "tests/scripts/test_program.py"),
    "files of earlier versions": ("tests/golden",),
}


def tests(root):
    """A row for each of TESTED: a try is a test."""
    return (_tested(root / f"{number}.xml", fault, names) for number, (fault, names) in enumerate(TESTED.items()))


def _tested(report, fault, names):
    row, found = Row(fault), [name for name in names if (ROOT / name).exists()]
    if not found:
        row.skipped = f"there is no {names[0]}"
        return row
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *found]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True)
    if not report.exists():
        row.tries, row.lost = 1, [f"pytest: {done.stdout[-300:]}{done.stderr[-300:]}"]
        return row
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            row.tries += 1
            failed = [*case.findall("failure"), *case.findall("error")]
            row.lost += [f"{case.get('name')}: {failed[0].get('message', '').splitlines()[0]}"] if failed else []
    return row
