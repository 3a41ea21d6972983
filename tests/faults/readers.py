"""All readers of bytes, each with valid files to begin from: any bytes give data, or an error of one line.

The tests draw bytes by Hypothesis, `fuzz_readers.py` by atheris; both judge them with `judge`.
"""

import functools
import gzip
import io
import json
import random
import struct
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from PIL import Image

from tfcore import checkpoint
from tfcore.data import listing, pictures
from tfcore.data.idx import read_idx
from tfcore.formats.h5 import read_keras_h5
from tfcore.recipes import RECIPES, from_dict
from tfcore.recipes.recipe import plan, settings_of
from tfcore.run import load_run

SECONDS = 10.0  # that a file may take
LINE = 2000  # characters of an error


class Reader(NamedTuple):
    """read: path -> anything; name: of the file; seeds: () -> valid contents."""

    read: object
    name: str
    seeds: object


def judge(reader, data, directory):
    """Reads `data` as a file in `directory`; returns the error's line, or "" where there is none.

    Raises whatever is neither ValueError nor OSError, and AssertionError where the error is not one line or late.
    """
    path = Path(directory) / reader.name
    path.write_bytes(data)
    began, said = time.process_time(), ""
    try:
        reader.read(path)
    except (ValueError, OSError) as error:
        said = str(error)
        assert said and "\n" not in said and len(said) < LINE, repr(said[:LINE])
    seconds = time.process_time() - began
    assert seconds < SECONDS, f"{seconds:.1f} s"
    return said


def mutated(seed, generator):
    """Returns the bytes of a valid file with one to six things changed, drawn from `generator`, a random.Random."""
    data = bytearray(seed)
    for _ in range(generator.randint(1, 6)):
        at, length = generator.randint(0, len(data)), generator.choice((1, 1, 2, 4, 8, 30))
        new = generator.choice((
            generator.randbytes(length), b"\0" * length, b"\xff" * length, b"\x7f" + b"\xff" * (length - 1),
            bytes(data[at : at + length]) * 2, struct.pack("<I", generator.choice((1, 255, 65535, 2**31, 2**32 - 1))),
            b"9" * length, b"[", b"{", b'"', b"null", b"-1", b"1e999", b"NaN",
        ))  # fmt: skip
        how = generator.randrange(8)
        if how < 4:
            data[at : at + len(new)] = new
        elif how == 4:
            data[at:at] = new
        elif how == 5:
            del data[at : at + length]
        elif how == 6:
            del data[at:]
        elif data:
            data[at % len(data)] ^= 1 << generator.randrange(8)
    return bytes(data)


# Valid files


def idx():
    return struct.pack(">4B3I", 0, 0, 8, 3, 5, 4, 3) + bytes(range(60))


def images():
    """One of each format and of the modes that have branches of their own."""
    y, x = np.mgrid[0:24, 0:32]
    colours = Image.fromarray(np.stack([8 * x, 10 * y, 5 * (x + y)], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        ("JPEG", colours, {"exif": exif}), ("JPEG", colours, {"progressive": True}), ("JPEG", colours.convert("L"), {}),
        ("JPEG", colours.convert("CMYK"), {}), ("PNG", colours, {}), ("PNG", colours.convert("RGBA"), {"exif": exif}),
        ("PNG", colours.quantize(16), {"transparency": 0}), ("PNG", Image.fromarray(np.uint16(x * 999)), {}),
        ("GIF", colours.quantize(16), {"comment": "x"}), ("BMP", colours, {}), ("BMP", colours.quantize(16), {}),
        ("GIF", colours.quantize(4), {"save_all": True, "append_images": [colours.quantize(8)]}),
        ("MPO", colours, {"save_all": True, "append_images": [colours]}),
    ]  # fmt: skip
    return [_encoded(image, kind, **options) for kind, image, options in kinds] + [_rle_bmp()]


def _encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _rle_bmp():
    header = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, 16, 1, 1, 256, 0)
    body = b"\x08\1\0\0" + b"\0\x03abc\0\5\2\0\0" + b"\0\2\3\1\5\1" + b"\0\1"
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + header + bytes(range(256)) * 4 + body


def zips():
    found = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name in ("Cat/1.png", "Cat/2.png", "Dog/1.png", "notes.txt"):
                archive.writestr(name, b"some bytes " * 9)
        found.append(file.getvalue())
    return found


def h5s():
    found = []
    for names in (np.array, lambda values: np.array([v.decode() for v in values], dtype=h5py.string_dtype())):
        file = io.BytesIO()
        with h5py.File(file, "w") as root:
            root.attrs["layer_names"] = names([b"conv2d", b"relu"])
            root.create_group("relu").attrs["weight_names"] = np.array([])
            root.create_group("conv2d").attrs["weight_names"] = names([b"conv2d/kernel:0", b"b"])
            root["conv2d/conv2d/kernel:0"] = np.ones([2, 2, 1, 2], np.float32)
            root["conv2d"].create_dataset("b", data=np.ones(20), chunks=(10,), compression="gzip")
        found.append(file.getvalue())
    return found


def safetensors():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "weights.safetensors"
        weights = {"dense": {"w": np.ones([3, 2], np.float32), "b": np.zeros(2, np.float32)}}
        checkpoint.export_weights(path, weights, {"norm": {"mean": np.float32(1)}}, metadata={"epoch": 3})
        return [path.read_bytes()]


def configs():
    """config.json of two recipes."""
    recipes = [RECIPES[name] for name in ("mnist_perceptron", "fashion_cnn")]
    about = {"format": 1, "dataset": "digits", "class_names": ["0", "1"], "content": "x", "pictures": {}, "note": ""}
    made = [{**about, "name": r.name, "config": settings_of(r), "run": plan(r)} for r in recipes]
    return [json.dumps(config, indent=2).encode() for config in made]


def metrics():
    row = {"epoch": 1, "step": 20, "train": {"loss": 0.5}, "validation": {"loss": 0.25, "accuracy": 0.5}}
    return ["".join(json.dumps({**row, "epoch": epoch}) + "\n" for epoch in (1, 2, 3)).encode()]


def results():
    values = {"format": 1, "epochs": 3, "ended": "epochs", "patience": 0, "reported_epoch": 3, "seconds": 1.5,
              "train": {"loss": 1.0}, "validation": {"loss": 1.0}, "test": {"loss": 1.0, "accuracy": 0.5}}  # fmt: skip
    return [json.dumps(values, indent=2).encode()]


# How they are read


def read_zip(path):
    for entry in listing.scan(path)[0]:
        try:
            listing.read(entry)
        except ValueError as error:
            assert "\n" not in str(error)


def read_picture(path):
    data = listing.read_file(path)
    for size, resize, channels in (((6, 8), "stretch", 3), ((40, 30), "pad", 1)):
        pictures.decode(data, size, resize=resize, channels=channels)


def read_config(path):
    """Reads a run whose weights are whole and whose config.json may be anything."""
    weights = path.parent / "checkpoints" / "ckpt-000000001.safetensors"
    if not weights.exists():
        weights.parent.mkdir()
        checkpoint.write(weights, {"weights/w": np.ones(2, np.float32)}, {})
    config, _, _ = load_run(path.parent)
    from_dict({**config["config"], **config["run"]})


def read_metrics(path):
    from tfcore.run import records

    records.rows(path)


def read_result(path):
    from tfcore.run import records, result

    records.read_json(path, result.RESULT)


READERS = {
    "idx": Reader(functools.partial(read_idx, dimensions=3), "images", lambda: [idx()]),
    "idx_gz": Reader(functools.partial(read_idx, dimensions=3), "images.gz", lambda: [gzip.compress(idx(), mtime=0)]),
    "zip": Reader(read_zip, "set.zip", zips),
    "picture": Reader(read_picture, "picture.jpg", images),
    "h5": Reader(read_keras_h5, "weights.h5", h5s),
    "safetensors": Reader(checkpoint.import_weights, "weights.safetensors", safetensors),
    "config": Reader(read_config, "config.json", configs),
    "metrics": Reader(read_metrics, "metrics.jsonl", metrics),
    "result": Reader(read_result, "result.json", results),
}


@functools.cache
def seeds(name):
    return READERS[name].seeds()


def campaign(tries=1000, seed=0, names=tuple(READERS)):
    """Mutates valid files. Returns how many were read, how many of these as promised, and what the others gave."""
    generator, made, lost = random.Random(seed), 0, []
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            for _ in range(tries):
                made += 1
                data = mutated(generator.choice(seeds(name)), generator)
                try:
                    judge(READERS[name], data, directory)
                except Exception as error:
                    lost.append(f"{name}: {type(error).__name__}: {error}")
    return made, made - len(lost), lost
