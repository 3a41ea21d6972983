"""Arrays of pictures kept on disk: built once, whole or absent, memory-mapped afterwards.

A cache is a directory with `images.u8`, the pictures one behind the other, and `manifest.json`, which is written last.
Without a manifest that fits there is no cache.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np

from tfcore.files import durable, remove_leftovers, sync_directory, write_text

FORMAT = 1
CHUNK = 64  # pictures written at a time


def load(directory, names, labels, shape, read_all):
    """Returns the pictures kept in `directory`; builds them first where they are missing or not whole.

    Args:
      directory: a name that depends on the content, so that what it holds never changes.
      names, labels: of each picture, lists.
      shape: (H, W, C) of each picture.
      read_all: () -> an iterable of, for each name, an array `shape` uint8, or a text: the reason why there is none.
    Returns: images [N, H, W, C] uint8 (read-only np.memmap), labels [N] int32, names of these N, [(name, reason)].
    Raises:
      OSError: the disk is too small (said before anything is written), or `directory` cannot be written.
    """
    directory = Path(directory)
    kept = _open(directory, names, labels, shape)
    if kept is None:
        directory.mkdir(parents=True, exist_ok=True)
        with alone(directory):  # a second process waits here, then finds the finished cache
            kept = _open(directory, names, labels, shape)
            if kept is None:
                _build(directory, names, labels, shape, read_all)
                kept = _open(directory, names, labels, shape)
    return kept


def _open(directory, names, labels, shape):
    """Returns what `load` returns, or None when no whole cache of these names is there."""
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
        bad = [(name, reason) for name, reason in manifest["bad"]]
        left_out = {name for name, _ in bad}
        good = [i for i, name in enumerate(names) if name not in left_out]
        wanted = _manifest([names[i] for i in good], [labels[i] for i in good], shape, bad)
        whole = manifest == wanted and (directory / "images.u8").stat().st_size == wanted["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not whole or len(good) + len(bad) != len(names):
        return None
    array = (len(good), *shape)
    if good:
        images = np.memmap(directory / "images.u8", np.uint8, "r", shape=array)
    else:  # nothing cannot be mapped
        images = np.zeros(array, np.uint8)
        images.flags.writeable = False
    return images, np.array(wanted["labels"], np.int32), wanted["names"], bad


def _manifest(names, labels, shape, bad):
    return {
        "format": FORMAT,
        "shape": [len(names), *shape],
        "bytes": len(names) * math.prod(shape),
        "names": names,
        "labels": labels,
        "bad": [list(pair) for pair in bad],
    }


def _build(directory, names, labels, shape, read_all):
    """Writes images.u8, then manifest.json. Call it while holding the directory."""
    (directory / "manifest.json").unlink(missing_ok=True)
    remove_leftovers(directory)
    good, bad = [], []
    with durable(directory / "images.u8") as file:
        reserve(file, len(names) * math.prod(shape), "the decoded pictures")
        chunk = []
        for i, item in enumerate(read_all()):
            if isinstance(item, str):
                bad.append((names[i], item))
                continue
            good.append(i)
            chunk.append(item)
            if len(chunk) == CHUNK:
                file.write(b"".join(chunk))
                chunk.clear()
        file.write(b"".join(chunk))
        file.truncate(len(good) * math.prod(shape))
    manifest = _manifest([names[i] for i in good], [labels[i] for i in good], shape, bad)
    write_text(directory / "manifest.json", json.dumps(manifest))
    sync_directory(directory.parent)


def reserve(file, size, what):
    """Takes the space from the disk now, where it can still be refused: later it would kill the process by SIGBUS.

    Args:
      file: open for writing.
      size: in bytes.
      what: the words for what will be written.
    Raises:
      OSError: there is not so much; the message says how much there is, and where.
    """
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        directory = Path(file.name).parent
        free = shutil.disk_usage(directory).free
        message = f"{what} need {size / 1e6:,.1f} MB in {directory.parent}, {free / 1e6:,.1f} MB are free"
        raise OSError(error.errno, f"{message} ({error.strerror}): make room, or choose another cache") from None


@contextlib.contextmanager
def alone(directory):
    """Waits until no other process builds here, then keeps them out; the lock ends with the process."""
    with open(directory / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_index(path):
    """Returns {name: [number, ...]} as `write_index` left it; empty when it is missing or damaged."""
    try:
        index = json.loads(path.read_bytes())
        return {name: [int(number) for number in numbers] for name, numbers in index.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def write_index(path, index):
    """Keeps {name: [number, ...]}, durably, where it can: without it the next start is only slower."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.parent):
            remove_leftovers(path.parent)
            write_text(path, json.dumps(index))
