"""A clock that goes backwards while a run trains, between its starts, and beside a cache."""

import functools
import os
import random
import shutil
import time

import numpy as np
from campaign import Row, child, finished, no_leftovers, require
from PIL import Image
from victims import RUNS, differences, outcome, perceptron

from tfcore.data.folders import load_folder

CLOCKS = ("time", "time_ns", "monotonic", "perf_counter")


def backwards(seed, step):
    """Makes each clock of this process go back, now and then, by up to `step` seconds."""
    generator = random.Random(seed)
    for name in CLOCKS:
        real, scale = getattr(time, name), 10**9 if name.endswith("_ns") else 1
        behind = [0.0]

        def clock(real=real, scale=scale, behind=behind):
            behind[0] += generator.uniform(0, step) if generator.random() < 0.3 else 0.0
            return real() - type(scale)(behind[0] * scale) if scale > 1 else real() - behind[0]

        setattr(time, name, clock)


def clocks(root, tries=10):
    """Runs end as they do by a good clock; files from the future, and pictures from the past, are taken as they are."""
    return [_run(root, tries), _between(root, max(tries // 2, 1)), _pictures(root, tries)]


def _run(root, tries):
    row, wanted = Row("clocks that go backwards in a run"), {}
    for number in range(tries):
        name = list(RUNS)[number % len(RUNS)]
        if name not in wanted:
            finished(lambda: RUNS[name](root / "good"))  # noqa: B023
            wanted[name] = outcome(root / "good")
            shutil.rmtree(root / "good")
        place, step = root / "run", (0.01, 10.0, 1e6)[number % 3]

        def work(name=name, step=step, number=number, place=place):
            backwards(number, step)
            RUNS[name](place)

        with row.attempt(f"{name}, {step:g} s"):
            finished(work)
            require(not (wrong := differences(outcome(place), wanted[name])), f"not as by a good clock: {wrong}")
        shutil.rmtree(place, ignore_errors=True)
    return row


def _between(root, tries):
    """A run is killed, then the clock is put back: all that it wrote is from the future."""
    row, generator = Row("clock put back between two starts of a run"), random.Random(8)
    work = functools.partial(perceptron, changes={"jit": False})
    _, life = finished(lambda: work(root / "good"))
    wanted = outcome(root / "good")
    for number in range(tries):
        place = root / f"between{number}"
        with row.attempt(f"start {number}"):
            child(lambda: work(place), kill_after=generator.uniform(0.3, 1.0) * life)  # noqa: B023
            for path in [place, *place.rglob("*")]:
                os.utime(path, (time.time() + 3e8,) * 2)
            finished(lambda: work(place))  # noqa: B023
            require(not (wrong := differences(outcome(place), wanted)), f"not as by a good clock: {wrong}")
            no_leftovers(place)
    return row


def _pictures(root, tries):
    """A picture that changes, its date going back or forth or staying, is read anew."""
    row, generator = Row("pictures changed under a clock put back"), random.Random(9)
    names = [root / "pictures" / kind / f"{i}.png" for kind in "ab" for i in range(4)]
    for i, path in enumerate(names):
        path.parent.mkdir(parents=True, exist_ok=True)
        _paint(path, i)

    def read(wanted):
        folder = load_folder(root / "pictures", image_size=(8, 8), cache_dir=root / "cache", progress=False)
        found = [int(image[0, 0, 0]) for image in folder.images]
        require(found == wanted, f"{found}, not {wanted}")

    values = list(range(len(names)))
    with row.attempt("as made"):
        finished(lambda: read(values))
    for number in range(tries):
        chosen = generator.randrange(len(names))
        values[chosen], path = 100 + number, names[chosen]
        before = path.stat().st_mtime
        _paint(path, values[chosen])
        seconds = generator.choice([-3e8, -1.0, 1.0, 3e8])
        os.utime(path, (before + seconds,) * 2)
        with row.attempt(f"picture {chosen}, {seconds:+g} s"):
            finished(lambda: read(values))
    return row


def _paint(path, value):
    """Writes a picture of one colour; all have one length."""
    Image.fromarray(np.full([8, 8, 3], value, np.uint8)).save(path, compress_level=0)
