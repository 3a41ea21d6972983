"""A few of each fault; `make faults` makes all."""

import subprocess
import sys
from pathlib import Path

import pytest
from families import FAMILIES

FAULTS = Path(__file__).parent
QUICK = ("saving", "exports", "flips", "cuts")  # the others take too long for each commit


@pytest.fixture(scope="module")
def tables(request):
    """What the campaign printed of the chosen families, and its status: one process, which imports TensorFlow once."""
    chosen = {item.callspec.params["family"] for item in request.session.items if item.path == Path(__file__)}
    command = [sys.executable, str(FAULTS), "--quick", *(name for name in FAMILIES if name in chosen)]
    done = subprocess.run(command, capture_output=True, text=True)
    sections = dict(section.split("\n", 1) for section in done.stdout.split("\n# ")[1:])
    return sections, done


@pytest.mark.parametrize(
    "family", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in FAMILIES if n != "tests"]
)
def test_nothing_is_lost(family, tables):
    sections, done = tables
    assert family in sections, done.stderr[-2000:]
    assert "lost: " not in sections[family], sections[family]
    assert sections[family].strip()
