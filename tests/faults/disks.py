"""A disk that is full, and a quota that is used up, at any amount of what a run or a cache needs."""

import contextlib
import random
import resource
import shutil
import subprocess

import numpy as np
from campaign import Row, child, finished, no_leftovers, require
from victims import differences, outcome, perceptron

from tfcore import checkpoint, files

PAGE = 4096
CURVES, DRAWINGS = "TensorBoard's files cannot be written", "the drawings cannot be written"  # which end no run


class NoMount(Exception):
    """This process may not mount a small disk."""


@contextlib.contextmanager
def small_disk(place, size):
    """Makes `place` a disk of so many bytes and yields resize(bytes)."""

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NoMount(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "mount fails")

    place.mkdir(parents=True)
    mount(f"size={size}")
    try:
        yield lambda bytes_: mount(f"remount,size={bytes_}")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        shutil.rmtree(place)


def skipping(test):
    """Returns `test` with its row marked as skipped where no disk can be mounted."""

    def tested(row, *args):
        try:
            test(row, *args)
        except FileNotFoundError as error:
            row.skipped = f"there is no command mount ({error})"
        except NoMount as error:
            row.skipped = f"a small disk cannot be mounted: {error}"
        return row

    return tested


def work(place, epochs=2):
    return perceptron(place, changes={"jit": False, "epochs": epochs})


def full(root, tries=40):
    """Runs and caches on disks of any size up to what they need, a directory of a run on a disk of its own, a quota."""
    finished(lambda: work(root / "unbroken"))
    wanted, sizes = outcome(root / "unbroken"), _sizes(root / "unbroken")
    generator = random.Random(7)
    rows = Row("full disk under a run"), Row("full disk under one directory of a run"), Row("full disk under a cache")
    return [
        _full_run(rows[0], root, tries, generator, wanted, sizes),
        _full_directory(rows[1], root, tries, wanted, sizes),
        _full_cache(rows[2], root, max(tries // 2, 2), generator),
        _quota(root, tries, generator, wanted, sizes),
    ]


def _sizes(place):
    """Returns {path: bytes} of what a run left."""
    return {str(path.relative_to(place)): path.stat().st_size for path in place.rglob("*") if path.is_file()}


@skipping
def _full_run(row, root, tries, generator, wanted, sizes):
    need = sum(-(-size // PAGE) * PAGE for size in sizes.values())
    for number in range(tries):
        size, place = int((number + generator.random()) / tries * need), root / f"disk{number}"
        with small_disk(place, max(size // PAGE, 2) * PAGE) as resize, row.attempt(f"{size:,} bytes"):
            word = _ends_well(child(lambda: work(place)), place, wanted)  # noqa: B023
            row.notes[word] += 1
            resize(64 << 20)
            _goes_on(place, wanted, word)


@skipping
def _full_directory(row, root, tries, wanted, sizes):
    """Each case on a run of one epoch that goes on for a second one."""
    largest = max(size for name, size in sizes.items() if name.startswith("checkpoints"))
    cases = [(name, pages * PAGE) for name in ("train", "validation", "plots", "export") for pages in (1, 4)]
    cases += [("checkpoints", int(share * largest) + 2 * PAGE) for share in (1.0, 1.5)]
    finished(lambda: work(root / "shorter", epochs=1))
    for number, (name, size) in enumerate(cases[-tries:]):
        place, fresh = root / f"directory{number}", name != "checkpoints"
        if not fresh:
            shutil.copytree(root / "shorter", place, ignore=shutil.ignore_patterns("checkpoints"))
        with small_disk(place / name, size) as resize, row.attempt(f"{name} of {size:,} bytes"):
            if not fresh:
                shutil.copytree(root / "shorter" / name, place / name, dirs_exist_ok=True)
            ended = child(lambda: work(place))  # noqa: B023
            word = _ends_well(ended, place, wanted)
            if name in ("train", "validation"):
                require(ended.status == 0, f"the curves end the run: {ended.error}")
            require(fresh or word == "refused", "there was no room, and no word about it")
            require(fresh or any(checkpoint.checkpoints(place / name)), "the last good checkpoint is gone")
            row.notes[f"{name}: {word}"] += 1
            resize(64 << 20)
            _goes_on(place, wanted, word)


def _quota(root, tries, generator, wanted, sizes):
    """No file may be longer than the limit, which stands for a quota: it fails in the same calls."""
    row = Row("quota used up under a run")
    lengths = sorted(set(sizes.values()))
    for number in range(tries):
        size, place = int(generator.choice(lengths) * generator.uniform(0.1, 1.1)), root / f"quota{number}"

        def limited(size=size, place=place):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            work(place)

        with row.attempt(f"{size:,} bytes"):
            word = _ends_well(child(limited), place, wanted)
            row.notes[word] += 1
            _goes_on(place, wanted, word)
        shutil.rmtree(place, ignore_errors=True)
    return row


def _ends_well(ended, place, wanted):
    """Returns how a run without room ended, in a word; raises AssertionError unless that was clean."""
    for path in checkpoint.checkpoints(place / "checkpoints"):
        checkpoint.read(path)
    warned = [name for name, text in (("curves", CURVES), ("drawings", DRAWINGS)) if text in ended.output]
    require(ended.output.count(CURVES) <= 1 and ended.output.count(DRAWINGS) <= 1, "more than one warning")
    if ended.status == 0:
        _same(place, wanted, "complete", drawings="drawings" not in warned)
        return f"complete without {' and '.join(warned)}" if warned else "complete"
    kind, _, message = ended.error.partition(": ")
    clean = kind in ("OSError", "FileNotFoundError", "PermissionError") and "\n" not in message
    require(clean and str(place) in message, f"status {ended.status}, {ended.error or ended.output[-300:]}")
    return "refused"


def _goes_on(place, wanted, word):
    """With room the same call completes the run as if nothing had been; a complete one is left as it is."""
    finished(lambda: work(place))
    _same(place, wanted, "with room", drawings="drawings" not in word)
    no_leftovers(place)


def _same(place, wanted, when, *, drawings):
    wrong = [name for name in differences(outcome(place), wanted) if drawings or not name.endswith(".png")]
    require(not wrong, f"{when}, but not as unbroken: {wrong}")


@skipping
def _full_cache(row, root, tries, generator):
    rows = np.random.default_rng(0).integers(0, 256, [64, 32, 32, 3]).astype(np.uint8)  # 196,608 bytes
    asked = []

    def items():
        asked.append(1)
        return ((rows[i : i + 8], i) for i in range(0, 64, 8))

    for number in range(tries):
        size, place = int((number + generator.random()) / tries * 1.3 * rows.nbytes), root / f"cache{number}"

        def build(place=place):
            array, notes = files.cached_array(place / "kept", np.uint8, rows.shape, {}, items)
            require(np.array_equal(array, rows) and len(notes) == 8, "other rows")

        with small_disk(place, max(size // PAGE, 2) * PAGE) as resize, row.attempt(f"{size:,} bytes"):
            ended = child(build)
            if ended.status:
                refused = ended.error.startswith("OSError: ") and str(place) in ended.error
                require(refused and "\n" not in ended.error, f"status {ended.status}, {ended.error}")
            row.notes["refused" if ended.status else "built"] += 1
            resize(16 << 20)
            finished(build)
            no_leftovers(place)
