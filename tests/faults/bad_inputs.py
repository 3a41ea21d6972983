"""Bad inputs of every kind: each ends in one line that says what is wrong, and nothing else happens.

CASES: {what it is: (directory) -> None, which must raise}. `campaign` tries all of them.
"""

import functools
import gzip
import io
import json
import os
import pickle
import stat
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from safetensors.numpy import save as to_safetensors

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # where it does not run under pytest

import flags

import evaluate
import predict
import train_cnn
import train_mlp
import train_transfer
from absl import flags as absl_flags

from tests.data import hostile
from tests.faults import readers
from tfcore import checkpoint, optimizers
from tfcore.data import augment, load
from tfcore.data.folders import load_folder
from tfcore.data.idx import read_idx
from tfcore.formats.h5 import read_keras_h5
from tfcore.models import cnn, inception_v3, mixer, mlp
from tfcore.recipes import Recipe, from_dict, load_run

CASES = {}
ENDS = (ValueError, OSError, FloatingPointError, absl_flags.Error)  # what a script turns into its last line


def case(name):
    """Adds the decorated function of a directory to CASES."""

    def add(function):
        assert name not in CASES, name
        CASES[name] = function
        return function

    return add


def script(module, *arguments):
    """Runs a script's main as `flags.start` does, but for the end of the process."""
    values = flags.parser(module.define)
    module.main(values, values([module.__name__, *map(str, arguments)])[1:])


def line_of(function, directory):
    """Returns the line in which a case ends; AssertionError where it is none, or the case goes well."""
    try:
        function(directory)
    except ENDS as error:
        line = str(error).strip()
        assert line and "\n" not in line and len(line) < 3000 and line.isprintable(), repr(line[:3000])
        return line
    raise AssertionError("nothing was refused")


def campaign():
    """Returns how many were tried, how many ended as they should, and what the others did."""
    lost = []
    for name, function in CASES.items():
        with tempfile.TemporaryDirectory() as directory:
            try:
                line_of(function, Path(directory))
            except Exception as error:
                lost.append(f"{name}: {type(error).__name__}: {error}")
    return len(CASES), len(CASES) - len(lost), lost


# IDX and gzip

IDX = readers.idx()
GZIP = gzip.compress(IDX, mtime=0)


def shaped(*shape, magic=b"\0\0\x08"):
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


FILES = {
    "nothing": b"",
    "text": b"moved to another place\n",
    "HTML": b"<!DOCTYPE html>",
    "three bytes": IDX[:3],
    "half a header": IDX[:11],
    "no pixels": IDX[:16],
    "one pixel less": IDX[:-1],
    "one pixel more": IDX + b"\0",
    "signed bytes": b"\0\0\x09" + IDX[3:],
    "doubles": b"\0\0\x0e" + IDX[3:],
    "labels": shaped(60) + bytes(60),
    "four dimensions": shaped(1, 1, 1, 60) + bytes(60),
    "2^96 pixels": shaped(*[2**32 - 1] * 3),
    "1.1 GB": shaped(1_100_000, 1000, 1),
    "another order of bytes": shaped(5, 4, 3)[:4] + struct.pack("<3I", 5, 4, 3),
    "a zip": b"PK\3\4" + bytes(100),
    "a pickle": pickle.dumps({"a": 1}),
    "zeros": bytes(500),
}
PACKED = {
    "nothing": b"",
    "no gzip": IDX,
    "half": GZIP[: len(GZIP) // 2],
    "no checksum": GZIP[:-8],
    "another checksum": GZIP[:-8] + bytes(8),
    "another byte": GZIP[:40] + b"\xff\xff" + GZIP[42:],
    "two": GZIP + GZIP,
    "junk behind it": GZIP + b"junk",
    "header alone": GZIP[:10],
    "1.1 GB": gzip.compress(shaped(1_100_000, 1000, 1) + bytes(2**22)),
    "text": gzip.compress(b"text"),
    "zeros without end": gzip.compress(IDX + bytes(2**24)),
    "empty pieces": gzip.compress(b"") * 1000,
}


def read_bytes(directory, data, name):
    (directory / name).write_bytes(data)
    read_idx(directory / name, dimensions=3)


for what, data in FILES.items():
    CASES[f"IDX: {what}"] = functools.partial(read_bytes, data=data, name="images")
for what, data in PACKED.items():
    CASES[f"gzip: {what}"] = functools.partial(read_bytes, data=data, name="images.gz")

CASES["IDX: a directory"] = lambda directory: read_idx(directory, dimensions=3)
CASES["IDX: absent"] = lambda directory: read_idx(directory / "absent", dimensions=3)


@case("IDX: a pipe")
def _(directory):
    os.mkfifo(directory / "images")
    read_idx(directory / "images", dimensions=3)


def load_set(directory, change):
    """Loads a small MNIST of which `change` replaces arrays by name."""
    arrays = {}
    for part, n in (("train", 60), ("t10k", 20)):
        arrays[f"{part}-images-idx3-ubyte"] = np.zeros((n, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(n) % 10).astype(np.uint8)
    for name, array in change(arrays).items():
        (directory / name).write_bytes(shaped(*array.shape) + array.tobytes())
    load("mnist", directory)


LABELS, IMAGES = "train-labels-idx1-ubyte", "train-images-idx3-ubyte"
SETS = {
    "a label too few": lambda a: a | {LABELS: a[LABELS][:-1]},
    "label 10": lambda a: a | {LABELS: a[LABELS] + 1},
    "images of 27 x 28": lambda a: a | {IMAGES: a[IMAGES][:, 1:]},
    "no images": lambda a: {name: array[:0] for name, array in a.items()},
    "five images": lambda a: {name: array[:5] for name, array in a.items()},
    "labels for images": lambda a: a | {IMAGES: a[LABELS]},
    "a file missing": lambda a: {name: array for name, array in a.items() if name != LABELS},
}
for what, change in SETS.items():
    CASES[f"set: {what}"] = functools.partial(load_set, change=change)


# Zips and folders of pictures


def png(value=0):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


CONTENT = {f"{c}/{i}.png": png(i) for c in ("Cat", "Dog") for i in range(3)}


def load_pictures(path, **options):
    load_folder(path, image_size=(4, 4), cache_dir=path.parent / "cache", progress=False, **options)


def zipped(directory, files, edit=None, **options):
    path = directory / "set.zip"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    if edit:
        path.write_bytes(edit(path.read_bytes()))
    load_pictures(path)


def folder(directory, files):
    for name, data in files.items():
        (directory / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / "f" / name).write_bytes(data)
    load_pictures(directory / "f")


def central(data, at, form, value):
    """Overwrites a field of each entry of the central directory."""
    data, start = bytearray(data), 0
    while (start := data.find(b"PK\1\2", start)) >= 0:
        struct.pack_into(form, data, start + at, value)
        start += 4
    return bytes(data)


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


ZIPS = {
    "text": (CONTENT, lambda d: b"text"),
    "nothing": (CONTENT, lambda d: b""),
    "half": (CONTENT, lambda d: d[: len(d) // 2]),
    "no end": (CONTENT, lambda d: d[:-22]),
    "encrypted": (CONTENT, lambda d: central(d, 8, "<H", 1)),
    "method 99": (CONTENT, lambda d: central(d, 10, "<H", 99)),
    "sizes of a bomb": (CONTENT, lambda d: central(d, 24, "<I", 1 << 30)),
    "overlap": (CONTENT, lambda d: central(d, 20, "<I", len(d) - 50)),
    "offsets": (CONTENT, lambda d: central(d, 42, "<I", 7)),
    "checksums": (CONTENT, lambda d: central(d, 16, "<I", 7)),
    "one class": ({"Cat/1.png": png()}, None),
    "no pictures": ({"Cat/1.txt": b"", "Dog/1.txt": b""}, None),
    "pictures outside": ({"1.png": b"", "2.png": b""}, None),
    "several sets": ({"a/Cat/1.png": b"", "b/Cat/1.png": b""}, None),
    "a link": (CONTENT | {link("Cat/9.png"): "/etc/passwd"}, None),
    "a name twice": (CONTENT | {"Cat/./1.png": b"", "Cat//1.png": b""}, None),
    "no pixels": (dict.fromkeys(CONTENT, b""), None),
    "../x": (CONTENT | {"../x.png": b""}, None),
    "/x": (CONTENT | {"/x.png": b""}, None),
    "C:\\x": (CONTENT | {"C:\\x.png": b""}, None),
    "a line in a name": (CONTENT | {"Cat/a\n\x1b[31m.png": b"", "../b\n.png": b""}, None),
}
FOLDERS = {
    "empty": {".hidden": b""},
    "one class": {"Cat/1.png": png()},
    "pictures outside": {"1.png": png()},
    "no pictures": {"Cat/1.txt": b"", "Dog/1.txt": b""},
    "several sets": {"a/x/Cat/1.png": b"", "b/x/Cat/1.png": b""},
    "text for pictures": dict.fromkeys(CONTENT, b"text"),
    "empty pictures": dict.fromkeys(CONTENT, b""),
    "half of each": {name: data[: len(data) // 2] for name, data in CONTENT.items()},
    "one class unusable": CONTENT | {f"Dog/{i}.png": b"x" for i in range(3)},
    "one picture too many": CONTENT | {"Dog/1.png": b"x"},
    "a line in a name": CONTENT | {"Cat/a\n.png": b""},
}
for what, (files, edit) in ZIPS.items():
    CASES[f"zip: {what}"] = functools.partial(zipped, files=files, edit=edit)
for what, files in FOLDERS.items():
    CASES[f"folder: {what}"] = functools.partial(folder, files=files)
CASES["folder: absent"] = lambda directory: load_pictures(directory / "absent")
CASES["folder: packed by LZMA"] = lambda directory: zipped(directory, CONTENT, compression=zipfile.ZIP_LZMA)


@case("folder: a pipe")
def _(directory):
    os.mkfifo(directory / "f.zip")
    load_pictures(directory / "f.zip")


# One picture, by predict.py


def made_run(directory):
    """A run of the MNIST perceptron, as far as it is read."""
    weights, stats = mlp.init(0, mlp.Config())
    path = directory / "run" / "export" / "weights.safetensors"
    path.parent.mkdir(parents=True)
    config = json.loads(readers.configs()[0]) | {"class_names": list("0123456789")}
    checkpoint.export_weights(path, weights, stats, metadata=config)
    return directory / "run"


def predicted(directory, data):
    (directory / "picture.png").write_bytes(data() if callable(data) else data)
    script(predict, f"--run={made_run(directory)}", directory / "picture.png")


jpeg, *_ = readers.images()
PICTURES = {
    "nothing": b"",
    "text": b"text",
    "HTML": b"<html>",
    "a GIF of nothing": b"GIF89a",
    "half a JPEG": jpeg[: len(jpeg) // 2],
    "half a PNG": png()[:40],
    "a header": png()[:33],
    "another checksum": png()[:30] + b"\xff" + png()[31:],
    "a TIFF": b"II*\0" + bytes(100),
    "a WebP": b"RIFF\x24\0\0\0WEBPVP8 " + bytes(30),
    "SVG": b"<svg width='9'/>",
    "60000 x 60000": lambda: png()[:16] + struct.pack(">II", 60000, 60000) + png()[24:],
    "PDF": b"%PDF-1.7\n",
} | {name: hostile.PICTURES[name][0] for name in ("3,000 scans", "8192 x 8192 by run length", "1 x 67,108,864")}
for what, data in PICTURES.items():
    CASES[f"picture: {what}"] = functools.partial(predicted, data=data)


@case("picture: a pipe")
def _(directory):
    os.mkfifo(directory / "fifo.png")
    script(predict, f"--run={made_run(directory)}", directory / "fifo.png")


@case("picture: 20 GB")
def _(directory):
    with open(directory / "large.png", "wb") as file:
        file.truncate(20 << 30)
    script(predict, f"--run={made_run(directory)}", directory / "large.png")


CASES["picture: absent"] = lambda d: script(predict, f"--run={made_run(d)}", d / "absent.png")
CASES["picture: a device"] = lambda d: script(predict, f"--run={made_run(d)}", "/dev/zero")
CASES["picture: none named"] = lambda d: script(predict, f"--run={made_run(d)}")


# HDF5, npz, safetensors

H5 = readers.h5s()


def _reference(length, claimed=None):
    """Returns how the first string of variable length, of `length` bytes, is referred to."""
    return struct.pack("<IQ", claimed or length, H5[1].index(b"GCOL"))


def h5(directory, edit=None, data=H5[0]):
    path = directory / "weights.h5"
    path.write_bytes(data)
    if edit:
        with h5py.File(path, "r+") as file:
            edit(file)
    read_keras_h5(path)


def replaced(value):
    def edit(file):
        del file["conv2d/conv2d"]
        file["conv2d/conv2d/kernel:0"] = value

    return edit


def declared(shape, dtype="f4", **options):
    def edit(file):
        del file["conv2d/b"]
        file["conv2d"].create_dataset("b", shape, dtype, **options)

    return edit


def named(value):
    def edit(file):
        file.attrs["layer_names"] = value

    return edit


H5S = {
    "a soft link": replaced(h5py.SoftLink("/relu")),
    "an external link": replaced(h5py.ExternalLink("/etc/passwd", "/")),
    "80 GB": declared((20_000_000_000,)),
    "a chunk of 3 GB": declared((10,), chunks=(750_000_000,), maxshape=(None,)),
    "integers": declared((3,), "i4"),
    "strings": declared((3,), h5py.string_dtype()),
    "no shape": declared(None),
    "external storage": declared((3,), external=[("/etc/passwd", 0, 12)]),
    "100 MB of nothing": declared((25_000_000,)),
    "a layer that is not there": named(np.array([b"absent"])),
    "numbers for names": named(np.arange(3)),
    "one name": named("conv2d"),
    "a long name": named(np.array([b"x" * 5000])),
    "a path up": named(np.array([b"../x"])),
    "bytes that are no text": named(np.array([b"\xff\xfe"])),
    "60,000 names": named(np.array([b"x"] * 60_000)),
    "no names": lambda file: file.attrs.__delitem__("layer_names"),
    "a name twice": named(np.array([b"conv2d"] * 2)),
}
for what, edit in H5S.items():
    CASES[f"h5: {what}"] = functools.partial(h5, edit=edit)
for what, data in {
    "nothing": b"",
    "text": b"text",
    "half": H5[0][: len(H5[0]) // 2],
    "a signature": H5[0][:8],
    "zeros": bytes(9000),
    "a string of 3 GB": H5[1].replace(_reference(6), _reference(6, 3_000_000_000)),
}.items():
    CASES[f"h5: {what}"] = functools.partial(h5, data=data)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/tfcore-a-pickle-was-read",)


def npz(directory, suffix, **arrays):
    """Gives train_transfer a NumPy archive as weights; a pickle in it must not be read."""
    with open(directory / f"weights{suffix}", "wb") as file:
        np.savez(file, **arrays)
    arguments = ("--recipe=pets_inception", "--dataset=cats_vs_dogs", f"--weights={directory}/weights{suffix}")
    try:
        script(train_transfer, *arguments, f"--logdir={directory}/run")
    finally:
        assert not Path("/tmp/tfcore-a-pickle-was-read").exists()


CASES["npz: as weights"] = functools.partial(npz, suffix=".npz", w=np.ones(3))
CASES["npz: with a pickle"] = functools.partial(npz, suffix=".npz", w=np.array([Evil()], object))
CASES["npz: called .h5"] = functools.partial(npz, suffix=".h5", w=np.ones(3))
CASES["npz: called .safetensors"] = functools.partial(npz, suffix=".safetensors", w=np.array([Evil()], object))

WHOLE = readers.safetensors()[0]


def imported(directory, data):
    (directory / "weights.safetensors").write_bytes(data)
    checkpoint.import_weights(directory / "weights.safetensors")


def crafted(*names, header=None, meta=None):
    tensors = {name: np.zeros(2, np.float32) for name in names}
    made = {"meta": meta or {}, "names": list(names), "digest": checkpoint._digest(tensors, {})}
    return to_safetensors(tensors, metadata={"tfcore": header or json.dumps(made)})


SAFETENSORS = {
    "nothing": b"",
    "text": b"text",
    "a pickle": pickle.dumps({"a": 1}),
    "FF": b"\xff" * 99,
    "half": WHOLE[: len(WHOLE) // 2],
    "a byte less": WHOLE[:-1],
    "a byte more": WHOLE + b"\0",
    "another byte": WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]),
    "a and a/b": crafted("weights/a", "weights/a/b"),
    "an empty part": crafted("weights//a"),
    "no weights": crafted("stats/a"),
    "a header of 100,000 brackets": crafted("weights/a", header="[" * 100_000),
    "a header that is a list": crafted("weights/a", header="[]"),
    "meta 100,000 deep": crafted(
        "weights/a", header='{"names": ["weights/a"], "digest": "", "meta": ' + '{"a":' * 100_000 + "1" + "}" * 100_001
    ),
    "meta 900 deep": crafted(
        "weights/a", header='{"names": ["weights/a"], "digest": "", "meta": ' + '{"a":' * 900 + "1" + "}" * 901
    ),
    "no header of ours": to_safetensors({"weights/a": np.zeros(2)}),
    "a path of 5,000 parts": crafted("weights/" + "a/" * 5000 + "a"),
    "a length of 2^63": struct.pack("<Q", 2**63) + b"{}",
    "a length of 99 MB": struct.pack("<Q", 99_000_000) + b"{" + b" " * 99,
}
for what, data in SAFETENSORS.items():
    CASES[f"safetensors: {what}"] = functools.partial(imported, data=data)
CASES["safetensors: a directory"] = checkpoint.import_weights


@case("safetensors: a pipe")
def _(directory):
    os.mkfifo(directory / "weights.safetensors")
    checkpoint.import_weights(directory / "weights.safetensors")


# Run directories


def run_with(directory, files):
    for name, data in files.items():
        (directory / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / "run" / name).write_bytes(data)
    load_run(directory / "run")


EXPORT, CONFIG = "export/weights.safetensors", "config.json"
RUNS = {
    "nothing": {"notes.txt": b""},
    "no weights": {CONFIG: readers.configs()[0]},
    "an empty export": {EXPORT: b""},
    "half an export": {EXPORT: WHOLE[:99]},
    "an export of no run": {EXPORT: WHOLE},
    "a checkpoint without config": {"checkpoints/ckpt-000000001.safetensors": WHOLE},
    "broken checkpoints": {
        CONFIG: readers.configs()[0],
        "checkpoints/ckpt-000000001.safetensors": b"x",
        "checkpoints/ckpt-000000002.safetensors": b"",
    },
}
RUNS |= {
    f"config.json {data!r}": {CONFIG: data, "checkpoints/ckpt-000000001.safetensors": WHOLE}
    for data in (
        b"",
        b"{}",
        b"[]",
        b"3",
        b"null",
        b"{",
        b"\xff",
        b'{"config": {}, "run": {}, "class_names": []}',
        b"[" * 100,
    )
}
for what, files in RUNS.items():
    CASES[f"run: {what}"] = functools.partial(run_with, files=files)
CASES["run: absent, to evaluate"] = lambda d: script(evaluate, f"--run={d}/absent")
CASES["run: absent, to predict"] = lambda d: script(predict, f"--run={d}/absent", d / "a.png")
CASES["run: a file"] = lambda d: [(d / "file").write_bytes(b""), script(evaluate, f"--run={d}/file")]
CASES["run: --logdir is a file"] = lambda d: [(d / "file").write_bytes(b""), train(d, f"--logdir={d}/file")]
CASES["run: --logdir below a file"] = lambda d: [(d / "file").write_bytes(b""), train(d, f"--logdir={d}/file/run")]
CASES["run: --logdir in /proc"] = lambda d: train(d, "--logdir=/proc/run")


# Flags


def train(directory, *arguments, module=train_mlp):
    given = any(argument.startswith("--logdir") for argument in arguments)
    script(module, "--dataset=digits", *([] if given else [f"--logdir={directory}/run"]), *arguments)


FLAGS = (
    "--epochs=many",
    "--epochs=0",
    "--epochs=-1",
    "--epochs=1e999",
    "--batch_size=0",
    "--batch_size=99999",
    "--batch_size=1.5",
    "--learning_rate=0",
    "--learning_rate=-1",
    "--learning_rate=nan",
    "--learning_rate=inf",
    "--hidden=0",
    "--hidden=a",
    "--hidden=-3",
    "--dropout=1",
    "--dropout=-0.1",
    "--dropout=nan",
    "--init=no",
    "--optimizer=no",
    "--dataset=no",
    "--recipe=no",
    "--colour=red",
    "--loss=no",
    "--schedule=no",
    "--warmup_epochs=-1",
    "--weight_decay=-1",
    "--clip_norm=-1",
    "--ema_decay=1",
    "--label_smoothing=2",
    "--patience=-1",
    "--precision=float64",
    "--steps_per_epoch=-1",
    "--steps_per_loop=0",
    "--validation=-1",
    "--train_examples=-1",
    "--image_size=0x0",
    "--image_size=9",
    "--image_size=axb",
    "--max_bad_fraction=2",
    "--max_bad_fraction=nan",
    "--report=no",
    "--seed=x",
    "--view_shift=-1",
    "--shift=2",
    "--zoom=1",
    "--rotation=nan",
    "--fill=no",
    "--jit=maybe",
    "--contrast=-1",
)
for argument in FLAGS:
    CASES[f"flag: {argument}"] = lambda directory, argument=argument: train(directory, argument)
for argument in ("--filters=1,2,3", "--filters=0", "--filters=x"):
    CASES[f"flag: {argument}"] = lambda directory, argument=argument: train(directory, argument, module=train_cnn)
for argument in ("--endpoint=no", "--augment_copies=-1", "--pixels=no", "--weights=absent.h5", "--fine_tune_epochs=0"):
    CASES[f"flag: {argument}"] = lambda directory, argument=argument: train(directory, argument, module=train_transfer)


# Configurations

CONFIGURATIONS = {
    "mlp: no width": lambda: mlp.Config(hidden=(0,)),
    "mlp: a list": lambda: mlp.Config(hidden=[3]),
    "mlp: no classes": lambda: mlp.Config(classes=0),
    "mlp: two sides": lambda: mlp.Config(image_shape=(28, 28)),
    "mlp: dropout 1": lambda: mlp.Config(dropout=1.0),
    "cnn: no channels": lambda: cnn.Config(blocks=((0,),)),
    "cnn: too many pools": lambda: cnn.Config(image_shape=(8, 8, 1), blocks=((4,),) * 9),
    "mixer: no blocks": lambda: mixer.Config(blocks=-1),
    "inception: 10 x 10": lambda: inception_v3.Config(image_shape=(10, 10, 3)),
    "inception: mixed11": lambda: inception_v3.Config(endpoint="mixed11"),
    "adam: rate -1": lambda: optimizers.adam(-1.0),
    "clipped: NaN": lambda: optimizers.clipped(optimizers.sgd(0.1), float("nan")),
    "augment: shift NaN": lambda: augment.Augment(shift=float("nan")),
    "recipe: nothing": lambda: from_dict({}),
    "recipe: a list": lambda: from_dict([]),
    "recipe: more": lambda: from_dict({"more": 1}),
    "recipe: text for a number": lambda: Recipe("x", "digits", mlp.Config(), epochs="3"),
}
for what, make in CONFIGURATIONS.items():
    CASES[f"configuration: {what}"] = lambda directory, make=make: make()
