"""The CRC-32 of each picture's bytes: what tells changed pictures from unchanged ones, though not from forged ones.

A zip file holds them. Of files they are remembered in an index, for as long as length, times and inode stay.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import zlib
from pathlib import Path

from tfcore import files
from tfcore.data.listing import read
from tfcore.data.zips import ZipPlace

UNREADABLE = -1  # in place of the checksum of what cannot be read: no file has it
SETTLED = 2 * 10**9  # ns; what changed later than that may change again without its times showing it


def index_path(cache_dir, path):
    """Returns where the checksums of the folder at `path` are remembered."""
    return Path(cache_dir) / f"index-{hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]}.json"


def checksum(entry, data=None):
    """Returns the CRC-32 of an entry whose bytes are `data`, None where they could not be read."""
    if isinstance(entry.place, ZipPlace):
        return entry.place.crc
    return UNREADABLE if data is None else zlib.crc32(data)


def known(index, entries):
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


def completed(entries, crcs):
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


def remember(index, entries, crcs, now):
    """Keeps the checksums of what was settled at `now`, in ns, durably; where it cannot, the next start is slower."""
    pairs = ((entry, crc) for entry, crc in zip(entries, crcs) if crc != UNREADABLE)
    records = {e.name: [e.size, *e.place.stamp, crc] for e, crc in pairs if max(e.place.stamp[:2]) < now - SETTLED}
    with contextlib.suppress(OSError), files.locked(index.parent, wait=True):
        files.remove_leftovers(index.parent)
        files.write_text(index, json.dumps(records))
