"""show_convolutions.py: kernels made by hand on a picture, and a run's layers on one."""

import flags

import numpy as np
import pytest
import show_convolutions
from absl import flags as absl_flags
from PIL import Image

from tfcore import checkpoint, models, plots, recipes, run
from tfcore.data import load
from tfcore.layers import conv2d, max_pool
from tfcore.models import cnn, inception_v3, mixer, mlp
from tfcore.quiet import tf
from tfcore.recipes import Recipe
from tfcore.run.directory import describe

CNN = cnn.Config((28, 28, 1), ((4,), (3, 2)), hidden=(5,), classes=10)


def made_run(place, config, names="0123456789", dataset="digits"):
    """Exports a run of a network that has not learned. Returns its weights and stats."""
    module = models.module_of(config)
    recipe = Recipe("small", dataset, config, batch_size=4)
    weights, stats = module.init(3, config)
    splits = load("digits")
    splits = splits._replace(class_names=tuple(names))
    if config.image_shape != (28, 28, 1):
        empty = splits.train._replace(images=np.zeros([9, *config.image_shape], np.uint8), labels=np.zeros(9, np.int32))
        splits = splits._replace(train=empty, validation=empty, test=empty)
    facts = describe(recipes.task(recipe, splits), run.Plan(**recipes.plan(recipe)))
    facts["config"]["dataset"] = dataset
    (place / "export").mkdir(parents=True)
    checkpoint.export_weights(place / "export" / "weights.safetensors", weights, stats, metadata=facts)
    return weights, stats


@pytest.fixture
def given(monkeypatch, tmp_path):
    """What the script gave to `plots.layers`, in the current directory."""
    monkeypatch.chdir(tmp_path)
    calls = []

    def layers(image, outputs, kernels, **words):
        calls.append((image, outputs, kernels, words))
        return drawn(image, outputs, kernels, **words)

    drawn = plots.layers
    monkeypatch.setattr(plots, "layers", layers)
    return calls


def call(*arguments):
    values = flags.parser(show_convolutions.define)
    show_convolutions.main(values, values(["show_convolutions.py", *map(str, arguments)])[1:])


def test_the_layers_of_a_run_are_those_of_its_forward_pass(given, tmp_path, capsys):
    """On the first test picture of its set; each layer by hand."""
    weights, _ = made_run(tmp_path / "run", CNN)
    call("--run=run")
    ((image, outputs, kernels, words),) = given
    test = load("digits").test
    np.testing.assert_array_equal(image, test.images[0])
    x = test.images[:1].astype(np.float32) / 255
    conv1 = tf.nn.relu(max_pool(conv2d(weights["conv1"], x, padding="VALID")))
    conv2 = tf.nn.relu(conv2d(weights["conv2"], conv1, padding="VALID"))
    assert list(outputs) == ["conv1", "conv2", "conv3", "dense1", "logits"]
    np.testing.assert_allclose(outputs["conv1"], conv1[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["conv2"], conv2[0], rtol=1e-5, atol=1e-6)
    assert list(kernels) == ["conv1", "conv2", "conv3"]
    np.testing.assert_array_equal(kernels["conv2"], weights["conv2"]["w"])
    assert f"run run of small on digits, seed 0: first picture of the test part ({test.labels[0]})" == words["title"]
    assert {path.name for path in (tmp_path / "run" / "plots").iterdir()} == {"layers.png", "filters.png"}
    assert "run/plots/layers.png" in capsys.readouterr().out


def test_a_picture_that_is_named_is_shown_as_the_network_reads_it(given, tmp_path, rng):
    made_run(tmp_path / "run", cnn.Config((12, 10, 3), ((4,),), hidden=(), classes=2), "ab", "folder")
    Image.fromarray(rng.integers(0, 256, [12, 10, 3], dtype=np.uint8)).save("x.png")
    call("--run=run", "--output=y.png", "x.png")
    np.testing.assert_array_equal(given[0][0], np.asarray(Image.open("x.png")))
    assert Image.open("y.png").size[0] > 900 and not (tmp_path / "run" / "plots").exists()


INCEPTION = inception_v3.Config((75, 75, 3), classes=2, endpoint="mixed0")
FORMS = {
    "mlp": (mlp.Config((28, 28, 1), (7,), 10), ["dense1", "logits"], {"dense1": (28, 28, 1, 7)}),
    "mixer": (mixer.Config(blocks=2, channels=8, hidden=(4, 4)), ["patches", "block1", "block2", "logits"], {}),
    "blocks": (INCEPTION, ["stem", "mixed0", "logits"], {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_networks_without_plain_convolutions_are_drawn_too(form, given, tmp_path, rng):
    config, layers, shapes = FORMS[form]
    names = "0123456789"[: config.classes]
    weights, _ = made_run(tmp_path / "run", config, names, "folder")
    Image.fromarray(rng.integers(0, 256, [80, 80, 3], dtype=np.uint8)).save("x.png")
    call("--run=run", "x.png")
    _, outputs, kernels, _ = given[0]
    assert list(outputs) == layers and {name: w.shape for name, w in kernels.items()} == shapes
    if shapes:
        np.testing.assert_array_equal(kernels["dense1"].reshape(784, 7), weights["dense1"]["w"])


def test_without_the_run_s_set_one_line_says_what_to_do(given, tmp_path):
    made_run(tmp_path / "run", CNN, dataset="mnist")
    words = r"set is not at hand \(no train-images.* in nowhere/mnist: .*\): say where it is with --data_dir, or name a"
    with pytest.raises(ValueError, match=words):
        call("--run=run", "--data_dir=nowhere")
    assert not given and not (tmp_path / "run" / "plots").exists()


def test_a_run_on_features_is_refused(given, tmp_path):
    made_run(tmp_path / "run", mlp.Config((2, 2, 7), (3,), 10), dataset="digits")
    with pytest.raises(ValueError, match="reads features, not pictures"):
        call("--run=run")


@pytest.mark.parametrize(
    "arguments", [["a.png", "b.png"], ["--output=x.jpg"], ["--output=x"]], ids=["two", "another format", "no format"]
)
def test_bad_usage(arguments, given):
    with pytest.raises(absl_flags.Error, match=r"name one picture|must end in \.png"):
        call(*arguments)


def test_a_place_that_is_not_there_is_refused_first(given):
    with pytest.raises(ValueError, match=r"^output=nowhere/x\.png cannot be written: there is no folder nowhere$"):
        call("--run=run", "--output=nowhere/x.png")


def test_a_picture_that_cannot_be_read_is_named(given, tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^x\.png: 0 bytes$"):
        call("x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_edge_kernels_show_edges_and_nothing_else(tmp_path, monkeypatch):
    """Bright from the middle on: a vertical edge there, none at the frame, none for the kernel of horizontal ones."""
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros([32, 32], np.uint8)
    pixels[:, 16:] = 255
    Image.fromarray(pixels).save("x.png")
    found = []
    monkeypatch.setattr(show_convolutions, "drawn", lambda *arrays: found.append(arrays) or plots.figure(1, 1)[0])
    call("--size=32", "x.png")
    kernels, responses, pooled = found[0]
    names = list(show_convolutions.KERNELS)
    vertical, horizontal = (responses[..., names.index(f"{name} edges (Sobel)")] for name in ("vertical", "horizontal"))
    assert kernels.shape == (3, 3, 6) and responses.shape == (30, 30, 6) and pooled.shape == (15, 15, 6)
    assert np.flatnonzero(vertical[0]).tolist() == [14, 15] and (vertical == vertical[0]).all()
    assert vertical.max() == pytest.approx(4) and not horizontal.any()
    assert (tmp_path / "convolutions.png").exists()
