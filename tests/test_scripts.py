"""The scripts as a person runs them: what they print, what they leave, how they end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfcore import checkpoint, tree
from tfcore.data import load
from tfcore.models import inception_v3

ROOT = Path(__file__).parent.parent


def command(name, *arguments):
    return [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)]


def environment(**changes):
    return {**os.environ, "PYTHONUNBUFFERED": "1", **changes}


def call(directory, name, *arguments):
    return subprocess.run(command(name, *arguments), cwd=directory, capture_output=True, text=True, env=environment())


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A finished run on digits, and what it printed."""
    directory = tmp_path_factory.mktemp("digits")
    done = call(directory, "train_mlp.py", "--dataset=digits", "--epochs=4", "--learning_rate=0.003")
    assert done.returncode == 0, done.stderr
    return directory, done


def test_training_prints_the_table_the_epochs_and_where_the_run_is(digits_run):
    _, done = digits_run
    assert done.stderr == ""
    assert "dense1/w   784x256  200,704    802,816" in done.stdout
    assert "537,600 floating point operations per image" in done.stdout  # 2 (784 256 + 256 256 + 256 10)
    assert len(re.findall(r"epoch \d/4  train loss .* validation loss .* images/s", done.stdout)) == 4
    run = re.search(r"^run +(.*)$", done.stdout, re.MULTILINE).group(1)
    assert run == "logs/mnist_perceptron/digits-learning_rate0.003-seed0"
    assert f"tensorboard --logdir {run}" in done.stdout
    accuracy = float(re.search(r"test .* accuracy ([\d.]+)", done.stdout).group(1))
    assert accuracy > 0.9


def test_evaluation_repeats_the_figures_of_the_run(digits_run):
    directory, done = digits_run
    run = "logs/mnist_perceptron/digits-learning_rate0.003-seed0"
    figures = re.search(r"test   loss ([\d.]+) accuracy ([\d.]+)", done.stdout).groups()
    evaluated = call(directory, "evaluate.py", f"--run={run}")
    assert evaluated.returncode == 0 and evaluated.stderr == ""
    assert "loss {} accuracy {}".format(*figures) in evaluated.stdout


def test_prediction_of_pictures_and_folders(digits_run, tmp_path):
    directory, _ = digits_run
    test = load("digits").test
    for i in range(20):
        Image.fromarray(test.images[i, ..., 0]).save(tmp_path / f"{i:02d}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    broken = tmp_path / "broken" / "x.png"
    broken.parent.mkdir()
    broken.write_bytes(b"no picture")
    run = directory / "logs/mnist_perceptron/digits-learning_rate0.003-seed0"
    good = call(tmp_path, "predict.py", f"--run={run}", *sorted(tmp_path.glob("*.png")))
    assert good.returncode == 0, good.stderr
    rows = re.findall(r"^\S+\.png  (\d) ([\d.]+)  \((\d .*), (\d .*), (\d .*)\)$", good.stdout, re.MULTILINE)
    assert len(rows) == 20
    assert np.mean([int(row[0]) == label for row, label in zip(rows, test.labels)]) > 0.8
    mixed = call(tmp_path, "predict.py", f"--run={run}", tmp_path)
    assert mixed.returncode == 1 and "x.png" in mixed.stderr and mixed.stderr.count("\n") == 1
    assert mixed.stdout.count(".png") == 20


def test_the_same_command_again_says_that_the_run_is_complete(digits_run):
    directory, _ = digits_run
    again = call(directory, "train_mlp.py", "--dataset=digits", "--epochs=4", "--learning_rate=0.003")
    assert again.returncode == 0 and "is complete" in again.stdout


@pytest.mark.parametrize(
    ("name", "arguments", "status", "words"),
    [
        ("train_mlp.py", ["--epochs=many"], 2, "--epochs=many"),
        ("train_mlp.py", ["--colour=red"], 2, "colour"),
        ("train_cnn.py", ["--filters=1,2,3", "--dataset=digits"], 2, "2 convolutions"),
        ("train_cnn.py", ["--hidden=12,x"], 2, "--hidden=12,x"),
        ("train_mlp.py", ["--dataset=mnist", "--data_dir=/nonexistent"], 1, "/nonexistent/mnist"),
        ("evaluate.py", ["--run=nowhere"], 1, "--run=nowhere"),
        ("predict.py", ["--run=nowhere"], 2, "pictures"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path, name, arguments, status, words):
    done = call(tmp_path, name, *arguments)
    assert done.returncode == status
    assert words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_same_command_resumes(tmp_path, signum, status):
    arguments = ["--dataset=digits", "--epochs=2000", "--jit=off"]
    child = subprocess.Popen(
        command("train_mlp.py", *arguments), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in child.stdout:
        if line.startswith("epoch"):
            break
    child.send_signal(signum)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == status
    assert "saved" in errors and "Traceback" not in errors
    step = int(re.search(r"ckpt-(\d+)", errors).group(1))
    again = call(tmp_path, "train_mlp.py", "--dataset=digits", f"--epochs={step // 14 + 2}", "--jit=off")
    assert (
        again.returncode == 0
        and f"resumed from logs/mnist_perceptron/digits-jitFalse-seed0/checkpoints/ckpt-{step:09d}" in again.stdout
    )


def test_convolutions_are_drawn(tmp_path):
    done = call(tmp_path, "show_convolutions.py")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "convolutions.png").size[0] > 500


def test_transfer_from_weights_to_prediction(tmp_path):
    """InceptionV3 up to its first block, drawn weights, a folder of bright and dark pictures."""
    config = inception_v3.Config(top=False, endpoint="mixed0", image_shape=(75, 75, 3))
    checkpoint.export_weights(tmp_path / "trunk.safetensors", *inception_v3.init(0, config))
    generator = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(30):
            pixels = generator.integers(low, low + 100, [40, 50, 3]).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    flags = ["--dataset=folder", "--data_dir=photos", "--image_size=75x75", "--endpoint=mixed0", "--hidden=16"]
    flags += ["--weights=trunk.safetensors", "--batch_size=8", "--epochs=20", "--learning_rate=0.003"]
    flags += ["--fine_tune_from=mixed0", "--fine_tune_epochs=1", "--logdir=run"]
    done = subprocess.run(
        command("train_transfer.py", *flags), cwd=tmp_path, capture_output=True, text=True,
        env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "fine_tune" / "metrics.jsonl").exists()
    found = call(tmp_path, "predict.py", "--run=run", "photos/dark/3.png", "photos/light/3.png")
    assert re.findall(r"png  (\w+) ", found.stdout) == ["dark", "light"]


def test_transfer_without_weights_says_what_to_put_where(tmp_path):
    done = subprocess.run(
        command("train_transfer.py", "--dataset=cats_vs_dogs"), cwd=tmp_path, capture_output=True, text=True,
        env=environment(XDG_CACHE_HOME=str(tmp_path), http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9"),
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5" in done.stderr and "--weights" in done.stderr


@pytest.mark.slow
def test_killed_runs_end_with_the_bytes_of_an_unbroken_one(tmp_path):
    """Kills as soon as an epoch is printed, which is while its checkpoint is written, and a little later."""
    arguments = ["train_mlp.py", "--dataset=digits", "--epochs=12", "--jit=off", "--dropout=0.2", "--shift=0.1"]
    for directory in ("whole", "killed"):
        (tmp_path / directory).mkdir()
    assert call(tmp_path / "whole", *arguments).returncode == 0
    for lines in (1, 2, 1, 3):
        child = subprocess.Popen(
            command(*arguments), cwd=tmp_path / "killed", env=environment(), stdout=subprocess.PIPE, text=True
        )
        epochs = (line for line in child.stdout if line.startswith("epoch"))
        for _ in range(lines):
            next(epochs)
        child.kill()
        child.wait()
    assert call(tmp_path / "killed", *arguments).returncode == 0
    exports = [sorted(tmp_path.glob(f"{d}/logs/*/*/export/weights.safetensors"))[0] for d in ("whole", "killed")]
    assert exports[0].read_bytes() == exports[1].read_bytes()
    checkpoints = [sorted(tmp_path.glob(f"{d}/logs/*/*/checkpoints/ckpt-*"))[-1] for d in ("whole", "killed")]
    tensors = [tree.flatten(checkpoint.read(path)[0]) for path in checkpoints]
    assert {p: v.tobytes() for p, v in tensors[0].items()} == {p: v.tobytes() for p, v in tensors[1].items()}
