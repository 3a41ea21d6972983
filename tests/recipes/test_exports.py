"""Exports give the run's own predictions, in programs that know nothing of tfcore, and a run starts from them."""

import dataclasses
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tfcore import metrics, models, recipes, tree
from tfcore.data import load, pictures
from tfcore.formats import litert, onnx
from tfcore.formats.served import probabilities as served_probabilities
from tfcore.models import cnn
from tfcore.recipes import RECIPES, exports

SMALL = dataclasses.replace(
    RECIPES["fashion_cnn"], name="small", dataset="digits", epochs=6, batch_size=32, learning_rate=3e-3,
    model=cnn.Config(blocks=((8,), (8,)), hidden=(32,), batch_norm=True), precision="bfloat16", view_shift=1,
)  # fmt: skip

PROGRAM = """
import sys
import numpy as np
import tensorflow as tf

model, place = tf.saved_model.load(sys.argv[1]), sys.argv[2]
given = np.load(place + "/given.npz")
answers = {name: model.signatures["serving_default"](pictures=given[name]) for name in ("own", "larger")}
files = [bytes(row[:length]) for row, length in zip(given["files"], given["lengths"])]
answers["encoded"] = model.signatures["encoded"](files=tf.constant(files))
plain = lambda t: np.array(t.numpy().tolist())  # strings as NumPy's own
np.savez(place + "/answers.npz", **{f"{a}_{name}": plain(t) for a, d in answers.items() for name, t in d.items()})
assert not [name for name in sys.modules if name.startswith("tfcore")]
"""


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def place(tmp_path_factory, digits):
    """A finished run of convolutions with batch norm and views, in bfloat16."""
    return recipes.train(SMALL, tmp_path_factory.mktemp("exports") / "run", splits=digits).run_dir


def own(place, images):
    recipe, weights, stats, _ = recipes.load_run(place)
    return metrics.probabilities(recipes.predictor(recipe)(weights, stats, images)).numpy()


def png(image):
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "png")
    return file.getvalue()


@pytest.mark.slow  # the page's program reads one too
def test_a_saved_model_answers_as_the_run_in_a_process_without_tfcore(place, digits, tmp_path, rng):
    path = exports.export(place, "saved_model")
    images = digits.test.images[:20]
    larger = rng.integers(0, 256, [3, 61, 40, 1]).astype(np.uint8)
    files = [png(image) for image in (*images[:4], larger[0])]
    data = np.zeros([len(files), max(map(len, files))], np.uint8)
    for row, file in zip(data, files):
        row[: len(file)] = np.frombuffer(file, np.uint8)
    np.savez(tmp_path / "given.npz", own=images, larger=larger, files=data, lengths=[len(file) for file in files])
    environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", PROGRAM, str(path), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "answers.npz")
    wanted = {
        "own": images,
        "larger": np.stack([pictures.decode(png(image), (28, 28), channels=1) for image in larger]),
        "encoded": np.stack([pictures.decode(file, (28, 28), channels=1) for file in files]),
    }
    for name, seen in wanted.items():
        shares = own(place, seen)
        np.testing.assert_allclose(answers[f"{name}_probabilities"], shares, atol=1e-5)
        named = [digits.class_names[i].encode() for i in shares.argmax(axis=1)]
        assert answers[f"{name}_class_name"].tolist() == named
        assert answers[f"{name}_class_names"][-1].tolist() == [each.encode() for each in digits.class_names]


@pytest.mark.parametrize("form", ["tflite", "tflite_int8", "onnx"])
def test_the_other_formats_choose_the_same_class(form, place, digits):
    path = exports.export(place, form, calibration=digits.train.images[:100])
    images = digits.test.images[:200]
    shares = (onnx if form == "onnx" else litert).predictor(path)(images)
    wanted = own(place, images)
    assert np.mean(shares.argmax(axis=1) == wanted.argmax(axis=1)) >= 0.995
    assert np.abs(shares - wanted).max() < (0.2 if form == "tflite_int8" else 0.05)  # the run's own are in bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_in_float32_they_are_the_same_up_to_rounding(form, digits, tmp_path):
    recipe = dataclasses.replace(SMALL, precision="float32", epochs=1)
    place = recipes.train(recipe, tmp_path / "run", splits=digits).run_dir
    shares = (onnx if form == "onnx" else litert).predictor(exports.export(place, form))(digits.test.images[:50])
    np.testing.assert_allclose(shares, own(place, digits.test.images[:50]), atol=1e-5)


NETWORKS = {
    "mixer": (RECIPES["fashion_mixer"], (28, 28, 1)),
    "InceptionV3": (RECIPES["pets_inception"], (75, 75, 3)),
}


@pytest.mark.parametrize("form", ["tflite", "onnx"])
@pytest.mark.parametrize("name", ["mixer", pytest.param("InceptionV3", marks=pytest.mark.slow)])
def test_each_kind_of_network_can_be_exported(name, form, tmp_path, rng):
    named, shape = NETWORKS[name]
    network = models.module_of(named.model)
    recipe = dataclasses.replace(named, model=network.fit(named.model, image_shape=shape, classes=3))
    weights, stats = (tree.map(np.asarray, part) for part in network.init(0, recipe.model))
    served = exports.served(recipe, weights, stats, {"class_names": "abc"}, portable=True)
    module = onnx if form == "onnx" else litert
    module.write(tmp_path / "network", served)
    images = rng.integers(0, 256, [3, *shape]).astype(np.uint8)
    wanted = served_probabilities(served, images)
    np.testing.assert_allclose(module.predictor(tmp_path / "network")(images), wanted, atol=1e-5)


def test_safetensors_are_read_by_numpy(place, tmp_path):
    path = exports.export(place, "safetensors", tmp_path / "weights.safetensors")
    _, weights, stats, _ = recipes.load_run(place)
    wanted = tree.flatten({"weights": weights, "stats": stats})
    found = load_file(path)
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_safetensors_are_read_by_pytorch(place):
    torch = pytest.importorskip("safetensors.torch")
    found = torch.load_file(place / "export" / "weights.safetensors")
    _, weights, _, _ = recipes.load_run(place)
    np.testing.assert_array_equal(found["weights/conv1/w"].numpy(), weights["conv1"]["w"])


@pytest.mark.parametrize("form", [pytest.param("saved_model", marks=pytest.mark.slow), "safetensors", "run"])
def test_a_run_starts_from_an_export(form, place, digits, tmp_path):
    path = place if form == "run" else exports.export(place, form)
    start = exports.start_from(path, SMALL, digits)
    _, weights, stats, _ = recipes.load_run(place)
    for found, wanted in zip(start, (weights, stats)):
        assert list(tree.flatten(found)) == list(tree.flatten(wanted))
        for leaf, other in zip(tree.leaves(found), tree.leaves(wanted)):
            np.testing.assert_array_equal(leaf, other)
    if form == "saved_model":
        tuned = dataclasses.replace(SMALL, epochs=1, learning_rate=1e-5)
        result = recipes.train(tuned, tmp_path / "tuned", splits=digits, init_from=path)
        assert result.test["accuracy"] > np.mean(own(place, digits.test.images).argmax(1) == digits.test.labels) - 0.05
        with pytest.raises(ValueError, match=r"init_from was .*, now None"):
            recipes.train(tuned, tmp_path / "tuned", splits=digits)


def test_weights_of_another_network_are_refused_by_name(place, digits):
    wider = dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, hidden=(64,)))
    with pytest.raises(ValueError, match=r"does not fit the network of small: dense1/w: file has 200x32, model wants"):
        exports.start_from(place, wider, digits)


def test_what_cannot_be_exported_is_said(place, tmp_path):
    with pytest.raises(ValueError, match="format=gguf is not one of safetensors, saved_model"):
        exports.export(place, "gguf")
    with pytest.raises(ValueError, match="wants training pictures"):
        exports.export(place, "tflite_int8")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ValueError, match="is not a whole SavedModel of tfcore"):
        exports.read(tmp_path)


@pytest.mark.slow
def test_the_command_line_of_tensorflow_runs_a_saved_model(place, digits, tmp_path):
    path = exports.export(place, "saved_model")
    np.save(tmp_path / "pictures.npy", digits.test.images[:3])
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", str(path)]
    command += ["--tag_set", "serve", "--signature_def", "serving_default", "--inputs"]
    command += [f"pictures={tmp_path}/pictures.npy", "--outdir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shares = np.load(tmp_path / "probabilities.npy")
    np.testing.assert_allclose(shares, own(place, digits.test.images[:3]), atol=1e-5)
