"""Safe reading of Keras' legacy HDF5 weight files (`.h5`).

In such a file the root, or the group `model_weights`, has the attribute `layer_names`; each layer is a group with the
attribute `weight_names`, which are paths of datasets inside it.

A file is data from elsewhere: only members that are really inside it are read, and sizes are checked before anything
is allocated. HDF5 itself would follow links to any file of the machine, and lets 2 KB declare 80 GB. No file takes
more than 10 s or 512 MB.
"""

import math
import mmap
import os
import re
import stat
import struct
from pathlib import Path

import h5py
import numpy as np

MAX_BYTES = 2**28  # of all arrays together, and of the file; InceptionV3 has 95 MB
MAX_OVERHEAD = 2**24  # of a file, besides its arrays
MAX_ARRAYS = 10_000
MAX_NAME = 1024  # characters
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # any other would load a plugin
MAX_COMPRESSION = 1032  # the most that gzip can do
ATTRIBUTE, CONTINUED = 0x0C, 0x10  # kinds of messages in a header


def read_keras_h5(path: str | Path, *, max_bytes: int = MAX_BYTES) -> dict[tuple[str, str], np.ndarray]:
    """Reads the arrays of a legacy Keras weights file or whole-model file.

    Returns: {(layer name, weight name): array}, names as they are in the file, in the file's order of layers; arrays of
      float16, float32 or float64 as stored.
    Raises:
      ValueError: not such a file; damaged; a soft or external link, external storage or a virtual dataset on the way
        to an array; not floating; arrays (or the file) of more than `max_bytes`, or of more
        than the file holds.
      OSError: the file cannot be opened.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its other end
            raise ValueError("not a regular file")
        with open(path, "rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            if file_bytes > max(max_bytes, MAX_BYTES) + MAX_OVERHEAD:
                raise ValueError(f"the file has {file_bytes} bytes, more than {max_bytes}")
            _check_heaps(file)
        with h5py.File(path, "r") as file:
            if file.id.get_create_plist().get_sizes() != (8, 8):
                raise ValueError("its addresses are not of 8 bytes")
            datasets = _datasets(file)
            total = sum(_check_dataset(dataset, file_bytes, max_bytes) for dataset in datasets.values())
            if total > max_bytes:
                raise ValueError(f"the arrays are {total} bytes together, more than {max_bytes}")
            return {key: np.asarray(dataset[()]) for key, dataset in datasets.items()}
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, MemoryError, OverflowError, struct.error) as error:
        message = " ".join(str(error).split())  # h5py's can have several lines
        raise ValueError(f"{path}: not a Keras weights file that can be read: {message}") from None


def _check_heaps(file):
    """Raises ValueError where a global heap in an HDF5 file is damaged: HDF5 would read some of those forever."""
    if not os.fstat(file.fileno()).st_size:
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for heap in re.finditer(rb"GCOL\x01\0{3}(.{8})", data, re.DOTALL):  # signature, version, reserved, size
            end, position = heap.start() + int.from_bytes(heap[1], "little"), heap.end()
            while end - position >= 16 and end <= len(data):
                index, length = struct.unpack_from("<H6xQ", data, position)
                step = 16 + -(-length // 8) * 8 if index else length  # index 0 is what is free, header included
                if not 0 < step <= end - position:
                    raise ValueError(f"damaged heap at byte {heap.start()}")
                position += step


def _datasets(file):
    """Returns {(layer name, weight name): dataset}; nothing is read yet but names."""
    group = file if _has_names(file, "layer_names") else _member(file, "model_weights", h5py.Group)
    datasets = {}
    for layer in _names(group, "layer_names"):
        layer_group = _member(group, layer, h5py.Group)
        for weight in _names(layer_group, "weight_names"):
            if (layer, weight) in datasets:
                raise ValueError(f"{layer}/{weight} is listed twice")
            datasets[layer, weight] = _member(layer_group, weight, h5py.Dataset)
            if len(datasets) > MAX_ARRAYS:
                raise ValueError(f"more than {MAX_ARRAYS} arrays")
    return datasets


def _has_names(group, attribute):
    return attribute in group.attrs or f"{attribute}0" in group.attrs


def _names(group, attribute):
    """Returns a list of names; Keras cuts one that is too large for one attribute into `name0`, `name1`, ..."""
    if not _has_names(group, attribute):
        raise ValueError(f"{group.name} has no attribute {attribute}")
    if attribute in group.attrs:
        return _strings(group, attribute)
    names, part = [], 0
    while f"{attribute}{part}" in group.attrs:
        names += _strings(group, f"{attribute}{part}")
        part += 1
    return names


def _strings(group, attribute):
    """Returns the strings of an attribute, of fixed or variable length, once it is sure that they are few and short."""
    header = group.attrs.get_id(attribute)
    string = h5py.check_string_dtype(header.dtype)
    where = f"{group.name}: attribute {attribute}"
    if header.shape == (0,):  # Keras stores an empty list as numbers
        return []
    if string is None or header.shape is None or len(header.shape) != 1:
        raise ValueError(f"{where} is not a list of strings")
    if header.shape[0] > MAX_ARRAYS or (string.length or 0) > MAX_NAME:
        raise ValueError(f"{where} declares {header.shape[0]} strings of {string.length or 'any'} bytes, too many")
    if string.length is None and (longest := _longest(group, attribute, header.shape[0])) > MAX_NAME:
        raise ValueError(f"{where} declares a string of {longest} bytes, more than {MAX_NAME}")
    return [name.decode() if isinstance(name, bytes) else name for name in group.attrs[attribute]]


def _longest(group, attribute, count):
    """Returns the greatest length that the strings of variable length of an attribute claim to have.

    HDF5 takes that much memory before it looks whether the string is there, and can only be asked for all of it. So
    the lengths are read here, from the file itself: 4 bytes before each of the references that stand in the header of
    the group, an object header of version 1.
    """
    found = [0]
    with open(group.file.filename, "rb") as file:
        for flags, body in _attributes(file, group.file.userblock_size, h5py.h5o.get_info(group.id).addr):
            version, form, *sizes = struct.unpack_from("<BBHHH", body)
            start, sizes = 8 + (version == 3), [-(-size // 8) * 8 if version == 1 else size for size in sizes]
            if body[start : start + sizes[0]].split(b"\0")[0] != attribute.encode():
                continue
            values = body[start + sum(sizes) :]
            if flags & 2 or (form & 3 and version > 1) or version not in (1, 2, 3) or len(values) < 16 * count:
                raise ValueError(f"{group.name}: attribute {attribute} is not stored as Keras does")
            found += [length for length, _ in struct.iter_unpack("<I12s", values[: 16 * count])]
    if len(found) == 1:
        raise ValueError(f"{group.name}: attribute {attribute} is not stored as Keras does")
    return max(found)


def _attributes(file, base, address):
    """Yields (flags, body) of each attribute in the object header at `address`, all addresses counting from `base`."""
    file.seek(base + address)
    version, size = struct.unpack("<B7xI4x", file.read(16))
    if version != 1:
        raise ValueError("its names are of variable length, in the newer layout that Keras does not write")
    blocks, total = [(address + 16, size)], 0
    for start, length in blocks:  # grows: a header goes on elsewhere
        total += length
        if total > MAX_OVERHEAD or len(blocks) > MAX_ARRAYS:
            raise ValueError("a header of a group is too long")
        file.seek(base + start)
        block, position = file.read(length), 0
        while position + 8 <= len(block):
            kind, size, flags = struct.unpack_from("<HHB", block, position)
            body, position = block[position + 8 : position + 8 + size], position + 8 + size
            if kind == CONTINUED:
                blocks.append(struct.unpack_from("<QQ", body))
            elif kind == ATTRIBUTE:
                yield flags, body


def _member(group, path, kind):
    """Returns the group or dataset at `path`, reached by hard links alone: these cannot lead out of the file."""
    for key in path.split("/"):
        name = f"{group.name.rstrip('/')}/{key}"
        if not isinstance(group, h5py.Group) or key in ("", "."):
            raise ValueError(f"{name} is not a path of groups")
        link = group.get(key, getlink=True)
        if link is None:
            raise ValueError(f"{name} is missing")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name} is a link out of its group ({type(link).__name__}), which is not followed")
        group = group[key]
    if not isinstance(group, kind):
        raise ValueError(f"{name} is a {type(group).__name__}, not a {kind.__name__}")
    return group


def _check_dataset(dataset, file_bytes, max_bytes):
    """Returns the bytes that `dataset` will take in memory, once it is sure that it is plain and honest."""
    name, properties = dataset.name, dataset.id.get_create_plist()
    if dataset.is_virtual or properties.get_external_count():
        raise ValueError(f"{name} is stored in other files ({'virtual' if dataset.is_virtual else 'external'} dataset)")
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (2, 4, 8) or dataset.shape is None:
        raise ValueError(f"{name} is {dataset.dtype}, not an array of floating-point numbers")
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if not set(filters) <= set(FILTERS):
        raise ValueError(f"{name} is stored with a filter other than {', '.join(FILTERS.values())}")
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), file_bytes) * (MAX_COMPRESSION if filters else 1)
    if max(declared, chunk) > max_bytes:
        raise ValueError(f"{name} declares {max(declared, chunk)} bytes, more than {max_bytes}")
    if declared > stored:
        raise ValueError(f"{name} declares {declared} bytes, of which the file holds {stored} at most")
    return declared
