"""kill -9, or SIGSTOP, of either of two workers at any instant of a run."""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from campaign import Row, no_leftovers, require, spread
from launch import Workers
from victims import differences, far, outcome

PROGRAM = Path(__file__).with_name("worker.py")
LIMITS = {signal.SIGKILL: 15, signal.SIGSTOP: 30}  # seconds until every process has ended
ABSENT = 60  # and where the one had not come yet for which the others wait


def command(name, place):
    """Returns the command line of each worker of a run."""
    return [sys.executable, str(PROGRAM), name, str(place)]


def finished(name, place):
    """Runs two workers to their end and returns the seconds that took. Raises AssertionError where they fail."""
    lines, began = [], time.monotonic()
    with Workers(command(name, place), 2, tell=lines.append) as team:
        status, sentence = team.wait()
    require(status == 0, f"it fails unbroken: {sentence} {lines[-5:]}")
    return time.monotonic() - began


def broken(name, place, victim, signum, instant):
    """Runs two workers and sends `signum` to one after so many seconds; returns whether it still ran then.

    Raises AssertionError: the processes did not end in time, or no line names the victim.
    """
    lines, end = [], time.monotonic() + instant
    with Workers(command(name, place), 2, tell=lines.append) as team:
        while time.monotonic() < end and all(process.poll() is None for process in team.processes):
            time.sleep(0.01)
        if any(process.poll() is not None for process in team.processes):
            team.wait()
            return False
        os.kill(team.processes[victim].pid, signum)
        began = time.monotonic()
        _, sentence = team.wait()
    seconds = time.monotonic() - began
    limit = ABSENT if any("waited" in line for line in lines) else LIMITS[signum]
    require(seconds < limit, f"{seconds:.0f} s until all had ended: {lines[-3:]}")
    require(any(f"worker {victim}" in line for line in [sentence, *lines]), f"no line names it: {lines[-3:]}")
    return True


def workers(root, kills=20, names=("perceptron", "convolutions")):
    """Broken and started again until complete, a run leaves what an unbroken one leaves."""
    return (_workers(root / name, name, kills // len(names)) for name in names)


def _workers(root, name, kills):
    row, generator = Row(f"kill -9 or SIGSTOP of one of two workers: {name}"), random.Random(4)
    life = finished(name, root / "unbroken")
    wanted, left = outcome(root / "unbroken"), spread(generator, kills, life)
    while left:
        place, done = root / str(len(left)), 0
        try:
            while left and (not done or generator.random() < 0.4):
                signum = signal.SIGSTOP if len(left) % 4 == 0 else signal.SIGKILL
                done += 1
                if not broken(name, place, generator.randrange(2), signum, left.pop()):
                    done -= 1
                    left.insert(0, generator.random() * life)  # it was faster than the first
                    break
                row.notes[f"{signum.name}, {far(place)}"] += 1
            finished(name, place)
            require(not (wrong := differences(outcome(place), wanted)), f"not as unbroken: {wrong}")
            no_leftovers(place)
        except Exception as error:
            done = max(done, 1)
            row.lost += [f"{place.name}: {error}"] * done
        row.tries += done
        shutil.rmtree(place, ignore_errors=True)
    return row
