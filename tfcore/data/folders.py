"""A folder or zip of CLASS/picture.jpg as one uint8 array on disk: each file is read once, then never again."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import threading
import time
import warnings
from collections import Counter, deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from tfcore import files
from tfcore.data import checksums, pictures
from tfcore.data.listing import read, scan
from tfcore.data.meter import meter

CHUNK = 16  # pictures that a thread decodes at a time


@dataclasses.dataclass(frozen=True)
class Survey:
    """counts: pictures per class; bytes: of all of them; sizes: {(width, height): how many}, the commonest first;
    unreadable: pictures without a usable header."""

    counts: dict[str, int]
    bytes: int
    sizes: dict[tuple[int, int], int]
    unreadable: int

    def __str__(self):
        classes = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
        text = f"{sum(self.counts.values()):,} pictures ({classes}), {self.bytes / 1e6:.1f} MB"
        if self.sizes:
            (width, height), count = next(iter(self.sizes.items()))
            text += f", most common size {width} x {height} ({count:,})"
        return text + (f", {self.unreadable:,} unreadable" if self.unreadable else "")


class Folder(NamedTuple):
    """images: [N, H, W, C] uint8, a read-only np.memmap; labels: [N] int32; names: of the N pictures, "CLASS/file";
    bad: (name, reason) of each picture that could not be used; survey: of all that was found; content: a hash of
    the bytes of all the pictures, whatever they are called; order: a hash of their bytes and classes, as ordered."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    names: list[str]
    bad: list[tuple[str, str]]
    survey: Survey
    content: str
    order: str


def load_folder(
    path: str | Path,
    *,
    image_size: tuple[int, int],
    resize: str = "stretch",
    channels: int = 3,
    max_bad_fraction: float = 0.05,
    cache_dir: str | Path,
    progress: bool = True,
) -> Folder:
    """Decodes every picture once and keeps the result; the next call with the same content reads it from there.

    Args:
      path, image_size, resize, channels: as in `scan` and `pictures.decode`.
      max_bad_fraction: how many of the pictures may be unusable, 0 to 1; they are left out and listed.
      cache_dir: where the arrays are kept, one directory for each content, size and mode.
      progress: show how far it is, as `meter` does.
    Returns: a `Folder`, in the order of `scan`.
    Raises:
      ValueError: as `scan`, or too many pictures are unusable.
      OSError: the disk is too small for the array, or `cache_dir` cannot be written.
    """
    pictures.check_options(image_size, resize, channels)
    options = tuple(int(side) for side in image_size), resize, channels
    entries, class_names = scan(path)
    index, began = checksums.index_path(cache_dir, path), time.time_ns()
    known = checksums.known(index, entries)
    images, notes = _kept(_place(cache_dir, entries, class_names, options), entries, known, options, progress)
    crcs = [crc for crc, _, _ in notes]
    if None in known:
        checksums.remember(index, entries, crcs, began)
    good = [entry for entry, (_, _, reason) in zip(entries, notes) if not reason]
    bad = [(entry.name, reason) for entry, (_, _, reason) in zip(entries, notes) if reason]
    labels = np.array([entry.label for entry in good], np.int32)
    _check_bad(path, labels, class_names, len(entries), bad, max_bad_fraction)
    survey = _survey(entries, [size for _, size, _ in notes])
    content, order = _hash(sorted(crcs)), _hash([[entry.label, crc] for entry, crc in zip(entries, crcs)])
    return Folder(images, labels, class_names, [entry.name for entry in good], bad, survey, content, order)


def _hash(what):
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _place(cache_dir, entries, class_names, options):
    """Returns the directory for pictures of these names and lengths; each content has one of its own inside."""
    (height, width), *_ = options
    what = [PIL.__version__, options, class_names, [[entry.name, entry.size] for entry in entries]]
    return Path(cache_dir) / f"{height}x{width}-{_hash(what)[:32]}"


def _kept(place, entries, crcs, options, progress):
    """Returns images [N, H, W, C] and of each entry its note, as `_examine` makes them: from `place`, or made now.

    crcs: of each entry, None where it is not known. A file is read to learn it only where that may save decoding all.
    """
    size, _, channels = options
    facts = [[entry.name, entry.label] for entry in entries]
    items = functools.partial(_examined, entries, options, progress)

    def array(directory):
        return files.cached_array(directory, np.uint8, (len(entries), *size, channels), facts, items)

    def home(crcs):
        return place / _hash(crcs)[:32]

    if None not in crcs and home(crcs).exists():
        return array(home(crcs))
    place.mkdir(parents=True, exist_ok=True)
    with files.locked(place, wait=True):  # a second process waits here, then finds them
        if any(place.glob("*/manifest.json")):
            crcs = checksums.completed(entries, crcs)
            if home(crcs).exists():
                return array(home(crcs))
        shutil.rmtree(place / "new", ignore_errors=True)  # what a killed process left
        _, notes = array(place / "new")
        directory = home([crc for crc, _, _ in notes])
        shutil.rmtree(directory, ignore_errors=True)
        (place / "new").rename(directory)
        files.sync_directory(place)
        return array(directory)


def _examined(entries, options, progress):
    """Yields (rows, note) of each entry, in order, as `_examine` makes them; reads and decodes in threads."""
    threads, pending, stop = len(os.sched_getaffinity(0)), deque(), threading.Event()
    chunks = [entries[start : start + CHUNK] for start in range(0, len(entries), CHUNK)]
    shown = meter("decoding", len(entries), "pictures") if progress else contextlib.nullcontext(lambda _: None)
    with shown as advance, warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # Pillow's, about single pictures
        try:
            while chunks or pending:
                while chunks and len(pending) <= 2 * threads:  # the rest waits: memory stays flat
                    pending.append(pool.submit(_examine_some, chunks.pop(0), options, stop))
                found = pending.popleft().result()
                yield from found
                advance(len(found))
        finally:
            stop.set()  # Ctrl-C waits for the picture at hand, not for all that were taken
            pool.shutdown(wait=False, cancel_futures=True)


def _examine_some(entries, options, stop):
    """Returns what `_examine` says of the entries; of fewer once `stop` is set, since nobody asks any more."""
    return [_examine(entry, *options) for entry in entries if not stop.is_set()]


def _examine(entry, image_size, resize, channels):
    """Reads one file. Returns rows, [1, H, W, C] uint8 or [0, H, W, C], and the note: its CRC-32, its size
    (width, height) as stored or None, and the reason why it is unusable or None."""
    nothing = np.zeros((0, *image_size, channels), np.uint8)
    try:
        data = read(entry)
    except (ValueError, OSError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
        return nothing, (checksums.checksum(entry), None, reason)
    crc = checksums.checksum(entry, data)
    size, image = pictures.examine(data, image_size, resize, channels)
    return (nothing, (crc, size, image)) if isinstance(image, str) else (image[np.newaxis], (crc, size, None))


def _survey(entries, sizes):
    """Returns the `Survey`. sizes: of each entry, [width, height] or None."""
    counts = Counter(entry.name.split("/")[0] for entry in entries)
    common = dict(Counter(tuple(size) for size in sizes if size).most_common())
    return Survey(dict(counts), sum(entry.size for entry in entries), common, sizes.count(None))


def _check_bad(path, labels, class_names, count, bad, max_bad_fraction):
    """Raises ValueError when too many pictures are unusable, or all of one class."""
    first = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
    if len(bad) > max_bad_fraction * count:
        allowed = f"max_bad_fraction={max_bad_fraction} allows {int(max_bad_fraction * count)}"
        raise ValueError(f"{path}: {len(bad)} of {count} pictures are unusable, {allowed}: {first}")
    for label, found in enumerate(np.bincount(labels, minlength=len(class_names))):
        if not found:
            raise ValueError(f"{path}: no picture of class {class_names[label]} is usable: {first}")
