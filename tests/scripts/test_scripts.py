"""The scripts as a person runs them: what they print, what they leave, how they end."""

import flags

import dataclasses
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import evaluate
import numpy as np
import predict
import pytest
import train_cnn
import train_mlp
from absl import flags as absl_flags
from PIL import Image

from tfcore import checkpoint, recipes, run, tree
from tfcore.data import Arrays, Splits, load, sources
from tfcore.data.datasets import load_pictures
from tfcore.models import cnn, inception_v3
from tfcore.recipes import RECIPES, Recipe
from tfcore.run.directory import describe
from tfcore.run.result import export

ROOT = Path(__file__).parents[2]


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


def test_a_run_teaches_another_and_is_part_of_its_name(digits_run):
    directory, _ = digits_run
    teacher = "logs/mnist_perceptron/digits-learning_rate0.003-seed0"
    done = call(directory, "train_mlp.py", "--dataset=digits", "--epochs=1", "--hidden=16", f"--teacher={teacher}")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert f"digits-hidden16-teacher{Path(teacher).name}-temperature2-seed0" in done.stdout
    done = call(directory, "train_mlp.py", "--dataset=digits", "--temperature=3")
    assert done.returncode == 2 and "name one with --teacher" in done.stderr
    done = call(directory, "train_mlp.py", "--dataset=digits", "--epochs=1", "--teacher=logs/none")
    assert done.returncode == 1 and "logs/none" in done.stderr and "Traceback" not in done.stderr


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


@pytest.mark.slow
def test_the_same_command_again_says_that_the_run_is_complete(digits_run):
    directory, _ = digits_run
    again = call(directory, "train_mlp.py", "--dataset=digits", "--epochs=4", "--learning_rate=0.003")
    assert again.returncode == 0 and "is complete" in again.stdout


@pytest.mark.parametrize(
    ("name", "arguments", "status", "words"),
    [
        ("train_mlp.py", ["--epochs=many"], 2, "--epochs=many"),
        pytest.param("train_mlp.py", ["--colour=red"], 2, "colour", marks=pytest.mark.slow),
        ("train_cnn.py", ["--filters=1,2,3", "--dataset=digits"], 2, "2 convolutions"),
        pytest.param("train_cnn.py", ["--hidden=12,x"], 2, "--hidden=12,x", marks=pytest.mark.slow),
        ("train_mlp.py", ["--dataset=digits", "--batch_size=5000"], 1, ": --batch_size=5000 must be between 1 and"),
        ("train_mlp.py", ["--dataset=mnist", "--data_dir=/nonexistent"], 1, "/nonexistent/mnist"),
        ("evaluate.py", ["--run=nowhere"], 1, "--run=nowhere"),
        ("predict.py", ["--run=nowhere"], 2, "pictures"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path, name, arguments, status, words):
    done = call(tmp_path, name, *arguments)
    assert done.returncode == status
    assert words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
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


@pytest.mark.slow
def test_convolutions_are_drawn(tmp_path):
    done = call(tmp_path, "show_convolutions.py")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "convolutions.png").size[0] > 500


@pytest.mark.slow
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


# What the flags mean: in this process, without training


def parsed(module, *arguments):
    """Returns the flags of a script, parsed."""
    values = flags.parser(module.define)
    values([module.__name__, *map(str, arguments)])
    return values


def chosen(monkeypatch, *arguments, module=train_cnn):
    """The recipe and the run directory that a script would train with these flags."""
    trained = []
    monkeypatch.setattr(recipes, "train", lambda recipe, logdir, **options: trained.append((recipe, logdir)))
    module.main(parsed(module, *arguments), [])
    return trained[0]


PETS, FASHION = "--dataset=cats_vs_dogs", "--dataset=fashion_mnist"
CHOICES = {
    (PETS, "--filters=128"): ("pets_cnn128", ((128,), (128,)), "cats_vs_dogs-seed0"),
    (PETS,): ("pets_cnn128", ((128,), (128,)), "cats_vs_dogs-seed0"),
    (PETS, "--filters=24"): ("pets_cnn128", ((24,), (24,)), "cats_vs_dogs-filters24-seed0"),
    (PETS, "--filters=16,32"): ("pets_cnn128", ((16,), (32,)), "cats_vs_dogs-filters16,32-seed0"),
    (PETS, "--learning_rate=0.5"): ("pets_cnn128", ((128,), (128,)), "cats_vs_dogs-learning_rate0.5-seed0"),
    (PETS, "--learning_rate=1e-6", "--epochs=3"): ("pets_cnn128", ((128,), (128,)), "cats_vs_dogs-seed0"),
    (PETS, "--recipe=pets_cnn24", "--filters=32"): ("pets_cnn24", ((32,),), "cats_vs_dogs-filters32-seed0"),
    ("--recipe=pets_cnn150",): ("pets_cnn150", ((32,), (64,), (128,)), "cats_vs_dogs-seed0"),
    ("--dataset=folder", "--data_dir=x"): ("folder_cnn", ((32,), (64,), (128,)), "folder-seed0"),
    ("--dataset=folder", "--filters=8"): ("folder_cnn", ((8,), (8,), (8,)), "folder-filters8-seed0"),
    ("--dataset=digits", "--filters=128"): ("fashion_cnn", ((128,), (128,)), "digits-filters128-seed0"),
    (FASHION,): ("fashion_cnn", ((64,), (64,)), "fashion_mnist-seed0"),
    (FASHION, "--batch_norm"): ("fashion_cnn", ((64,), (64,)), "fashion_mnist-batch_normTrue-seed0"),
}  # fmt: skip


@pytest.mark.parametrize("arguments", CHOICES, ids=" ".join)
def test_dataset_and_filters_choose_the_recipe(monkeypatch, arguments):
    """A flag that repeats the recipe's own value does not make another run."""
    name, blocks, run_name = CHOICES[arguments]
    recipe, logdir = chosen(monkeypatch, *arguments)
    assert (recipe.name, recipe.model.blocks) == (name, blocks)
    assert logdir == Path("logs") / name / run_name
    assert recipe.dataset == run_name.split("-")[0]


AT_HAND = {
    "cats_vs_dogs": ("pets_cnn128", "cats_vs_dogs-seed0"),
    "fashion_mnist": ("fashion_cnn128", "fashion_mnist-seed0"),
    "digits": ("digits_cnn128", "digits-seed0"),
}


@pytest.mark.parametrize("filters", [[], ["--filters=128"]], ids=["", "filters"])
@pytest.mark.parametrize("found", AT_HAND)
def test_without_a_set_the_best_at_hand_is_trained_under_its_own_name(monkeypatch, capsys, found, filters):
    """The network of the post with 128 filters on each, and the first line says which, why, and how to choose."""
    monkeypatch.setattr(sources, "first_at_hand", lambda names, data_dir: (found, "because"))
    recipe, logdir = chosen(monkeypatch, *filters)
    name, run_name = AT_HAND[found]
    assert (recipe.name, logdir) == (name, Path("logs") / name / run_name)
    assert (recipe.model.blocks, recipe.model.hidden) == (((128,), (128,)), (256, 256))
    words = f"--dataset=auto: {found}, recipe {name} (because); --dataset and --recipe choose another\n"
    assert capsys.readouterr().out == words
    if found != "cats_vs_dogs":
        return
    monkeypatch.setattr(sources, "first_at_hand", lambda names, data_dir: ("mnist", "because"))
    assert chosen(monkeypatch, module=train_mlp)[1] == Path("logs/mnist_perceptron/mnist-seed0")


@pytest.mark.parametrize("arguments", [[], ["--recipe=pets_best"], ["--recipe=fashion_cnn"]], ids=" ".join)
def test_help_shows_groups_and_the_defaults_of_the_recipe_on_one_screen(monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["train_cnn.py", *arguments])
    values = flags.parser(train_cnn.define)
    short, full = (flags.help_text(values, train_cnn.__doc__, full=full) for full in (False, True))
    assert len(short.splitlines()) <= 50 and max(map(len, short.splitlines())) <= 120
    groups = re.findall(r"^(\w+):$", short, re.MULTILINE)
    assert groups == ["what", "network", "training", "augmentation", "output"]
    assert set(re.findall(r"--(\w+)", short)) - {"helpfull"} <= set(re.findall(r"--(\w+)", full)) | {"filters"}
    assert "--ema_decay" in full and "--ema_decay" not in short
    recipe = RECIPES[arguments[0].partition("=")[2] if arguments else "pets_cnn128"]
    assert f"[{recipe.learning_rate:g}]" in re.search(r"--learning_rate.*", short)[0]
    assert f"[{','.join(map(str, recipe.model.hidden))}]" in re.search(r"--hidden.*", short)[0]


def test_errors_of_the_library_are_told_in_flags():
    values = flags.parser(train_cnn.define)
    message = "clean=True starts over; histograms=False, epochs=0 and width=3; a/hidden=8, x?epochs=1 (filters=64?)"
    wanted = "--clean starts over; --nohistograms, --epochs=0 and width=3; a/hidden=8, x?epochs=1 (--filters=64?)"
    assert flags.in_flags(values, message) == wanted


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dropout=1.5"], "dropout=1.5 must be at least 0 and below 1"),
        (["--learning_rate=-1"], "learning_rate=-1.0 must be positive"),
        (["--loss=sigmoid_mse", "--label_smoothing=0.1"], "label_smoothing=0.1 needs a cross-entropy"),
        (["--shift=3"], "shift=3"),
        (["--image_size=4x4"], "4"),
        (["--filters=64,128_best"], "--filters="),
        (["--filters=150_augmented"], "--filters="),
    ],
)
def test_a_wrong_setting_is_bad_usage_before_anything_is_touched(monkeypatch, arguments, words):
    with pytest.raises(absl_flags.Error, match=re.escape(words)):
        chosen(monkeypatch, PETS, *arguments)


def test_150_filters_are_150_filters(monkeypatch):
    assert chosen(monkeypatch, PETS, "--filters=150")[0].model.blocks == ((150,), (150,))


def test_the_flags_of_pictures_reach_the_recipe(monkeypatch):
    """But for --max_bad_fraction, which may change, they are in the name of the run."""
    arguments = ("--validation_steps=3", "--resize=pad", "--max_bad_fraction=0.3", "--image_size=50x40")
    recipe, logdir = chosen(monkeypatch, PETS, *arguments)
    assert (recipe.validation_steps, recipe.resize, recipe.max_bad_fraction) == (3, "pad", 0.3)
    assert recipe.model.image_shape == (50, 40, 3)
    assert logdir.name == "cats_vs_dogs-image_size50x40-resizepad-validation_steps3-seed0"


# What evaluation measures


def write_pictures(root, classes=("Cat", "Dog"), counts=(14, 13), first=0):
    """Writes CLASS/N.png in gray levels: cats from 0, dogs from 200."""
    for name, count in zip(classes, counts):
        (root / name).mkdir(parents=True)
        for i in range(count):
            value = first + i + (200 if name.lower() == "dog" else 0)
            Image.new("RGB", (12, 10), (value, value, value)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


MODEL = cnn.Config((5, 6, 3), ((2,),), hidden=(), classes=1)
PICTURES = Recipe("small", "folder", MODEL, loss="sigmoid_cross_entropy", batch_size=4, validation=3)


def facts_of(recipe, folder):
    """What the export of a run on `folder` says about it."""
    _, classes, source = load_pictures(recipe.dataset, folder, image_size=(5, 6))
    return {"class_names": list(classes), "pictures": {"content": source.content, "order": source.order}}


def evaluated(*arguments, recipe=PICTURES, facts):
    return evaluate.load(parsed(evaluate, "--run=nowhere", *arguments), recipe, facts)


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("dataset", ["folder", "cats_vs_dogs"])
def test_the_pictures_of_the_run_give_its_test_part(tmp_path, dataset, capsys):
    folder, recipe = write_pictures(tmp_path / "mine"), dataclasses.replace(PICTURES, dataset=dataset, seed=3)
    part, name = evaluated(f"--data_dir={folder}", recipe=recipe, facts=facts_of(recipe, folder))
    wanted = load(dataset, folder, image_size=(5, 6), validation=3, seed=3).test
    assert name == f"{dataset} test" and len(part.labels) == 4
    np.testing.assert_array_equal(part.images, wanted.images)
    np.testing.assert_array_equal(part.labels, wanted.labels)
    assert "27 pictures (Cat 14, Dog 13)" in capsys.readouterr().out


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("classes", [("Cat", "Dog"), ("cat", "dog"), ("DOG", "cat"), ("cAT", "Dog")], ids=" ".join)
@pytest.mark.parametrize("wanted", [("Dog", "Cat"), ("Cat", "Dog"), ("bird", "cat", "DOG")], ids=" ".join)
def test_other_pictures_are_all_measured_with_labels_by_name(tmp_path, classes, wanted):
    facts = {"class_names": list(wanted), "pictures": {"content": "of other pictures"}}
    folder = write_pictures(tmp_path / "others", classes)
    part, name = evaluated(f"--data_dir={folder}", facts=facts)
    assert name == "folder, other pictures than the run's" and part.images.shape == (27, 5, 6, 3)
    assert part.labels.dtype == np.int32
    for image, label in zip(part.images, part.labels):
        assert wanted[label].lower() == ("dog" if image[0, 0, 0] >= 200 else "cat")


@pytest.mark.usefixtures("own_cache")
def test_one_changed_picture_makes_them_other_pictures(tmp_path):
    facts = facts_of(PICTURES, write_pictures(tmp_path / "mine"))
    folder = write_pictures(tmp_path / "others")
    Image.new("RGB", (12, 10), (99, 98, 97)).save(folder / "Cat" / "3.png")
    part, _ = evaluated(f"--data_dir={folder}", facts=facts)
    assert len(part.labels) == 27
    del facts["pictures"]  # a run on something else than pictures
    assert len(evaluated(f"--data_dir={tmp_path / 'mine'}", facts=facts)[0].labels) == 27


@pytest.mark.usefixtures("own_cache")
def test_unknown_classes_are_refused(tmp_path):
    folder = write_pictures(tmp_path / "others", ("Cat", "Horse", "Kuh"), (3, 3, 3))
    facts = {"class_names": ["Dog", "Cat"], "pictures": {"content": "x"}}
    words = "^no class of the run is called Horse, Kuh: name the folders Dog, Cat$"
    with pytest.raises(ValueError, match=words):
        evaluated(f"--data_dir={folder}", facts=facts)


@pytest.mark.usefixtures("own_cache")
def test_how_many_pictures_may_be_bad_is_the_run_s_or_the_flag_s(tmp_path):
    folder, facts = write_pictures(tmp_path / "others"), {"class_names": ["Cat", "Dog"], "pictures": {"content": "x"}}
    for i in range(3):
        (folder / "Cat" / f"bad{i}.png").write_bytes(b"")
    lenient = dataclasses.replace(PICTURES, max_bad_fraction=0.5)
    assert len(evaluated(f"--data_dir={folder}", recipe=lenient, facts=facts)[0].labels) == 27
    with pytest.raises(ValueError, match=r"3 of 30 pictures are unusable, max_bad_fraction=0\.05 allows 1"):
        evaluated(f"--data_dir={folder}", facts=facts)
    flag = "--max_bad_fraction=0.1"
    assert len(evaluated(f"--data_dir={folder}", flag, facts=facts)[0].labels) == 27
    with pytest.raises(ValueError, match=r"max_bad_fraction=0\.0 allows 0"):
        evaluated(f"--data_dir={folder}", "--max_bad_fraction=0", recipe=lenient, facts=facts)


@pytest.mark.usefixtures("own_cache")
def test_the_run_s_pictures_under_another_name_of_the_set_keep_the_run_s_classes(tmp_path):
    """A run on cats_vs_dogs has Cat as class 1; the same files as --dataset=folder have Dog as class 1."""
    folder = write_pictures(tmp_path / "mine")
    recipe = dataclasses.replace(PICTURES, dataset="cats_vs_dogs")
    facts = facts_of(recipe, folder)
    part, _ = evaluated(f"--data_dir={folder}", "--dataset=folder", recipe=recipe, facts=facts)
    for image, label in zip(part.images, part.labels):
        assert facts["class_names"][label] == ("Dog" if image[0, 0, 0] >= 200 else "Cat")


@pytest.mark.usefixtures("own_cache")
def test_the_run_s_pictures_under_other_names_bring_no_training_pictures_into_the_test(tmp_path):
    facts = facts_of(PICTURES, write_pictures(tmp_path / "mine"))
    folder = write_pictures(tmp_path / "renamed")
    for file in folder.glob("*/*.png"):
        file.rename(file.with_name(f"{30 - int(file.stem)}.png"))  # the last comes first
    with pytest.raises(ValueError, match="renamed or moved"):
        evaluated(f"--data_dir={folder}", facts=facts)


def export_run(directory, recipe, weights, stats, splits):
    """Leaves a run's export without training."""
    plan = run.Plan(**recipes.plan(recipe))
    export(directory, weights, stats, describe(recipes.task(recipe, splits), plan))


@pytest.mark.usefixtures("own_cache")
def test_evaluation_prints_classes_thresholds_and_sums(tmp_path, capsys):
    """Of a run that was exported without training; accuracy and precision by hand."""
    folder = write_pictures(tmp_path / "mine")
    splits = load("folder", folder, image_size=(5, 6), validation=3)
    weights, stats = cnn.init(5, MODEL)
    export_run(tmp_path / "run", PICTURES, weights, stats, splits)
    evaluate.main(parsed(evaluate, f"--run={tmp_path / 'run'}", f"--data_dir={folder}"), [])
    out = capsys.readouterr().out
    logits = recipes.predictor(PICTURES)(weights, stats, splits.test.images)[:, 0].astype(np.float64)
    p, labels = 1 / (1 + np.exp(-logits)), splits.test.labels
    table = re.findall(r"^ +(0\.\d)  +([\d.]+)  +([\d.]+)  +([\d.]+)$", out, re.MULTILINE)
    assert [row[0] for row in table] == [f"0.{i}" for i in range(1, 10)]
    for threshold, accuracy, _, recall in table:
        predicted = p > float(threshold)
        assert float(accuracy) == pytest.approx(np.mean(predicted == labels), abs=1e-4)
        assert float(recall) == pytest.approx(np.mean(predicted[labels == 1]), abs=1e-4)
    assert re.search(rf"^Cat .* {np.sum(labels == 0)}$", out, re.MULTILINE)
    last = out.strip().splitlines()[-1]
    assert last.startswith("folder test, 4 images: loss ") and f"mse {np.mean((p - labels) ** 2):.4f}" in last
    assert "accuracy_at" not in last and "pearson" in last


@pytest.mark.usefixtures("own_cache")
def test_evaluation_refuses_pictures_of_another_shape(tmp_path):
    folder = write_pictures(tmp_path / "mine")
    splits = load("folder", folder, image_size=(5, 6), validation=3)
    gray = dataclasses.replace(MODEL, image_shape=(5, 6, 1))
    recipe = dataclasses.replace(PICTURES, model=gray)
    parts = [Arrays(np.asarray(part.images)[..., :1], part.labels) for part in splits[:3]]
    export_run(tmp_path / "run", recipe, *cnn.init(5, gray), Splits(*parts, splits.class_names, "folder"))
    with pytest.raises(ValueError, match=r"has pictures \(5, 6, 3\), the run was trained on \(5, 6, 1\)"):
        evaluate.main(parsed(evaluate, f"--run={tmp_path / 'run'}", f"--data_dir={folder}"), [])


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_prediction_reads_a_picture_as_training_did(tmp_path, rng, resize):
    folder, recipe = write_pictures(tmp_path / "mine", counts=(1, 1)), dataclasses.replace(PICTURES, resize=resize)
    picture = folder / "Dog" / "0.png"
    Image.fromarray(rng.integers(0, 256, [30, 50, 3]).astype(np.uint8)).save(picture)
    found = predict.decode(picture.read_bytes(), recipe, False)
    everything, _, _ = load_pictures("folder", folder, image_size=(5, 6), resize=resize)
    np.testing.assert_array_equal(found, everything.images[1])


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


@pytest.mark.slow
def test_scripts_import_tensorflow_without_keras_and_leave_keras_importable():
    code = """
        from tfcore.quiet import tf
        import sys
        assert not {"keras", "sklearn", "scipy"} & sys.modules.keys()
        import keras
        import scipy.linalg
        from tfcore.quiet import tf as again
        assert again is tf and tf.keras.ops.sum([1.0, 2.0]) == 3 and keras.__version__
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT / "scripts", check=True)


def test_sigterm_ends_any_script_in_order(tmp_path):
    """Not only during training: temporary files are removed, the exit status is 143, there is no traceback."""
    code = """
        import os, signal
        from flags import start
        from tfcore import files

        def main(values, arguments):
            with files.durable("a.bin") as file:
                os.kill(os.getpid(), signal.SIGTERM)
                file.write(b"x")

        start(main, lambda values: None)
    """
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 143 and done.stderr.endswith("ended by SIGTERM\n") and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
