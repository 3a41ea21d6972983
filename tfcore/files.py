"""Files that are whole or absent, and a directory that one process holds."""

import contextlib
import fcntl
import os
import re
import shutil
from pathlib import Path


@contextlib.contextmanager
def durable(path):
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


def link(existing, path):
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


def sync_directory(directory):
    """Makes renames in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text):
    """Writes `text` as UTF-8, durably."""
    with durable(path) as file:
        file.write(text.encode())


def remove_leftovers(directory):
    """Removes what killed processes left of `durable` writes. Call it while holding the directory's lock."""
    for leftover in Path(directory).glob(".*.tmp"):
        if re.search(r"\.\d+\.tmp$", leftover.name) and leftover.is_file():
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(directory):
    """Holds `directory` for this process; the lock ends with the process, however it ends.

    Raises:
      BlockingIOError: another process holds it; the message says which.
    """
    with open(Path(directory) / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            message = f"{directory} is in use by process {holder}: wait for it, or choose another --logdir"
            raise BlockingIOError(message) from None
        os.register_at_fork(after_in_child=file.close)  # else a child would keep the lock of a killed parent
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
