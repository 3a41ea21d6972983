"""Folders and zips of CLASS/picture.jpg: what is in them, and all their pictures as one uint8 array on disk."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
import time
import warnings
import zlib
from collections import Counter, deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from tqdm import tqdm

from tfcore.data import cache, pictures, zips
from tfcore.data.zips import ZipPlace
from tfcore.files import write_text

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
MAX_BYTES = 1 << 27  # of one file; the largest picture that pictures.decode accepts needs less, bitmaps aside
CHUNK = 16  # pictures that a thread decodes at a time


class FilePlace(NamedTuple):
    """A file of its own. stamp: (mtime_ns, ctime_ns, inode), which changes when the content does."""

    path: str
    stamp: tuple[int, int, int]


class Entry(NamedTuple):
    """One picture: its name as "CLASS/file", its class as a number, its length in bytes, and where it is."""

    name: str
    label: int
    size: int
    place: FilePlace | ZipPlace


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


def load_folder(path, *, image_size, resize="stretch", channels=3, max_bad_fraction=0.05, cache_dir, progress=True):
    """Decodes every picture once and keeps the result; the next call with the same content reads it from there.

    Args:
      path, image_size, resize, channels: as in `scan` and `pictures.decode`.
      max_bad_fraction: how many of the pictures may be unusable, 0 to 1; they are left out and listed.
      cache_dir: where the arrays are kept, one directory for each content, size and mode.
      progress: show a bar; where stderr is no terminal, print one line at the end.
    Returns: a `Folder`, in the order of `scan`.
    Raises:
      ValueError: as `scan`, or too many pictures are unusable.
      OSError: the disk is too small for the array, or `cache_dir` cannot be written.
    """
    pictures.check_options(image_size, resize, channels)
    image_size = tuple(int(side) for side in image_size)
    entries, class_names = scan(path)
    contents = identify(entries, cache_dir, path)
    key = cache_key(entries, contents, class_names, image_size, resize, channels)
    directory = Path(cache_dir) / f"{image_size[0]}x{image_size[1]}-{key[:32]}"
    names, labels, sizes = [e.name for e in entries], [e.label for e in entries], {}

    def read_all():
        return _shown(decode_all(entries, image_size, resize, channels, sizes), len(entries), progress)

    images, labels, names, bad = cache.load(directory, names, labels, (*image_size, channels), read_all)
    _check_bad(path, labels, class_names, len(entries), bad, max_bad_fraction)
    found = _kept_survey(directory / "survey.json", entries, sizes)
    ordered = [[entry.label, crc] for entry, crc in zip(entries, contents)]
    content, order = (hashlib.sha256(json.dumps(what).encode()).hexdigest() for what in (sorted(contents), ordered))
    return Folder(images, labels, class_names, names, bad, found, content, order)


def scan(path):
    """Lists the pictures of a folder CLASS/*.jpg, of the folder that holds it, or of a zip file with either inside.

    Pictures are known by their suffix. Hidden files, other files, and folders without pictures are passed over.

    Returns: [Entry], by class, then in natural order (2.jpg before 10.jpg), and the class names, sorted.
    Raises:
      ValueError: there is no such path, there are fewer than two classes, or the zip file is not to be trusted.
    """
    path = Path(path)
    if path.is_dir():
        files = _list_folder(path)
    elif path.is_file():
        files = [file for file in zips.members(path) if _is_picture(file[0])]
    else:
        raise ValueError(f"{path}: no such folder or zip file")
    level = _class_level(path, files)
    chosen = ((name.split("/")[level - 1 :], size, place) for name, size, place in files if name.count("/") == level)
    chosen = sorted(chosen, key=lambda item: (item[0][0], natural_key(item[0][1])))
    class_names = tuple(sorted({parts[0] for parts, _, _ in chosen}))
    if len(class_names) < 2:
        raise ValueError(f"{path}: all pictures are in one class, {class_names[0]}; there must be two folders or more")
    number = {name: i for i, name in enumerate(class_names)}
    return [Entry("/".join(parts), number[parts[0]], size, place) for parts, size, place in chosen], class_names


def natural_key(name):
    """Returns what to sort by so that numbers inside names count as numbers: "2.jpg" before "10.jpg"."""
    return [int(part) if i % 2 else part.lower() for i, part in enumerate(re.split("([0-9]+)", name))], name


def _class_level(path, files):
    """Returns the depth of the class folders, 1 for CLASS/file: the least at which there are any."""
    depths = [name.count("/") for name, _, _ in files if "/" in name]
    if not depths:
        found = f"{len(files)} pictures outside of any" if files else "no picture"
        raise ValueError(f"{path}: expected class folders with pictures ({', '.join(SUFFIXES)}), found {found}")
    level = min(depths)
    roots = sorted({name.rsplit("/", 2)[0] for name, _, _ in files if name.count("/") == level > 1})
    if len(roots) > 1:
        raise ValueError(f"{path}: holds several sets of classes ({', '.join(roots[:4])}): name one of them")
    return level


def _is_picture(name):
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    return name.lower().endswith(SUFFIXES) and not hidden


def _list_folder(path):
    """Returns (name, size, FilePlace) of the pictures in the folders of `path`, else in the folders of those."""
    files = list(_walk(path, "", 1))
    if not any("/" in name for name, _, _ in files):
        files = list(_walk(path, "", 2))
    return files


def _walk(folder, prefix, depth):
    with os.scandir(folder) as found:
        for item in found:
            if item.name.startswith("."):
                continue
            if item.is_dir():
                if depth:
                    yield from _walk(item.path, f"{prefix}{item.name}/", depth - 1)
            elif _is_picture(item.name) and item.is_file():
                status = item.stat()
                stamp = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
                yield prefix + item.name, status.st_size, FilePlace(item.path, stamp)


def read(entry, *, most=None):
    """Returns the bytes of one picture, whole and verified, or unverified its first `most`.

    Raises:
      ValueError: with a short reason: cut, damaged, or longer than announced or allowed.
      OSError: the file cannot be read.
    """
    if entry.size > MAX_BYTES:
        raise ValueError(f"{entry.size:,} bytes are more than the {MAX_BYTES:,} allowed")
    want = entry.size if most is None else min(most, entry.size)
    with open(entry.place.path, "rb", buffering=0) as file:
        if isinstance(entry.place, ZipPlace):
            data = zips.read(file.fileno(), entry.place, want)
        else:
            data = os.pread(file.fileno(), want + 1, 0)
    if most is not None:
        return data[:want]
    if len(data) != want:
        raise ValueError(f"{'more' if len(data) > want else f'only {len(data):,}'} of the {want:,} bytes announced")
    if isinstance(entry.place, ZipPlace) and zlib.crc32(data) != entry.place.crc:
        raise ValueError("damaged: its bytes do not have the checksum in the zip file")
    return data


def survey(entries, known=None):
    """Counts classes, bytes and picture sizes; sizes are as stored, before EXIF rotation.

    known: {name: (width, height)} of pictures whose size need not be read from their headers once more.
    """
    known, sizes, unreadable = known or {}, Counter(), 0
    for entry in entries:
        try:
            sizes[known.get(entry.name) or _stored_size(entry)] += 1
        except (ValueError, OSError):
            unreadable += 1
    counts = Counter(e.name.split("/")[0] for e in entries)
    return Survey(dict(counts), sum(e.size for e in entries), dict(sizes.most_common()), unreadable)


def _kept_survey(path, entries, known):
    """Returns the survey of `entries` from `path`; makes it, and leaves it there, where it is missing."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_bytes())
        return Survey(**{**kept, "sizes": {(width, height): count for width, height, count in kept["sizes"]}})
    found = survey(entries, known)
    sizes = [[*size, count] for size, count in found.sizes.items()]
    with contextlib.suppress(OSError):  # without it the next start is only slower
        write_text(path, json.dumps({**dataclasses.asdict(found), "sizes": sizes}))
    return found


def _stored_size(entry):
    try:
        return pictures.stored_size(read(entry, most=1 << 15))
    except ValueError:
        return pictures.stored_size(read(entry))  # long metadata come before the size


def identify(entries, cache_dir, path):
    """Returns the CRC-32 of each entry's bytes, a list.

    A zip file holds them. Of files they are computed, and remembered under `cache_dir` for as long as length, times
    and inode stay. They tell changed pictures from unchanged ones, not from forged ones.
    """
    if all(isinstance(e.place, ZipPlace) for e in entries):
        return [e.place.crc for e in entries]
    index = Path(cache_dir) / f"index-{hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]}.json"
    known = cache.read_index(index)
    stamps = [[e.size, *e.place.stamp] for e in entries]
    fresh = [e for e, stamp in zip(entries, stamps) if known.get(e.name, [None])[:-1] != stamp]
    now = time.time_ns()
    with concurrent.futures.ThreadPoolExecutor(_threads()) as pool:
        computed = dict(zip((e.name for e in fresh), pool.map(_crc, fresh)))
    crcs = [computed[e.name] if e.name in computed else known[e.name][-1] for e in entries]
    if fresh:
        # What changed within the last seconds may change again without its times showing it: not remembered.
        records = {e.name: [*stamp, crc] for e, stamp, crc in zip(entries, stamps, crcs) if crc >= 0}
        cache.write_index(index, {k: r for k, r in records.items() if max(r[1:3]) < now - 2 * 10**9})
    return crcs


def _crc(entry):
    """Returns the CRC-32 of a file; of what cannot be read, -1: it will be listed as bad."""
    try:
        return zlib.crc32(read(entry))
    except (ValueError, OSError):
        return -1


def cache_key(entries, contents, class_names, image_size, resize, channels):
    """Returns a sha256 of all that the array depends on: names, contents, classes, size, mode, and the decoder."""
    what = [cache.FORMAT, PIL.__version__, list(image_size), resize, channels, class_names]
    what += [[e.name, e.size, crc] for e, crc in zip(entries, contents)]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def decode_all(entries, image_size, resize, channels, sizes=None):
    """Yields of each entry, in order, its array [H, W, C] or the reason why there is none; decodes in threads.

    sizes: a dictionary to put {name: (width, height)} into, as stored.
    """
    sizes = {} if sizes is None else sizes

    def decode_some(some):
        return [_decode_one(entry, image_size, resize, channels, sizes) for entry in some]

    threads, pending = _threads(), deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(entries), CHUNK):
                if len(pending) > 2 * threads:  # the rest waits: memory stays flat
                    yield from pending.popleft().result()
                pending.append(pool.submit(decode_some, entries[start : start + CHUNK]))
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decode_one(entry, image_size, resize, channels, sizes):
    try:
        image, sizes[entry.name] = pictures.decode_sized(read(entry), image_size, resize, channels)
        return image
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _threads():
    return len(os.sched_getaffinity(0))


def _shown(items, count, progress):
    """Passes `items` on, with a progress bar or a last line; hides Pillow's warnings about single pictures."""
    began, bar = time.monotonic(), progress and sys.stderr.isatty()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from tqdm(items, total=count, unit=" pictures", desc="decoding", disable=not bar)
    seconds = time.monotonic() - began
    if progress and not bar:
        print(f"decoded {count:,} pictures in {seconds:.1f} s, {count / seconds:,.0f} a second", flush=True)


def _check_bad(path, labels, class_names, count, bad, max_bad_fraction):
    """Raises ValueError when too many pictures are unusable, or all of one class."""
    first = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
    if len(bad) > max_bad_fraction * count:
        allowed = f"--max_bad_fraction={max_bad_fraction} allows {int(max_bad_fraction * count)}"
        raise ValueError(f"{path}: {len(bad)} of {count} pictures are unusable, {allowed}: {first}")
    for label, found in enumerate(np.bincount(labels, minlength=len(class_names))):
        if not found:
            raise ValueError(f"{path}: no picture of class {class_names[label]} is usable: {first}")
