"""InceptionV3 to and from the weight files that Keras writes and loads (legacy HDF5, `.h5`).

Convolutions and batch norms are numbered in the order of their creation: `conv2d`, `conv2d_1`, ... in a fresh process,
from any number on in another.
"""

import dataclasses
import io
import re
from pathlib import Path

import h5py
import numpy as np

from tfcore import tree
from tfcore.files import durable
from tfcore.formats.h5 import read_keras_h5
from tfcore.models import inception_v3
from tfcore.quiet import tf
from tfcore.types import Tree


def import_keras_h5(path: str | Path, config: inception_v3.Config) -> tuple[Tree, Tree]:
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


def write_keras_h5(path: str | Path, weights: Tree, stats: Tree, config: inception_v3.Config) -> None:
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
