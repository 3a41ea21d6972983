"""Weight files of Keras: what is read, what is refused, and that Keras reads what we write."""

import os
import struct
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from tfcore import tree
from tfcore.formats.h5 import read_keras_h5
from tfcore.formats.keras_h5 import import_keras_h5, write_keras_h5
from tfcore.models import inception_v3

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own

FULL = inception_v3.Config()
NO_TOP = inception_v3.Config(top=False)
CUT = inception_v3.Config(top=False, endpoint="mixed0")  # 12 convolutions
GOOD = {"conv2d": {"conv2d/kernel:0": np.ones([3, 3, 1, 2], np.float32)}, "relu": {}}


def save(path, layers, *, group=None, names=np.array):
    """Writes {layer: {weight: array}} in the legacy layout; `names` makes the attributes."""
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        root.attrs["layer_names"] = names([layer.encode() for layer in layers])
        for layer, arrays in layers.items():
            layer_group = root.create_group(layer)
            layer_group.attrs["weight_names"] = names([weight.encode() for weight in arrays])
            for weight, array in arrays.items():
                layer_group[weight] = array
    return path


def nested(arrays):
    """Returns {layer: {weight: array}} of {(layer, weight): array}."""
    layers = {}
    for (layer, weight), array in arrays.items():
        layers.setdefault(layer, {})[weight] = array
    return layers


def published(arrays, first):
    """Names as in the published files: numbered from `first` on, weights end in ":0"."""
    layers = {}
    for layer, weights in nested(arrays).items():
        kind, _, number = layer.rpartition("_") if layer[-1].isdigit() else (layer, "", "0")
        name = layer if kind == "predictions" else f"{kind}_{int(number) + first}".removesuffix("_0")
        layers[name] = {f"{name}/{weight.split('/')[-1].removesuffix(':0')}:0": w for weight, w in weights.items()}
    return layers


def variable_strings(values):
    return np.array([value.decode() for value in values], dtype=h5py.string_dtype())


def assert_equal_trees(found, wanted):
    assert tree.mismatches(found, wanted) == []
    for path, leaf in tree.flatten(wanted).items():
        np.testing.assert_array_equal(tree.flatten(found)[path], leaf, err_msg=path)


@pytest.fixture(scope="module")
def model():
    """Keras' InceptionV3 in which every weight is random, moving statistics included."""
    keras.utils.clear_session()  # numbers begin at conv2d
    model = keras.applications.InceptionV3(weights=None, input_shape=(75, 75, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            c = layer.moving_mean.shape[0]
            layer.set_weights([rng.normal(0, 0.3, c), rng.normal(0, 0.3, c), rng.uniform(0.2, 1.0, c)])
    return model


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The whole-model file that Keras writes."""
    path = tmp_path_factory.mktemp("whole") / "model.h5"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def imported(whole):
    return import_keras_h5(whole, FULL)


@pytest.fixture(scope="module")
def cut(model, tmp_path_factory):
    """A small file: the network up to mixed0, as Keras writes it."""
    path = tmp_path_factory.mktemp("cut") / "cut.h5"
    keras.Model(model.input, model.get_layer("mixed0").output).save(path)
    return path


def test_reads_every_array_in_the_order_of_the_layers(model, whole):
    arrays = read_keras_h5(whole)
    layers = [layer for layer in model.layers if layer.weights]
    assert list(nested(arrays)) == [layer.name for layer in layers]
    for layer in layers:
        for (_, name), wanted in zip([key for key in arrays if key[0] == layer.name], layer.weights):
            assert name == wanted.path
            np.testing.assert_array_equal(arrays[layer.name, name], wanted)


def test_import_follows_the_order_of_creation(model, imported):
    """Checked by hand at both ends and where equal shapes could be confused."""
    weights, stats = imported
    for number, path in {0: "stem/0", 5: "mixed0/b1x1/0", 12: "mixed1/b1x1/0", 86: "mixed10/b3x3/0"}.items():
        suffix = f"_{number}" if number else ""
        node, moments = weights, stats
        for key in path.split("/"):
            node, moments = node[key], moments[key]
        norm = model.get_layer(f"batch_normalization{suffix}")
        np.testing.assert_array_equal(node["conv"]["w"], model.get_layer(f"conv2d{suffix}").kernel)
        np.testing.assert_array_equal(node["norm"]["offset"], norm.beta)
        np.testing.assert_array_equal(moments["mean"], norm.moving_mean)
        np.testing.assert_array_equal(moments["variance"], norm.moving_variance)
    np.testing.assert_array_equal(weights["logits"]["w"], model.get_layer("predictions").kernel)


def test_imported_trees_are_those_of_init(imported):
    wanted = inception_v3.init(0, FULL)
    for found, tree_of_init in zip(imported, wanted):
        assert tree.mismatches(found, tree_of_init) == []
        assert list(tree.flatten(found)) == list(tree.flatten(tree_of_init))
    assert all(w.trainable for w in tree.leaves(imported[0]))
    assert not any(s.trainable for s in tree.leaves(imported[1]))


@pytest.mark.parametrize(("first", "names"), [(1, np.array), (94, variable_strings)])
def test_published_numbering_gives_the_same(whole, imported, tmp_path, first, names):
    layers = published(read_keras_h5(whole), first)
    assert f"conv2d_{first + 93}" in layers and "conv2d" not in layers
    for found, wanted in zip(import_keras_h5(save(tmp_path / "p.h5", layers, names=names), FULL), imported):
        assert_equal_trees(found, wanted)


def test_files_with_and_without_top_fit_every_config_that_they_hold(whole, imported, tmp_path):
    weights, stats = import_keras_h5(whole, CUT)
    assert list(weights) == list(stats) == ["stem", "mixed0"]
    assert_equal_trees(weights, {key: imported[0][key] for key in weights})
    layers = nested(read_keras_h5(whole))
    del layers["predictions"]
    path = save(tmp_path / "notop.h5", layers)
    weights, stats = import_keras_h5(path, NO_TOP)
    assert_equal_trees(stats, imported[1])
    assert "logits" not in weights
    with pytest.raises(ValueError, match=r"notop.h5: .*logits/w: missing in the file; logits/b: missing in the file"):
        import_keras_h5(path, FULL)
    with pytest.raises(ValueError, match=r"logits/w: file has 2048x1000.*, model wants 2048x5"):
        import_keras_h5(whole, inception_v3.Config(classes=5))


def test_a_file_cut_at_the_endpoint(cut, imported):
    for found, wanted in zip(import_keras_h5(cut, CUT), imported):
        assert_equal_trees(found, {key: wanted[key] for key in found})


# the way back


def test_keras_loads_what_we_write(model, imported, tmp_path):
    path = tmp_path / "ours.h5"
    write_keras_h5(path, *imported, FULL)
    assert list(nested(read_keras_h5(path))) == [layer.name for layer in model.layers if layer.weights]
    x = np.random.default_rng(1).uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)
    wanted = model(x, training=False).numpy()
    other = keras.applications.InceptionV3(weights=str(path), input_shape=(75, 75, 3))  # numbered on: conv2d_94 ...
    np.testing.assert_array_equal(other(x, training=False), wanted)
    for variable in model.weights:
        variable.assign(variable + 1)
    model.load_weights(path, by_name=True)
    np.testing.assert_array_equal(model(x, training=False), wanted)
    for found, back in zip(import_keras_h5(path, FULL), imported):
        assert_equal_trees(found, back)


@pytest.mark.slow
def test_keras_loads_it_without_top(imported, tmp_path):
    weights, stats = {key: node for key, node in imported[0].items() if key != "logits"}, imported[1]
    write_keras_h5(tmp_path / "ours.h5", weights, stats, NO_TOP)
    model = keras.applications.InceptionV3(weights=str(tmp_path / "ours.h5"), include_top=False)
    x = np.random.default_rng(1).uniform(-1, 1, (1, 75, 75, 3)).astype(np.float32)
    wanted, _ = inception_v3.forward(NO_TOP, weights, stats, x, training=False)
    np.testing.assert_allclose(model(x, training=False), wanted, rtol=1e-4, atol=1e-5)


def test_what_keras_could_not_load_is_not_written(imported, tmp_path):
    weights, stats = imported
    with pytest.raises(ValueError, match=r"ends in \.h5"):
        write_keras_h5(tmp_path / "x.weights.h5", weights, stats, FULL)
    with pytest.raises(ValueError, match="these weights end at mixed0"):
        write_keras_h5(tmp_path / "x.h5", weights, stats, CUT)
    with pytest.raises(ValueError, match="stem/0/norm/offset: missing in the weights"):
        write_keras_h5(tmp_path / "x.h5", inception_v3.fold(weights, stats), stats, FULL)
    with pytest.raises(ValueError, match=r"logits/b: weights has 1000.*, model wants 7"):
        write_keras_h5(tmp_path / "x.h5", weights, stats, inception_v3.Config(classes=7))
    assert list(tmp_path.iterdir()) == []


# files that do not fit


def test_every_bad_path_is_listed_and_nothing_is_loaded(cut, tmp_path):
    layers = nested(read_keras_h5(cut))
    del layers["conv2d_5"], layers["batch_normalization_7"]
    layers["conv2d_2"] = {"conv2d_2/kernel": np.zeros([3, 3, 32, 63], np.float32)}
    layers["batch_normalization_3"]["batch_normalization_3/gamma"] = np.ones([80], np.float32)
    layers["dense"] = {"dense/kernel": np.zeros([2, 2], np.float32)}
    with pytest.raises(ValueError) as error:
        import_keras_h5(save(tmp_path / "bad.h5", layers), CUT)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/bad.h5: nothing loaded: ")
    assert "\n" not in message
    assert sorted(message.replace(" float32", "").split("nothing loaded: ")[1].split("; ")) == [
        "dense/dense/kernel: in the file, not in the model",
        "mixed0/b1x1/0/conv/w: missing in the file",
        "mixed0/b5x5/1/mean: missing in the file",
        "mixed0/b5x5/1/norm/offset: missing in the file",
        "mixed0/b5x5/1/variance: missing in the file",
        "stem/2/conv/w: file has 3x3x32x63, model wants 3x3x32x64",
        "stem/3/norm/scale: in the file, not in the model",
    ]


def test_a_misshapen_layer_beyond_the_endpoint_and_one_too_many(whole, cut, tmp_path):
    layers = nested(read_keras_h5(whole))
    layers["conv2d_93"] = {"conv2d_93/kernel": np.zeros([1, 1, 7, 192], np.float32)}
    with pytest.raises(ValueError, match=r"loaded: mixed10/pool/0/conv/w: file has 1x1x7x192[^;]*$"):
        import_keras_h5(save(tmp_path / "bad.h5", layers), CUT)
    layers = nested(read_keras_h5(whole))
    layers["conv2d_94"] = {"conv2d_94/kernel": np.zeros([1, 1, 7, 192], np.float32)}
    with pytest.raises(ValueError, match=r"loaded: conv2d_94/conv2d_94/kernel: in the file, not in the model$"):
        import_keras_h5(save(tmp_path / "bad.h5", layers), FULL)


def test_names_that_would_share_a_path(cut, tmp_path):
    layers = nested(read_keras_h5(cut))
    layers["conv2d_0"] = layers["conv2d_01"] = layers["conv2d_" + "9" * 500] = layers["conv2d"]
    layers["conv2d_1"]["other/kernel"] = layers["conv2d_1"]["conv2d_1/kernel"]
    with pytest.raises(ValueError) as error:
        import_keras_h5(save(tmp_path / "bad.h5", layers), CUT)
    assert str(error.value).count("in the file, not in the model") == 4


# files that are not honest


def linked(target):
    def edit(file):
        del file["conv2d/conv2d/kernel:0"]
        file["conv2d/conv2d/kernel:0"] = target

    return edit


def linked_group(target):
    def edit(file):
        del file["conv2d"]
        file["conv2d"] = target

    return edit


def dataset(shape=(3, 3, 1, 2), dtype="f4", **options):
    def edit(file):
        del file["conv2d/conv2d/kernel:0"]
        file["conv2d"].create_dataset("conv2d/kernel:0", shape, dtype, **options)

    return edit


def virtual(file):
    layout = h5py.VirtualLayout((3, 3, 1, 2), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "data", (3, 3, 1, 2))
    del file["conv2d/conv2d/kernel:0"]
    file.create_virtual_dataset("conv2d/conv2d/kernel:0", layout)


def group_for_dataset(file):
    del file["conv2d/conv2d/kernel:0"]
    file.create_group("conv2d/conv2d/kernel:0/deeper/and/deeper")


def dataset_for_group(file):
    del file["conv2d"]
    file["conv2d"] = np.ones(3, np.float32)


def attribute(group, name, value):
    def edit(file):
        del file[group].attrs[name]
        if value is not None:
            file[group].attrs[name] = value

    return edit


def shared_arrays(file):
    """One array of 40 MB under 10 names: each is honest, together they are 400 MB."""
    names = [f"w{i}" for i in range(10)]
    file["conv2d"].create_dataset("w0", data=np.ones(10_000_000, np.float32))
    for name in names[1:]:
        file["conv2d"][name] = file["conv2d/w0"]
    file["conv2d"].attrs["weight_names"] = np.array(names, "S")


MALICIOUS = {
    "soft link": (linked(h5py.SoftLink("/relu")), "link out of its group .SoftLink"),
    "external link": (linked(h5py.ExternalLink("secret.h5", "/data")), "link out of its group .ExternalLink"),
    "soft link to a group": (linked_group(h5py.SoftLink("/relu")), "link out of its group .SoftLink"),
    "external link to a group": (linked_group(h5py.ExternalLink("secret.h5", "/")), "link out of its group .External"),
    "dangling link": (linked_group(h5py.SoftLink("/nowhere")), "link out of its group"),
    "external storage": (dataset(external=[("secret.bin", 0, 72)]), "stored in other files .external"),
    "virtual dataset": (virtual, "stored in other files .virtual"),
    "80 GB": (dataset((20_000_000_000,)), "declares 80000000000 bytes, more than"),
    "80 GB compressed": (dataset((20_000_000_000,), chunks=(1000,), compression="gzip"), "declares 80000000000 bytes"),
    "an overflowing size": (dataset((2**62, 2**62), chunks=(1, 1)), "declares .* more than"),
    "200 MB in a small file": (dataset((50_000_000,)), "of which the file holds 0"),
    "200 MB compressed": (dataset((50_000_000,), chunks=(1000,), compression="gzip"), "of which the file holds 0"),
    "a chunk of 3 GB": (dataset((10,), chunks=(750_000_000,), maxshape=(None,)), "declares 3000000000 bytes"),
    "many names for one array": (shared_arrays, "400000000 bytes together"),
    "integers": (dataset(dtype="i4"), "not an array of floating-point"),
    "strings": (dataset(dtype="S8"), "not an array of floating-point"),
    "objects": (dataset(dtype=h5py.string_dtype()), "not an array of floating-point"),
    "references": (dataset(dtype=h5py.ref_dtype), "not an array of floating-point"),
    "no shape": (dataset(shape=None), "not an array of floating-point"),
    "a group for an array": (group_for_dataset, "is a Group, not a Dataset"),
    "an array for a group": (dataset_for_group, "is a Dataset, not a Group"),
    "a layer that is not there": (
        attribute("/", "layer_names", np.array([b"conv2d", b"conv3d"])),
        "/conv3d is missing",
    ),
    "a weight that is not there": (attribute("conv2d", "weight_names", np.array([b"v"])), "/conv2d/v is missing"),
    "a path upwards": (attribute("conv2d", "weight_names", np.array([b"../x"])), "/conv2d/.. is missing"),
    "a path from the root": (attribute("conv2d", "weight_names", np.array([b"/conv2d"])), "not a path"),
    "a path through an array": (
        attribute("conv2d", "weight_names", np.array([b"conv2d/kernel:0/x"])),
        "not a path of groups",
    ),
    "a name twice": (attribute("conv2d", "weight_names", np.array([b"conv2d/kernel:0"] * 2)), "listed twice"),
    "a name of 60 KB": (attribute("/", "layer_names", np.array([b"x" * 60_000])), "too many"),
    "a long name": (attribute("/", "layer_names", variable_strings([b"x" * 60_000])), "string of 60000 bytes, more"),
    "a million names": (attribute("/", "layer_names", np.array([b"x"] * 60_000)), "declares 60000 strings of 1 bytes"),
    "names that are numbers": (attribute("/", "layer_names", np.arange(3)), "not a list of strings"),
    "names that are one string": (attribute("/", "layer_names", b"conv2d"), "not a list of strings"),
    "names that are not UTF-8": (attribute("/", "layer_names", np.array([b"\xff\xfe"])), "utf-8"),
    "no layer names": (attribute("/", "layer_names", None), "/model_weights is missing"),
    "no weight names": (attribute("conv2d", "weight_names", None), "/conv2d has no attribute weight_names"),
}


@pytest.mark.parametrize("case", MALICIOUS)
def test_malicious_files_are_refused(tmp_path, case):
    edit, message = MALICIOUS[case]
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.ones([3, 3, 1, 2], np.float32)
    (tmp_path / "secret.bin").write_bytes(bytes(72))
    path = save(tmp_path / "evil.h5", GOOD)
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(ValueError, match=message) as error:
        read_keras_h5(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"evil\.h5"):
        import_keras_h5(path, CUT)


def test_links_under_model_weights_are_refused_too(tmp_path):
    path = save(tmp_path / "evil.h5", GOOD, group="inner")
    with h5py.File(path, "r+") as file:
        file["model_weights"] = h5py.SoftLink("/inner")
    with pytest.raises(ValueError, match="/model_weights is a link"):
        read_keras_h5(path)


@pytest.mark.parametrize("group", [None, "model_weights"])
@pytest.mark.parametrize("names", [np.array, variable_strings])
def test_an_honest_file_is_read(tmp_path, group, names):
    arrays = read_keras_h5(save(tmp_path / "good.h5", GOOD, group=group, names=names))
    assert list(arrays) == [("conv2d", "conv2d/kernel:0")]
    np.testing.assert_array_equal(arrays["conv2d", "conv2d/kernel:0"], np.ones([3, 3, 1, 2]))


@pytest.mark.parametrize(
    "options", [{"compression": "gzip", "shuffle": True}, {"compression": "lzf"}, {"chunks": True}]
)
def test_compressed_and_chunked_arrays_are_read(tmp_path, options):
    path, wanted = save(tmp_path / "good.h5", GOOD), np.random.default_rng(0).normal(size=(3, 3, 1, 2))
    with h5py.File(path, "r+") as file:
        dataset(dtype="f8", data=wanted, **options)(file)
    np.testing.assert_array_equal(read_keras_h5(path)["conv2d", "conv2d/kernel:0"], wanted)


def test_names_cut_into_several_attributes(tmp_path):
    layers = {f"dense_{i}": {f"dense_{i}/kernel:0": np.full([1], i, np.float32)} for i in range(5)}
    path = save(tmp_path / "good.h5", layers)
    with h5py.File(path, "r+") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:3], names[3:]
    assert list(nested(read_keras_h5(path))) == list(layers)


def test_max_bytes(tmp_path):
    path = save(tmp_path / "good.h5", GOOD)
    assert len(read_keras_h5(path, max_bytes=72)) == 1
    with pytest.raises(ValueError, match="declares 72 bytes, more than 71"):
        read_keras_h5(path, max_bytes=71)


def test_a_length_of_a_name_is_not_believed(tmp_path):
    """8 KB whose one name says that it has 3 GB: HDF5 would take 3.1 GB before it finds that they are not there."""
    path = save(tmp_path / "evil.h5", GOOD, names=variable_strings)
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    struct.pack_into("<I", data, data.index(struct.pack("<IQ", len("conv2d"), heap)), 3_000_000_000)
    path.write_bytes(data)
    code = f"""
import resource, h5py, numpy
from tfcore.formats.h5 import read_keras_h5
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = (int(status["VmSize"].split()[0]) << 10) + (512 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
read_keras_h5({str(path)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith(f"ValueError: {path}: ")
    assert "declares a string of 3000000000 bytes, more than 1024" in done.stderr


def test_what_is_no_regular_file_or_too_large_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(ValueError, match=r"pipe\.h5: .*not a regular file"):
        read_keras_h5(tmp_path / "pipe.h5")
    with open(tmp_path / "large.h5", "wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(ValueError, match=r"large\.h5: .*has 21474836480 bytes, more than"):
        read_keras_h5(tmp_path / "large.h5")


def test_names_in_the_newer_layout_and_behind_a_user_block(tmp_path):
    for options, names, fits in (
        ({"libver": "latest"}, np.array, True),
        ({"libver": "latest"}, variable_strings, False),
        ({"userblock_size": 1024}, variable_strings, True),
    ):
        with h5py.File(tmp_path / "x.h5", "w", **options) as file:
            for i in range(30):
                file.attrs[f"a{i}"] = "x" * 100  # so that the header goes on elsewhere
            file.attrs["layer_names"] = names([b"conv2d"])
            file.create_group("conv2d").attrs["weight_names"] = names([b"w"])
            file["conv2d/w"] = np.ones(3, np.float32)
        if fits:
            assert list(read_keras_h5(tmp_path / "x.h5")) == [("conv2d", "w")]
        else:
            with pytest.raises(ValueError, match="the newer layout"):
                read_keras_h5(tmp_path / "x.h5")


@pytest.mark.parametrize("entry", [(0, 0), (1, 2**64 - 16), (1, 2**40)])
def test_a_damaged_heap_of_strings_is_not_read_forever(tmp_path, entry):
    path = save(tmp_path / "evil.h5", GOOD, names=variable_strings)
    data = bytearray(path.read_bytes())
    struct.pack_into("<H6xQ", data, data.index(b"GCOL") + 16, *entry)  # (index, length) of the first string
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"evil\.h5: .*damaged heap"):
        read_keras_h5(path)


def test_files_that_are_no_hdf5(tmp_path):
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"<html>404</html>", b"\x89HDF\r\n\x1a\n" + bytes(3000)):
        (tmp_path / "x.h5").write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.h5: not a Keras weights file"):
            read_keras_h5(tmp_path / "x.h5")
    with pytest.raises(FileNotFoundError, match=r"absent\.h5"):
        read_keras_h5(tmp_path / "absent.h5")


def test_cut_and_damaged_files_are_refused_or_read(tmp_path):
    """Never another error. Bits of the numbers themselves cannot be told from good ones: sha256 is for those."""
    path, rng = save(tmp_path / "x.h5", GOOD), np.random.default_rng(3)
    good = path.read_bytes()
    for cut in rng.integers(0, len(good), 50):
        path.write_bytes(good[:cut])
        with pytest.raises(ValueError, match=r"x\.h5"):
            read_keras_h5(path)
    for position in rng.integers(0, len(good), 300):
        damaged = bytearray(good)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read_keras_h5(path)
        except ValueError as error:
            assert "x.h5" in str(error)
