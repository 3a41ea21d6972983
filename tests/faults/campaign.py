"""Children that are killed at any instant, and a tally of what survived.

TensorFlow is imported once, in the parent, which runs no operation: a forked child starts at once, so that a kill costs
half a second. All is drawn from a seed, except what the machine's load makes of an instant.
"""

import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

LIMIT = 300.0  # seconds that a child may take; more is a hang


@dataclasses.dataclass
class Row:
    """A fault, how often it was made, how often all was as promised, and what was wrong the other times."""

    fault: str
    tries: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    notes: Counter = dataclasses.field(default_factory=Counter)
    skipped: str = ""

    @contextlib.contextmanager
    def attempt(self, name, count=1):
        """Counts the block as `count` tries, lost where it raises anything."""
        self.tries += count
        try:
            yield
        except Exception as error:  # whatever it is, it goes into the table and the next try is made
            reason = str(error).strip() or traceback.format_exc().strip()
            self.lost += [f"{name}: {type(error).__name__}: {reason}"] * count

    def __str__(self):
        if self.skipped:
            return f"{self.fault:<58}  not tried: {self.skipped}"
        return f"{self.fault:<58} {self.tries:>6} {self.tries - len(self.lost):>9} {len(self.lost):>5}"


class Ended(NamedTuple):
    """How a child ended: killed, by us; status, else; error: of its exception, "Type: message"; output: all printed."""

    killed: bool
    status: int
    error: str
    output: str


def child(work, *, kill_after=None, limit=LIMIT):
    """Does work() in a forked process, which is killed after so many seconds, and returns how that ended."""
    with tempfile.TemporaryDirectory() as notes:
        notes, began = Path(notes), time.monotonic()
        (notes / "output").touch()
        pid = start(work, notes)
        killed, status = False, None
        while status is None:
            found, how = os.waitpid(pid, os.WNOHANG)
            seconds = time.monotonic() - began
            if found:
                status = os.waitstatus_to_exitcode(how)
            elif not killed and kill_after is not None and seconds >= kill_after:
                killed = True
                os.kill(pid, signal.SIGKILL)
            elif seconds > limit:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise TimeoutError(f"hangs: {limit:.0f} s and no end; {(notes / 'output').read_text()[-300:]}")
            else:
                time.sleep(0.001)
        error = (notes / "error").read_text() if (notes / "error").exists() else ""
        return Ended(status == -signal.SIGKILL, status, error, (notes / "output").read_text(errors="replace"))


def start(work, notes):
    """Forks a process that does work(); returns its id. What it prints and raises lands in files in `notes`."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        output = os.open(notes / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        work()
        status = 0
    except Exception as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        (notes / "error").write_text(f"{type(error).__name__}: {error}")
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


def finished(work):
    """Does work() in a child and returns how it ended and the seconds it took. Raises AssertionError if it fails."""
    began = time.monotonic()
    ended = child(work)
    require(ended.status == 0, f"it fails unbroken: {ended.error} {ended.output[-1500:]}")
    return ended, time.monotonic() - began


def require(condition, message):
    """Raises AssertionError with `message` unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def answer_of(work):
    """Returns what work() returns in a child: JSON values."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "answer"
        finished(lambda: path.write_text(json.dumps(work())))
        return json.loads(path.read_text())


def spread(generator, kills, life):
    """Returns instants of a life, one in each of `kills` equal parts of it, in random order."""
    instants = [(i + generator.random()) / kills * life for i in range(kills)]
    generator.shuffle(instants)
    return instants


def kill_until_complete(row, kills, root, work, *, check, after_kill=lambda place: "", seed=0):
    """Kills work(place) at instants that are spread over its life, calls it again until it is complete, and checks.

    A place has one kill, or with falling probability more, until it is complete and the next place begins.

    Args:
      work: (place), the same call each time.
      check: (place), raises where what the complete work left is not what it should be.
      after_kill: (place) -> a word for how far it was; raises where what a killed work left lies.
    """
    generator = random.Random(seed)
    _, life = finished(lambda: work(root / "whole"))
    check(root / "whole")
    left, number = spread(generator, kills, life), 0
    while left:
        place, done, number = root / str(number), 0, number + 1
        try:
            while left and (not done or generator.random() < 0.4):
                began = time.monotonic()
                if not child(lambda: work(place), kill_after=left.pop()).killed:  # noqa: B023
                    left.insert(0, generator.random() * (time.monotonic() - began))  # it was faster than the first
                    break
                done += 1
                row.notes[after_kill(place)] += 1
            finished(lambda: work(place))  # noqa: B023
            check(place)
        except Exception as error:
            row.lost += [f"{place.name}: {error}"] * max(done, 1)
            done = max(done, 1)
        row.tries += done
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(root / "whole", ignore_errors=True)


def no_leftovers(place):
    """Raises AssertionError where a temporary file is left."""
    found = [str(path.relative_to(place)) for path in place.rglob(".*.tmp")]
    require(not found, f"leftovers {found}")
