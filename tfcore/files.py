"""Files that are whole or absent, a directory that one process holds, and large arrays that are built once."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

PIECE = 1 << 22  # bytes of a large array that have a checksum
LOOKED_AT = 64  # of these pieces, when it is opened


@contextlib.contextmanager
def durable(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a temporary file for writing bytes; when the block ends well it is synced and renamed to `path`.

    After a crash at any instant `path` is the old file or the new one, whole.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename or not error.errno or error.strerror != os.strerror(error.errno):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None  # a full disk names no file
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def link(existing: str | Path, path: str | Path) -> None:
    """Makes `path` a second name of `existing`, or a copy where the disk has no second names; `path` is never half."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(existing, temporary)
    except OSError:
        with durable(path) as file, open(existing, "rb") as source:
            shutil.copyfileobj(source, file)
        return
    os.replace(temporary, path)
    temporary.unlink(missing_ok=True)  # where both were one file already, the line above did nothing
    sync_directory(path.parent)


@contextlib.contextmanager
def durable_directory(path: str | Path) -> Iterator[Path]:
    """Yields a new directory to write into; when the block ends well it is synced and renamed to `path`.

    After a crash at any instant `path` is the old directory, or absent, or the new one, whole.
    """
    path = Path(path)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}{end}.tmp") for end in ("", ".old"))
    try:
        temporary.mkdir()
        yield temporary
        for directory, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(directory, name))
            _sync(directory)
        if path.exists():
            os.replace(path, old)  # no rename replaces a directory that holds something
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def sync_directory(directory: str | Path) -> None:
    """Makes renames in `directory` survive a power cut."""
    _sync(directory)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` as UTF-8, durably."""
    with durable(path) as file:
        file.write(text.encode())


def remove_leftovers(directory: str | Path) -> None:
    """Removes what killed processes left of durable writes. Call it while holding the directory's lock."""
    for leftover in Path(directory).glob(".*.tmp"):
        if re.search(r"\.\d+\.tmp$", leftover.name) and leftover.is_file():
            leftover.unlink(missing_ok=True)
        elif re.search(r"\.\d+(\.old)?\.tmp$", leftover.name) and leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)


_held: set[TextIO] = set()  # the open lock files of this process


def _let_go_in_child():
    """Closes the locks in a forked child: else it would keep those of a killed parent."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextlib.contextmanager
def locked(directory: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Holds `directory` for this process; the lock ends with the process, however it ends.

    Args:
      wait: True waits until the holder is done, False refuses at once.
    Raises:
      BlockingIOError: another process holds it; the message says which.
    """
    with open(Path(directory) / ".lock", "a+") as file:
        _held.add(file)  # before it is locked: a child of that instant lets go too
        try:
            _lock(file, directory, wait)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
        finally:
            _held.discard(file)


def _lock(file, directory, wait):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        message = f"{directory} is in use by process {holder}: wait until it ends, or choose another directory"
        raise BlockingIOError(message) from None


def cached_array(
    directory: str | Path,
    dtype: np.typing.DTypeLike,
    shape: Sequence[int],
    facts: Any,
    items: Callable[[], Iterable[tuple[np.ndarray, Any]]],
) -> tuple[np.ndarray, list[Any]]:
    """Returns the array that `directory` holds; builds it first where it is missing or not whole.

    The rows lie one behind the other in array.bin; manifest.json is written last, and without one that fits there is
    no array. While one process builds another waits, then finds the finished array.

    Numbers that changed on the disk are noticed when the array is opened: all of them, up to 256 MB or where the file
    was written after its manifest; of a larger array with the times of a whole one, 64 pieces of 4 MB. What changes
    in the rest, or later, is not noticed.

    Args:
      directory: a name for this content and no other, so that what it holds never changes.
      shape: [N, ...] of the array; N is the most rows that may come.
      facts: JSON values; an array with other facts is built again.
      items: () -> an iterable of (rows, note): rows, [n, ...] of `dtype`, are the next n >= 0 of the array; the note
        is any JSON value.
    Returns: the array [rows that came, ...], a read-only np.memmap, and the list of the notes.
    Raises:
      OSError: the disk is too small, which is said before a row is asked for, or `directory` cannot be written.
    """
    directory = Path(directory)
    plan = {"format": 2, "dtype": np.dtype(dtype).str, "shape": list(shape), "facts": facts}
    plan = json.loads(json.dumps(plan))  # as it will be read: lists for tuples
    kept = _open_array(directory, plan)
    if kept is None:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory, wait=True):
            kept = _open_array(directory, plan)
            if kept is None:
                _build_array(directory, plan, items)
                kept = _open_array(directory, plan)
    return kept


def _open_array(directory, plan):
    """Returns what `cached_array` returns, or None when no whole array of that plan is there."""
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
        rows, notes, crcs = manifest["rows"], manifest["notes"], manifest["crcs"]
        length = rows * _row_bytes(plan) if type(rows) is int and 0 <= rows <= plan["shape"][0] else None
        if manifest != _manifest(plan, rows, notes, crcs) or manifest["bytes"] != length:
            return None
        if not _intact(directory / "array.bin", length, crcs, (directory / "manifest.json").stat().st_mtime_ns):
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    dtype, shape = np.dtype(plan["dtype"]), (rows, *plan["shape"][1:])
    if length:
        return np.memmap(directory / "array.bin", dtype, "r", shape=shape), notes
    nothing = np.zeros(shape, dtype)  # it cannot be mapped
    nothing.flags.writeable = False
    return nothing, notes


def _intact(path, length, crcs, written):
    """Returns whether the file has that length and, in as many pieces as are looked at, those checksums."""
    status = path.stat()
    if status.st_size != length or len(crcs) != -(-length // PIECE):
        return False
    step = 1 if status.st_mtime_ns > written else max(1, len(crcs) // LOOKED_AT)
    with open(path, "rb", buffering=0) as file:
        return all(zlib.crc32(os.pread(file.fileno(), PIECE, i * PIECE)) == crcs[i] for i in range(0, len(crcs), step))


def _manifest(plan, rows, notes, crcs):
    """Returns all that is known of an array, with a hash over it."""
    manifest = {**plan, "rows": rows, "bytes": rows * _row_bytes(plan), "crcs": crcs, "notes": notes}
    return manifest | {"sha256": hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()}


def _row_bytes(plan):
    return math.prod(plan["shape"][1:]) * np.dtype(plan["dtype"]).itemsize


def _build_array(directory, plan, items):
    """Writes array.bin, then manifest.json. Call it while holding `directory`."""
    for name in ("manifest.json", "array.bin"):
        if (directory / name).is_dir():
            shutil.rmtree(directory / name)
        (directory / name).unlink(missing_ok=True)
    remove_leftovers(directory)
    dtype, (most, *row), count, notes = np.dtype(plan["dtype"]), plan["shape"], 0, []
    crcs, crc, written = [], 0, 0
    with durable(directory / "array.bin") as file:
        _reserve(file, most * _row_bytes(plan))
        for rows, note in items():
            count += len(rows)
            if rows.dtype != dtype or rows.shape[1:] != tuple(row) or count > most:
                raise ValueError(f"rows {rows.dtype} {list(rows.shape)} do not fit {dtype} {plan['shape']}")
            data = memoryview(np.ascontiguousarray(rows).reshape(-1).view(np.uint8))
            file.write(data)
            notes.append(note)
            while data:  # a checksum of each PIECE, whatever the rows are
                part, data = data[: PIECE - written], data[PIECE - written :]
                crc, written = zlib.crc32(part, crc), written + len(part)
                if written == PIECE:
                    crcs, crc, written = [*crcs, crc], 0, 0
        file.truncate(count * _row_bytes(plan))
    crcs += [crc] if written else []
    write_text(directory / "manifest.json", json.dumps(_manifest(plan, count, notes, crcs)))
    sync_directory(directory.parent)


def _reserve(file, size):
    """Takes the space from the disk now, where it can still be refused: later it would kill the process by SIGBUS."""
    try:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        directory = Path(file.name).parent
        free = shutil.disk_usage(directory).free
        message = f"{directory} needs {size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free ({error.strerror})"
        raise OSError(error.errno, f"{message}: make room, or choose another cache") from None
