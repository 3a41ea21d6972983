"""The CRC-32 of each picture's bytes: what tells changed pictures from unchanged ones, though not from forged ones.

A zip file holds them. Of files they are remembered in an index, for as long as length, times and inode stay.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from tfcore import files
from tfcore.data.listing import Entry, FilePlace, read
from tfcore.data.zips import ZipPlace

UNREADABLE = -1  # in place of the checksum of what cannot be read: no file has it
SETTLED = 2 * 10**9  # ns; what changed later than that may change again without its times showing it


def index_path(cache_dir: str | Path, path: str | Path) -> Path:
    """Returns where the checksums of the folder at `path` are remembered."""
    return Path(cache_dir) / f"index-{hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]}.json"


def checksum(entry: Entry, data: bytes | None = None) -> int | None:
    """Returns the CRC-32 of an entry whose bytes are `data`, None where they could not be read."""
    if isinstance(entry.place, ZipPlace):
        return entry.place.crc
    return UNREADABLE if data is None else zlib.crc32(data)


def known(index: Path, entries: Sequence[Entry]) -> list[int | None]:
    """Returns the checksum of each entry, a list, with None where only its bytes can tell."""
    try:
        records = json.loads(index.read_bytes())
        records = {name: [int(number) for number in record] for name, record in records.items()}
    except (OSError, ValueError, AttributeError, TypeError):  # missing or damaged
        records = {}
    return [_known(entry, records.get(entry.name, [None])) for entry in entries]


def _known(entry, record):
    if isinstance(entry.place, ZipPlace):
        return entry.place.crc
    return record[-1] if record[:-1] == [entry.size, *entry.place.stamp] else None


def completed(entries: Sequence[Entry], crcs: Sequence[int | None]) -> list[int]:
    """Returns the checksums with those that are None read from the files, in threads."""

    def complete(entry, crc):
        if crc is not None:
            return crc
        try:
            return checksum(entry, read(entry))
        except (ValueError, OSError):
            return UNREADABLE

    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(complete, entries, crcs))


def remember(index: Path, entries: Sequence[Entry], crcs: Sequence[int], now: int) -> None:
    """Keeps the checksums of what was settled at `now`, in ns, durably; where it cannot, the next start is slower."""
    kept = ((e, e.place, crc) for e, crc in zip(entries, crcs) if isinstance(e.place, FilePlace) and crc != UNREADABLE)
    records = {e.name: [e.size, *at.stamp, crc] for e, at, crc in kept if max(at.stamp[:2]) < now - SETTLED}
    with contextlib.suppress(OSError), files.locked(index.parent, wait=True):
        files.remove_leftovers(index.parent)
        files.write_text(index, json.dumps(records))
