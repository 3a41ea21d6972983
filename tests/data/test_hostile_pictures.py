"""The cap of 10 s and 512 MB for one picture, each in a process of its own whose memory and time are measured.

The peak is of the whole process: Python, NumPy, Pillow, the file and the picture.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import hostile
from tfcore.data import pictures

PROGRAM = """
import importlib.util, sys, time, warnings
from tests.data import hostile
warnings.simplefilter("ignore")
name, path = sys.argv[1:]
spec = importlib.util.spec_from_file_location("pictures", path)  # without TensorFlow, which takes seconds
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)
make = hostile.LARGE.get(name) or hostile.PICTURES[name][0]
data = make()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
began = time.process_time()
try:
    print(pictures.decode(data, (150, 150)).shape)
except ValueError as error:
    print(error)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(time.process_time() - began, int(status["VmHWM"].split()[0]) / 1024)
"""


def measured(name):
    """Returns what became of a picture, the seconds of processor time, and the peak of the process's memory in MB."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, pictures.__file__],
        capture_output=True, text=True, cwd=root, timeout=300, check=True,
    )  # fmt: skip
    *said, numbers = done.stdout.splitlines()
    return said, *map(float, numbers.split())


QUICK = ("3,000 scans", "8192 x 8192 by run length", "1 x 67,108,864")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in hostile.PICTURES]
)
def test_what_would_take_too_much_is_refused(name):
    (said,), seconds, megabytes = measured(name)
    assert re.search(hostile.PICTURES[name][1], said), said
    assert seconds < 10 and megabytes < 512


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile.LARGE)
def test_what_is_allowed_stays_within_the_cap(name):
    (said,), seconds, megabytes = measured(name)
    assert said == "(150, 150, 3)"
    assert seconds < 10 and megabytes < 512
