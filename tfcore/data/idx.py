"""The IDX format of MNIST: a magic number, the dimensions, then unsigned bytes; plain or gzipped."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

MAX_BYTES = 2**31


def read_idx(path, *, dimensions):
    """Reads an IDX file of unsigned bytes with that many `dimensions` (images 3, labels 1).

    Returns: a uint8 array.
    Raises:
      ValueError: the magic number, the dimensions or the length are not what the format says, or the gzip is damaged.
      OSError: the file cannot be read.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            shape = _read_header(path, file, dimensions)
            size = math.prod(shape)
            data = _read_at_most(file, size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: cut or damaged gzip ({error}): remove it and download it again") from None
    if len(data) != size:
        found = f"only {len(data)}" if len(data) < size else "more"
        raise ValueError(f"{path}: the header announces {size} bytes {shape}, the file has {found}: remove it")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_at_most(file, size):
    """Returns up to `size` bytes; memory grows with what the file has, not with what its header announces."""
    data = bytearray()
    while chunk := file.read(min(size - len(data), 1 << 20)):
        data += chunk
    return data


def _read_header(path, file, dimensions):
    """Returns the shape. The magic number is 0, 0, 8 (unsigned bytes), then the number of dimensions."""
    wanted = bytes([0, 0, 8, dimensions])
    magic = file.read(4)
    if magic != wanted:
        raise ValueError(
            f"{path}: begins with {magic.hex() or 'nothing'}, an IDX file of this kind with {wanted.hex()}"
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(f"{path}: cut inside the header")
    shape = struct.unpack(f">{dimensions}I", sizes)
    if math.prod(shape) > MAX_BYTES:
        raise ValueError(f"{path}: the header announces {shape}, more than {MAX_BYTES} bytes")
    return shape
