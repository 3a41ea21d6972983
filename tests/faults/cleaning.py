"""clean=True killed before each change of a file: what remains does not lie."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from campaign import Row, child, finished, require
from victims import differences, moved, outcome, perceptron

CHANGES = ("os.remove", "os.rmdir", "os.rename", "os.mkdir", "os.link", "os.truncate")
ERASING = 60  # changes within which all is erased
WORKS = {
    "a perceptron": (
        lambda place, **options: perceptron(place, changes={"jit": False, "epochs": 2}, **options),
        lambda place, **options: perceptron(
            place, changes={"jit": False, "epochs": 2, "learning_rate": 0.01}, **options
        ),
    ),
    "a transfer": (moved, lambda place, **options: moved(place, rate=0.01, **options)),
}


def die_before(number, place):
    """Kills this process at its change of a file in `place` that has this number, from 1 on."""
    seen = 0

    def hook(event, args):
        nonlocal seen
        if _changes(event, args, os.fspath(place)):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _changes(event, args, place):
    """True for what Python is about to do where it changes a file in `place`."""
    if event == "open":
        path, _, flags = args
        return isinstance(path, str) and path.startswith(place) and bool(flags & (os.O_WRONLY | os.O_RDWR))
    inside = event in CHANGES and os.fsdecode(args[0]).startswith(place)
    return inside or (event in ("os.remove", "os.rmdir") and args[1] >= 0)  # of rmtree, by descriptors


def cleaning(root, every=1, which=tuple(WORKS)):
    """Dies at each `every`-th change while things are erased, then at a fifth of those, until the run is complete."""
    return (_cleaning(root / str(number), name, every) for number, name in enumerate(which))


def _cleaning(root, name, every):
    row, (before, after) = Row(f"clean=True killed at each change of a file: {name}"), WORKS[name]
    root.mkdir()
    for place, work in (("before", before), ("after", after)):
        finished(lambda: work(root / place))  # noqa: B023
    wanted = {place: outcome(root / place) for place in ("before", "after")}
    number, place = 1, root / "run"
    while True:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(root / "before", place)

        def dying():
            die_before(number, place)  # noqa: B023
            after(place, clean=True)

        with row.attempt(f"change {number}"):
            ended = child(dying)
            if not ended.killed:
                row.tries -= 1
                require(not (wrong := differences(outcome(place), wanted["after"])), f"unbroken, but {wrong}")
                return row
            _tells_no_lie(place, wanted)
            called = ("after", "before")[row.tries % 2]
            _called_again(place, {"before": before, "after": after}[called], wanted[called])
            _tells_no_lie(place, wanted)
            if row.tries % 5 == 0:
                finished(lambda: after(place, clean=True))
                require(not (wrong := differences(outcome(place), wanted["after"])), f"cleaned, but {wrong}")
        number += every if number < ERASING else 5 * every


def _tells_no_lie(place, wanted):
    """Raises AssertionError where a result stands without the weights and settings that it is of."""
    for result in place.rglob("result.json"):
        run = str(result.parent.relative_to(place))
        names = [str(Path(run) / name) for name in ("result.json", "config.json", "export/weights.safetensors")]
        found = outcome(place)
        of = [kind for kind, whole in wanted.items() if not any(found.get(n) != whole.get(n) for n in names)]
        require(of, f"{run}: result.json stands beside {json.dumps(sorted(found))} of another run, or of none")


def _called_again(place, work, wanted):
    """The call without clean=True goes on to the same end, or is refused."""
    ended = child(lambda: work(place))
    if ended.status == 0:
        require(not (wrong := differences(outcome(place), wanted)), f"called again without clean: {wrong}")
    else:
        require(ended.error.startswith("ValueError: ") and "clean=True" in ended.error, ended.error)
