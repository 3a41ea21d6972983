"""What pictures are in a folder or zip of CLASS/picture.jpg, and the bytes of each."""

import os
import re
import stat
import zlib
from pathlib import Path
from typing import NamedTuple

from tfcore.data import pictures, zips
from tfcore.data.zips import ZipPlace

MAX_BYTES = 1 << 27  # of one file; the largest picture that pictures.decode accepts needs less, bitmaps aside


class FilePlace(NamedTuple):
    """A file of its own. stamp: (mtime_ns, ctime_ns, inode), which changes when the content does; zeros for a link
    that leads nowhere."""

    path: str
    stamp: tuple[int, int, int]


class Entry(NamedTuple):
    """One picture: its name as "CLASS/file", its class as a number, its length in bytes, and where it is.

    What no screen can show of a name is escaped in it: control characters, and bytes that are not UTF-8.
    """

    name: str
    label: int
    size: int
    place: FilePlace | ZipPlace


def scan(path: str | Path) -> tuple[list[Entry], tuple[str, ...]]:
    """Lists the pictures of a folder CLASS/*.jpg, of the folder that holds it, or of a zip file with either inside.

    Pictures are known by their suffix. Hidden files, other files, and folders without pictures are passed over.
    A picture that is a link to nowhere or to itself is listed; it cannot be read.

    Returns: [Entry], by class, then in natural order (2.jpg before 10.jpg), and the class names, sorted.
    Raises:
      ValueError: there is no such path, there are fewer than two classes, or the zip file is not to be trusted.
    """
    path = Path(path)
    if path.is_dir():
        files = _list_folder(path)
    elif path.is_file():
        files = [(printable(name), *rest) for name, *rest in zips.members(path) if _is_picture(name)]
    else:
        raise ValueError(f"{path}: no such folder or zip file")
    level = _class_level(path, files)
    found = ((name.split("/")[level - 1 :], size, place) for name, size, place in files if name.count("/") == level)
    chosen = sorted(found, key=lambda item: (item[0][0], natural_key(item[0][1])))
    class_names = tuple(sorted({parts[0] for parts, _, _ in chosen}))
    if len(class_names) < 2:
        raise ValueError(f"{path}: all pictures are in one class, {class_names[0]}; there must be two folders or more")
    number = {name: i for i, name in enumerate(class_names)}
    return [Entry("/".join(parts), number[parts[0]], size, place) for parts, size, place in chosen], class_names


def natural_key(name: str) -> tuple[list[int | str], str]:
    """Returns what to sort by so that numbers inside names count as numbers: "2.jpg" before "10.jpg"."""
    return [int(part) if i % 2 else part.lower() for i, part in enumerate(re.split("([0-9]+)", name))], name


def _class_level(path, files):
    """Returns the depth of the class folders, 1 for CLASS/file: the least at which there are any."""
    depths = [name.count("/") for name, _, _ in files if "/" in name]
    if not depths:
        found = f"{len(files)} pictures outside of any" if files else "no picture"
        raise ValueError(
            f"{path}: expected class folders with pictures ({', '.join(pictures.SUFFIXES)}), found {found}"
        )
    level = min(depths)
    roots = sorted({name.rsplit("/", 2)[0] for name, _, _ in files if name.count("/") == level > 1})
    if len(roots) > 1:
        raise ValueError(f"{path}: holds several sets of classes ({', '.join(roots[:4])}): name one of them")
    return level


def _is_picture(name):
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    return name.lower().endswith(pictures.SUFFIXES) and not hidden


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
            name = prefix + printable(item.name)
            try:
                status = item.stat() if item.is_symlink() or not item.is_dir() else None
            except OSError:  # a link to nowhere, or to itself
                if _is_picture(item.name):
                    yield name, 0, FilePlace(item.path, (0, 0, 0))
                continue
            if status is None or stat.S_ISDIR(status.st_mode):
                if depth:
                    yield from _walk(item.path, f"{name}/", depth - 1)
            elif _is_picture(item.name) and stat.S_ISREG(status.st_mode):
                stamp = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
                yield name, status.st_size, FilePlace(item.path, stamp)


def printable(name: str) -> str:
    """Returns a name with control characters, line ends and bytes that are not UTF-8 escaped: "a\\n", "\\xe9"."""

    def escape(match):
        code = ord(match[0])
        return f"\\x{code & 0xFF:02x}" if code < 0x100 or 0xDC80 <= code < 0xDD00 else f"\\u{code:04x}"

    return re.sub("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", escape, name)


def read(entry: Entry) -> bytes:
    """Returns the bytes of one picture, whole and verified.

    Raises:
      ValueError: with a short reason: cut, damaged, or longer than announced or allowed.
      OSError: the file cannot be read.
    """
    size, place = entry.size, entry.place
    _check_size(size)
    if isinstance(place, FilePlace):
        data = read_file(place.path)
    else:
        with open(place.path, "rb", buffering=0) as file:
            data = zips.read(file.fileno(), place, size)
    if len(data) != size:
        raise ValueError(f"{'more' if len(data) > size else f'only {len(data):,}'} of the {size:,} bytes announced")
    if isinstance(place, ZipPlace) and zlib.crc32(data) != place.crc:
        raise ValueError("damaged: its bytes do not have the checksum in the zip file")
    return data


def read_file(path: str | Path) -> bytes:
    """Returns the bytes of a file.

    Raises:
      ValueError: with a short reason: it is no regular file (opening a pipe would wait for its other end), or has more
        than MAX_BYTES.
      OSError: the file cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a regular file")
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        size = os.fstat(file.fileno()).st_size
        _check_size(size)
        return os.pread(file.fileno(), size + 1, 0)  # one more shows that it grows


def _check_size(size):
    if size > MAX_BYTES:
        raise ValueError(f"{size:,} bytes are more than the {MAX_BYTES:,} allowed")
