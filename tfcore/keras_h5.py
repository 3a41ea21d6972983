"""Weight files of Keras (legacy HDF5, `.h5`): safe reading, and InceptionV3 to and from the files that Keras loads.

In such a file the root, or the group `model_weights`, has the attribute `layer_names`; each layer is a group with the
attribute `weight_names`, which are paths of datasets inside it. Convolutions and batch norms are numbered in the order
of their creation: `conv2d`, `conv2d_1`, ... in a fresh process, from any number on in another.

A file is data from elsewhere: only members that are really inside it are read, and sizes are checked before anything
is allocated. HDF5 itself would follow links to any file of the machine, and lets 2 KB declare 80 GB.
"""

import dataclasses
import io
import math
import mmap
import os
import re
import struct

import h5py
import numpy as np
import tensorflow as tf

from tfcore import tree
from tfcore.files import durable
from tfcore.models import inception_v3

MAX_BYTES = 2**30  # of all arrays together; InceptionV3 has 95 MB
MAX_ARRAYS = 10_000
MAX_NAME = 1024  # characters
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # any other would load a plugin
MAX_COMPRESSION = 1032  # the most that gzip can do


def read_keras_h5(path, *, max_bytes=MAX_BYTES):
    """Reads the arrays of a legacy Keras weights file or whole-model file.

    Returns: {(layer name, weight name): array}, names as they are in the file, in the file's order of layers; arrays of
      float16, float32 or float64 as stored.
    Raises:
      ValueError: not such a file; damaged; a soft or external link, external storage or a virtual dataset on the way
        to an array; not floating; arrays (or names) of more than `max_bytes`, or of more than the file holds.
      OSError: the file cannot be opened.
    """
    try:
        with open(path, "rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            max_names = max_bytes // (_largest_heap(file) if file_bytes else 1)
        with h5py.File(path, "r") as file:
            datasets = _datasets(file, min(max_names, MAX_ARRAYS))
            total = sum(_check_dataset(dataset, file_bytes, max_bytes) for dataset in datasets.values())
            if total > max_bytes:
                raise ValueError(f"the arrays are {total} bytes together, more than {max_bytes}")
            return {key: np.asarray(dataset[()]) for key, dataset in datasets.items()}
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
        message = " ".join(str(error).split())  # h5py's can have several lines
        raise ValueError(f"{path}: not a Keras weights file that can be read: {message}") from None


def _largest_heap(file):
    """Returns the size of the largest global heap in an HDF5 file: no string of variable length is longer.

    A list of such strings is 16 bytes for each, and all may point to the same megabytes; HDF5 expands them unasked.
    Raises:
      ValueError: a heap is damaged; HDF5 would read some of those forever.
    """
    largest = 1
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for heap in re.finditer(rb"GCOL\x01\0{3}(.{8})", data, re.DOTALL):  # signature, version, reserved, size
            size = int.from_bytes(heap[1], "little")
            largest, end, position = max(largest, size), heap.start() + size, heap.end()
            while end - position >= 16 and end <= len(data):
                index, length = struct.unpack_from("<H6xQ", data, position)
                step = 16 + -(-length // 8) * 8 if index else length  # index 0 is what is free, header included
                if not 0 < step <= end - position:
                    raise ValueError(f"damaged heap at byte {heap.start()}")
                position += step
    return largest


def _datasets(file, max_names):
    """Returns {(layer name, weight name): dataset}; nothing is read yet but names."""
    group = file if _has_names(file, "layer_names") else _member(file, "model_weights", h5py.Group)
    datasets = {}
    for layer in _names(group, "layer_names", max_names):
        layer_group = _member(group, layer, h5py.Group)
        for weight in _names(layer_group, "weight_names", max_names):
            if (layer, weight) in datasets:
                raise ValueError(f"{layer}/{weight} is listed twice")
            datasets[layer, weight] = _member(layer_group, weight, h5py.Dataset)
            if len(datasets) > MAX_ARRAYS:
                raise ValueError(f"more than {MAX_ARRAYS} arrays")
    return datasets


def _has_names(group, attribute):
    return attribute in group.attrs or f"{attribute}0" in group.attrs


def _names(group, attribute, max_names):
    """Returns a list of names; Keras cuts one that is too large for one attribute into `name0`, `name1`, ..."""
    if not _has_names(group, attribute):
        raise ValueError(f"{group.name} has no attribute {attribute}")
    if attribute in group.attrs:
        return _strings(group, attribute, max_names)
    names, part = [], 0
    while f"{attribute}{part}" in group.attrs:
        names += _strings(group, f"{attribute}{part}", max_names)
        part += 1
    return names


def _strings(group, attribute, max_names):
    """Returns the strings of an attribute, of fixed or variable length, once it is sure that they are few and short."""
    header = group.attrs.get_id(attribute)
    string = h5py.check_string_dtype(header.dtype)
    where = f"{group.name}: attribute {attribute}"
    if header.shape == (0,):  # Keras stores an empty list as numbers
        return []
    if string is None or header.shape is None or len(header.shape) != 1:
        raise ValueError(f"{where} is not a list of strings")
    if header.shape[0] > max_names or (string.length or 0) > MAX_NAME:
        raise ValueError(f"{where} declares {header.shape[0]} strings of {string.length or 'any'} bytes, too many")
    names = [name.decode() if isinstance(name, bytes) else name for name in group.attrs[attribute]]
    if max(len(name) for name in names) > MAX_NAME:
        raise ValueError(f"{where} has a name of more than {MAX_NAME} characters")
    return names


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


def import_keras_h5(path, config):
    """Reads a Keras file of InceptionV3 into the weights and stats that `inception_v3.init(seed, config)` would make.

    The n-th convolution (batch norm) by the number in its name is the n-th that Keras creates. Files of the whole
    network, with top or without, fit every `config`; without a top, those cut at its endpoint too.

    Returns: weights, stats: float32 variables.
    Raises:
      ValueError: as `read_keras_h5`; or arrays are missing, unknown or misshapen: all of them are listed, with their
        paths here (unknown ones: as in the file).
    """
    found = _to_our_paths(read_keras_h5(path))
    weights, stats = _specs(config)
    wanted = {**tree.flatten(weights), **tree.flatten(stats)}
    if not config.top:
        found = {ours: array for ours, array in found.items() if not ours.startswith("logits/")}
    beyond = _specs(dataclasses.replace(config, endpoint="mixed10", top=False))  # what may be there, but is not wanted
    allowed = {p: spec for part in beyond for p, spec in tree.flatten(part).items() if p in found}
    problems = tree.mismatches(found, {**allowed, **wanted})
    if problems:
        raise ValueError(f"{path}: nothing loaded: {'; '.join(problems)}")
    weights = tree.map(lambda spec, array: array, weights, tree.unflatten(found))
    stats = tree.map(lambda spec, array: array, stats, tree.unflatten(found))
    return tree.variables(weights, trainable=True), tree.variables(stats)


OUR_NAMES = {
    ("conv2d", "kernel"): "conv/w",
    ("conv2d", "bias"): "conv/b",  # not in InceptionV3, named to be refused
    ("batch_normalization", "gamma"): "norm/scale",  # likewise
    ("batch_normalization", "beta"): "norm/offset",
    ("batch_normalization", "moving_mean"): "mean",
    ("batch_normalization", "moving_variance"): "variance",
    ("predictions", "kernel"): "logits/w",
    ("predictions", "bias"): "logits/b",
}


def _to_our_paths(arrays):
    """Returns {our path: float32 array} of {(layer name, weight name): array}; what has no path keeps its name."""
    units = list(inception_v3.units(inception_v3.Config()))
    layers = list(dict.fromkeys(layer for layer, _ in arrays))
    places = {"predictions": ("predictions", "")}  # layer name: (kind, the beginning of its paths)
    for kind in ("conv2d", "batch_normalization"):
        for layer, rank in _ranks(layers, kind).items():
            if rank < len(units):
                places[layer] = kind, units[rank] + "/"
    found = {}
    for (layer, weight), array in arrays.items():
        kind, prefix = places.get(layer, (None, None))
        ours = OUR_NAMES.get((kind, weight.split("/")[-1].removesuffix(":0")))
        path = f"{prefix}{ours}" if ours and prefix + ours not in found else f"{layer}/{weight}"
        found[path] = np.asarray(array, np.float32)
    return found


def _ranks(layers, kind):
    """Returns {layer name: rank} of the layers called `kind` or `kind_N`, N = 1, 2, ..., by their number.

    Where a number is left out and the others would still fit, its rank stays free: one missing layer is one message.
    """
    numbers = {}
    for layer in layers:
        match = re.fullmatch(rf"{kind}(?:_([1-9]\d{{0,8}}))?", layer)
        if match:
            numbers[layer] = int(match[1] or 0)
    ordered = sorted(numbers, key=numbers.get)
    count = len(inception_v3.units(inception_v3.Config()))
    if ordered and numbers[ordered[-1]] - numbers[ordered[0]] < count:
        return {layer: numbers[layer] - numbers[ordered[0]] for layer in ordered}
    return {layer: rank for rank, layer in enumerate(ordered)}


def _specs(config):
    """Returns weights, stats as `inception_v3.init` would, with a tf.TensorSpec for each variable."""
    weights, stats = {}, {}
    for path, (conv, channels) in inception_v3.units(config).items():
        weights[f"{path}/conv/w"] = tf.TensorSpec([*conv.kernel, channels, conv.channels])
        weights[f"{path}/norm/offset"] = tf.TensorSpec([conv.channels])
        stats[f"{path}/mean"] = stats[f"{path}/variance"] = tf.TensorSpec([conv.channels])
    if config.top:
        weights["logits/w"] = tf.TensorSpec([inception_v3.feature_shape(config)[2], config.classes])
        weights["logits/b"] = tf.TensorSpec([config.classes])
    return tree.unflatten(weights), tree.unflatten(stats)


def write_keras_h5(path, weights, stats, config):
    """Writes a file that `keras.applications.InceptionV3(weights=path)` and `model.load_weights(path)` read, durably.

    Args:
      path: ends in ".h5", not in ".weights.h5", which Keras takes for another format.
      weights, stats: as `inception_v3.init(seed, config)` returns them, not folded.
      config: up to mixed10, Keras has no shorter model.
    Raises:
      ValueError: the arguments are not as above.
    """
    if not str(path).endswith(".h5") or str(path).endswith(".weights.h5"):
        raise ValueError(f"{path}: a file for Keras ends in .h5, and not in .weights.h5")
    if config.endpoint != "mixed10":
        raise ValueError(f"{path}: Keras' InceptionV3 ends at mixed10, these weights end at {config.endpoint}")
    for values, specs in zip((weights, stats), _specs(config)):
        problems = tree.mismatches(values, specs, found_name="weights")
        if problems:
            raise ValueError(f"{path}: nothing written: {'; '.join(problems)}")
    arrays = {ours: np.asarray(leaf) for ours, leaf in {**tree.flatten(weights), **tree.flatten(stats)}.items()}
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        _write_layers(file, {layer: {w: arrays[p] for w, p in names.items()} for layer, names in _layers(config)})
    with durable(path) as file:
        file.write(image.getbuffer())


def _write_layers(file, layers):
    """Writes {layer name: {weight name: array}} in the legacy layout."""
    file.attrs["layer_names"] = np.array([layer.encode() for layer in layers])
    file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.15.0"  # so that nothing is converted
    for layer, arrays in layers.items():
        group = file.create_group(layer)
        group.attrs["weight_names"] = np.array([f"{layer}/{weight}:0".encode() for weight in arrays])
        for weight, array in arrays.items():
            group[f"{layer}/{weight}:0"] = array


def _layers(config):
    """Returns [(layer name, {weight name: our path})] in Keras' order of layers.

    Keras sorts by the distance to the output, then by branch, and loads by that order, whatever the names are.
    """
    layers, rank = [], 0
    for branches in inception_v3.blocks(config).values():
        block = []  # (distance, layer)
        for branch, steps in branches.items():
            for number, distance in enumerate(_distances(steps)):
                suffix, path = f"_{rank}" if rank else "", f"{branch}/{number}"
                norm = {"beta": "norm/offset", "moving_mean": "mean", "moving_variance": "variance"}
                norm = {weight: f"{path}/{ours}" for weight, ours in norm.items()}
                block.append((distance, (f"conv2d{suffix}", {"kernel": f"{path}/conv/w"})))
                block.append((distance - 1, (f"batch_normalization{suffix}", norm)))
                rank += 1
        layers += [layer for _, layer in sorted(block, key=lambda item: -item[0])]
    if config.top:
        layers.append(("predictions", {"kernel": "logits/w", "bias": "logits/b"}))
    return layers


def _distances(steps):
    """Returns how far each convolution of a branch is from the end of its block, counted in Keras' layers.

    A convolution is three layers (with its norm and relu), a pool one; two side by side end in a concatenation.
    """
    distances, distance = [], 0
    for step in reversed(steps):
        if step in (inception_v3.AVG_POOL, inception_v3.MAX_POOL):
            distance += 1
        else:
            distance += 3 if len(step) == 1 else 4
            distances = [distance] * len(step) + distances
    return distances
