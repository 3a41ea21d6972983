"""Crafted IDX files: the right ones are read, every other is refused in one line that names it."""

import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest

from tfcore.data.idx import read_idx

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


def idx(array, *, shape=None, magic=None):
    """The published layout: 0, 0, type 8, the dimensions, big-endian sizes, then the bytes."""
    shape = array.shape if shape is None else shape
    magic = bytes([0, 0, 8, len(shape)]) if magic is None else magic
    return magic + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


GOOD = idx(PIXELS)
ZIPPED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize("shape", [(5, 4, 3), (60, 1, 1), (1, 1, 1), (0, 28, 28), (7,), (3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", ["plain", "zipped.gz"])
def test_reads_what_was_written(tmp_path, rng, shape, name):
    array = rng.integers(0, 256, shape, np.uint8)
    content = idx(array)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    read = read_idx(tmp_path / name, dimensions=len(shape))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


def test_path_may_be_a_string(tmp_path):
    (tmp_path / "a").write_bytes(GOOD)
    np.testing.assert_array_equal(read_idx(str(tmp_path / "a"), dimensions=3), PIXELS)


def flip(content, position, bit=1):
    changed = bytearray(content)
    changed[position] ^= bit
    return bytes(changed)


BAD = {
    "nothing": (b"", "begins with nothing"),
    "text": (b"<html><body>moved", "begins with 3c68746d"),
    "wrong_magic": (idx(PIXELS, magic=b"\x01\x00\x08\x03"), "begins with 01000803"),
    "signed_bytes": (idx(PIXELS, magic=b"\x00\x00\x09\x03"), "begins with 00000903"),
    "floats": (idx(PIXELS, magic=b"\x00\x00\x0d\x03"), "begins with 00000d03"),
    "two_dimensions": (idx(PIXELS[0]), "begins with 00000802"),
    "labels_as_images": (idx(PIXELS[0, 0]), "begins with 00000801"),
    "cut_magic": (GOOD[:3], "begins with 000008,"),
    "cut_header": (GOOD[:15], "cut inside the header"),
    "no_header": (GOOD[:4], "cut inside the header"),
    "no_data": (GOOD[:16], "60 bytes .* has only 0"),
    "cut_data": (GOOD[:-1], "60 bytes .* has only 59"),
    "extra_byte": (GOOD + b"\0", "60 bytes .* has more"),
    "twice": (GOOD + GOOD, "60 bytes .* has more"),
    "zip_without_its_ending": (ZIPPED, "begins with 1f8b0800"),
    "huge": (idx(PIXELS, shape=(2**32 - 1,) * 3), "more than"),
    "just_too_large": (idx(PIXELS, shape=(2**28 + 1, 1, 1)), "more than"),
    "large": (idx(PIXELS, shape=(2**28, 1, 1)), "has only 60"),
}
BAD_ZIPPED = {
    "nothing": (b"", "begins with nothing"),
    "not_a_gzip": (GOOD, "gzip"),
    "cut": (ZIPPED[: len(ZIPPED) // 2], "gzip"),
    "cut_checksum": (ZIPPED[:-5], "gzip"),
    "wrong_checksum": (flip(ZIPPED, -8), "gzip"),
    "wrong_length": (flip(ZIPPED, -4), "gzip"),
    "flipped_byte": (flip(ZIPPED, len(ZIPPED) // 2), "gzip"),
    "concatenated": (ZIPPED + ZIPPED, "more behind it"),
    "pieces_of_nothing": (gzip.compress(b"", mtime=0) * 300_000, "more behind it"),
    "a_bomb": (gzip.compress(idx(PIXELS, shape=(1_100_000, 1000, 1)) + bytes(2**24), mtime=0), "more than"),
    "a_bomb_that_lies": (gzip.compress(GOOD + bytes(2**26), mtime=0), "has more"),
    "more_after_it": (ZIPPED + b"junk", "gzip"),
    "large": (gzip.compress(BAD["large"][0]), "has only 60"),
    "cut_inside": (gzip.compress(GOOD[:-1]), "has only 59"),
}
CASES = [(name, *case) for name, case in BAD.items()] + [(f"{n}.gz", *case) for n, case in BAD_ZIPPED.items()]


@pytest.mark.parametrize(("name", "content", "message"), CASES, ids=[case[0] for case in CASES])
def test_refuses_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(tmp_path / name, dimensions=3)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_refuses_images_as_labels(tmp_path):
    (tmp_path / "a").write_bytes(GOOD)
    with pytest.raises(ValueError, match=r"a: begins with 00000803, .* with 00000801"):
        read_idx(tmp_path / "a", dimensions=1)


@pytest.mark.parametrize("name", ["large", "large.gz"])
def test_a_declared_size_costs_no_memory(tmp_path, name):
    (tmp_path / name).write_bytes((BAD_ZIPPED if name.endswith(".gz") else BAD)["large"][0])
    tracemalloc.start()
    with pytest.raises(ValueError, match="has only 60"):
        read_idx(tmp_path / name, dimensions=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**23


def test_any_cut_or_flip_is_noticed(tmp_path):
    """A flip in the gzip header (its time, its name) may leave the content alone; nothing may change it."""
    path = tmp_path / "a.gz"
    damaged = [ZIPPED[:n] for n in range(len(ZIPPED))]
    damaged += [flip(ZIPPED, n, 1 << bit) for n in range(len(ZIPPED)) for bit in range(8)]
    silent = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            np.testing.assert_array_equal(read_idx(path, dimensions=3), PIXELS)
            silent += 1
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
    assert silent <= 8 * 8  # the bits of flags, time, extra flags and system


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(ValueError, match="a: not a regular file"):
        read_idx(tmp_path / "a", dimensions=3)


def test_the_largest_set_stays_within_the_cap(tmp_path):
    """1 MB that unpacks to 268 MB, the most that is allowed."""
    with gzip.open(tmp_path / "a.gz", "wb", compresslevel=1) as file:
        file.write(idx(PIXELS, shape=(2**28, 1, 1))[:16])
        for _ in range(2**8):
            file.write(bytes(2**20))
    tracemalloc.start()
    assert read_idx(tmp_path / "a.gz", dimensions=3).shape == (2**28, 1, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 512 << 20


@pytest.mark.parametrize("error", [FileNotFoundError, IsADirectoryError])
def test_what_cannot_be_read_is_an_os_error(tmp_path, error):
    with pytest.raises(error):
        read_idx(tmp_path / "nowhere" if error is FileNotFoundError else tmp_path, dimensions=3)
