"""The IDX format of MNIST: a magic number, the dimensions, then unsigned bytes; plain or gzipped.

No file takes more than 10 s or 512 MB.
"""

import math
import struct
import zlib
from pathlib import Path

import numpy as np

MAX_BYTES = 2**28  # unpacked: five times what the largest of the published files has


def read_idx(path: str | Path, *, dimensions: int) -> np.ndarray:
    """Reads an IDX file of unsigned bytes with that many `dimensions` (images 3, labels 1).

    Returns: a uint8 array.
    Raises:
      ValueError: the magic number, the dimensions or the length are not what the format says, the gzip is damaged or
        not one piece, or it is no regular file.
      OSError: the file cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{path}: not a regular file")  # opening a pipe would wait for its other end
    with open(path, "rb") as file:
        pieces = _unpacked(path, file) if path.suffix == ".gz" else iter(lambda: file.read(_PIECE), b"")
        data = bytearray()
        _read(pieces, data, 4 + 4 * dimensions)
        shape = _read_header(path, data, dimensions)
        start, size = 4 + 4 * dimensions, math.prod(shape)
        _read(pieces, data, start + size + 1)
    if len(data) != start + size:
        found = f"only {len(data) - start}" if len(data) < start + size else "more"
        raise ValueError(f"{path}: the header announces {size} bytes {shape}, the file has {found}: remove it")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


_PIECE = 1 << 20


def _read(pieces, data, size):
    """Adds pieces to `data` until it has `size` bytes or there are no more: memory grows with what the file has, not
    with what its header announces."""
    while len(data) < size and (piece := next(pieces, None)):
        data += piece


def _unpacked(path, file):
    """Yields the content of a gzip file that is one piece, at most _PIECE bytes at a time; its checksum is verified."""
    unpack, packed = zlib.decompressobj(31), b""
    try:
        while not unpack.eof:
            if not packed and not (packed := file.read(_PIECE)):
                if file.tell():
                    raise ValueError("it ends too early")
                return
            if piece := unpack.decompress(packed, _PIECE):
                yield piece
            packed = unpack.unconsumed_tail
        if unpack.unused_data or file.read(1):
            raise ValueError("there is more behind it")
    except (ValueError, zlib.error) as error:
        raise ValueError(f"{path}: cut or damaged gzip ({error}): remove it and download it again") from None


def _read_header(path, data, dimensions):
    """Returns the shape. The magic number is 0, 0, 8 (unsigned bytes), then the number of dimensions."""
    wanted = bytes([0, 0, 8, dimensions])
    magic, sizes = bytes(data[:4]), data[4 : 4 + 4 * dimensions]
    if magic != wanted:
        raise ValueError(
            f"{path}: begins with {magic.hex() or 'nothing'}, an IDX file of this kind with {wanted.hex()}"
        )
    if len(sizes) < 4 * dimensions:
        raise ValueError(f"{path}: cut inside the header")
    shape = struct.unpack(f">{dimensions}I", sizes)
    if math.prod(shape) > MAX_BYTES:
        raise ValueError(f"{path}: the header announces {shape}, more than {MAX_BYTES} bytes")
    return shape
