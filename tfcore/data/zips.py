"""Zip files read in place, by any number of threads: nothing is unpacked to disk, nothing is believed unchecked."""

import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple


class ZipPlace(NamedTuple):
    """A part of a zip file. offset: of its local header; packed: its length there; crc: CRC-32 of its content."""

    path: str
    offset: int
    packed: int
    deflated: bool
    crc: int


def members(path: str | Path) -> list[tuple[str, int, ZipPlace]]:
    """Lists the files in a zip file: [(name with "/", size, ZipPlace)].

    Raises:
      ValueError: it is no zip file, or no plain collection of files: names that lead outside, links, doubles,
        passwords, entries that overlap, or sizes of a bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"{path}: neither a folder nor a whole zip file ({error})") from None
    names = [_inside(path, info.filename) for info in infos]
    files = [(name, info) for name, info in zip(names, infos) if not info.filename.endswith(("/", "\\"))]
    _check(path, files)
    return [(name, i.file_size, ZipPlace(str(path), *_numbers(i))) for name, i in files]


def _inside(path, name):
    """Returns the name with "/" between its parts, and no empty ones."""
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or parts[0][1:2] == ":" or ".." in parts:  # /x, \x, C:x, ../x
        raise ValueError(f"{path}: refused, the name {name!r} leads outside of the archive")
    return "/".join(part for part in parts if part not in ("", "."))


def _numbers(info):
    return info.header_offset, info.compress_size, info.compress_type == zipfile.ZIP_DEFLATED, info.CRC


def _check(path, files):
    """Raises ValueError where `members` says so. files: [(name, ZipInfo)]."""
    seen = set()
    for name, info in files:
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(f"{path}: refused, {name!r} is a link")
        if info.flag_bits & 0x1:
            raise ValueError(f"{path}: {name!r} is encrypted: unpack it yourself and name the folder")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{path}: {name!r} is packed by method {info.compress_type}: unpack it yourself")
        if name in seen:
            raise ValueError(f"{path}: refused, there are two of {name!r}")
        seen.add(name)
    length = os.path.getsize(path)
    if sum(info.compress_size for _, info in files) > length:  # one piece of data under several names
        raise ValueError(f"{path}: refused, its entries overlap")
    if (total := sum(info.file_size for _, info in files)) > max(1 << 30, 20 * length):
        raise ValueError(f"{path}: refused, {length:,} bytes that unpack to {total:,} are no pictures")


def read(file: int, place: ZipPlace, want: int) -> bytes:
    """Returns at most want + 1 bytes of an entry: one more shows that the announced size was a lie.

    file: a descriptor of the zip file.
    Raises:
      ValueError: the entry is damaged; the reason is short and names no file.
    """
    header = os.pread(file, 30, place.offset)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise ValueError("damaged: nothing where the zip file says it is")
    start = place.offset + 30 + sum(struct.unpack("<HH", header[26:]))  # behind the name and the extra field
    if not place.deflated:
        return os.pread(file, min(place.packed, want + 1), start)
    packed = os.pread(file, min(place.packed, want + want // 8 + 1024), start)  # nothing is packed to more than that
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, want + 1)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from None
