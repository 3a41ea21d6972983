"""Runs on pictures: what is said of the files, and which pictures are looked at."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_run import final_bytes, measures

from tfcore import checkpoint, plots, recipes
from tfcore.data import Arrays, Splits, load
from tfcore.data.augment import Augment
from tfcore.data.order import Rows
from tfcore.models import cnn
from tfcore.recipes import Recipe
from tfcore.run import directory as run_directory, loop, report

TINY = cnn.Config((8, 8, 3), ((3,),), hidden=(), pool_features=True)
RECIPE = Recipe("small", "folder", TINY, loss="sigmoid_cross_entropy", batch_size=4, epochs=2, validation=4)
RECIPE = dataclasses.replace(RECIPE, steps_per_loop=2, max_bad_fraction=0.2, augment=Augment(shift=0.1, flip=True))
BAD = {
    "dark/bad1.png": b"",
    "dark/bad2.png": b"some text",
    "light/bad3.png": b"\x89PNG\r\n\x1a\ncut",
    "light/x.jpg": b"",
}


def write_folder(root, per_class=20, bad=()):
    """Writes dark/N.png and light/N.png of 12 x 10 with noise, and the files of `bad`."""
    generator = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 100)):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = generator.integers(low, low + 150, [10, 12, 3]).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    for name, data in dict(bad).items():
        (root / name).write_bytes(data)
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """A cache of its own; only the fixture `done` draws."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plots, "survey", lambda _: plots.curves([]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pictures") / "all", bad=BAD)


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    """A finished run: its directory and its Result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        directory = tmp_path_factory.mktemp("run")
        return directory, recipes.train(RECIPE, directory, data_dir=folder)


def made_set(n=96, sides=(8, 8)):
    """Pictures whose class is their brightness, in memory."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, n).astype(np.int32)
    images = generator.integers(0, 156, [n, *sides, 3]).astype(np.uint8) + (100 * labels[:, None, None, None])
    images = images.astype(np.uint8)
    parts = [Arrays(images[a:b], labels[a:b]) for a, b in ((0, n - 40), (n - 40, n - 20), (n - 20, n))]
    return Splits(*parts, ("dark", "light"), "made")


# What lands in the run directory


def test_unusable_pictures_are_listed_with_reasons(done):
    directory, _ = done
    rows = json.loads((directory / "bad_files.json").read_text())
    assert [row["file"] for row in rows] == ["dark/bad1.png", "dark/bad2.png", "light/bad3.png", "light/x.jpg"]
    assert [set(row) for row in rows] == [{"file", "reason"}] * 4
    reasons = [row["reason"] for row in rows]
    assert reasons[0] == reasons[3] == "0 bytes" and "not a JPEG" in reasons[1] and "damaged" in reasons[2]


def test_the_survey_and_the_first_bad_files_are_printed(folder, tmp_path, capsys):
    recipes.train(dataclasses.replace(RECIPE, epochs=1), tmp_path / "run", data_dir=folder)
    out = capsys.readouterr().out
    assert "folder: 30 train, 4 validation, 6 test images of 2 classes" in out
    assert "44 pictures (dark 22, light 22)" in out and "most common size 12 x 10 (40), 4 unreadable" in out
    assert out.count("left out ") == 4 and "left out dark/bad2.png: not a" in out
    assert f"left out 1 more: {tmp_path / 'run' / 'bad_files.json'}" in out


def test_without_bad_files_the_list_is_empty(tmp_path):
    folder = write_folder(tmp_path / "all", 10)
    recipes.train(dataclasses.replace(RECIPE, epochs=1), tmp_path / "run", data_dir=folder)
    assert json.loads((tmp_path / "run" / "bad_files.json").read_text()) == []


def test_plots_of_the_files_and_of_the_measures(done):
    directory, _ = done
    names = ("survey", "measures", "most_wrong", "curves", "confusion", "predictions", "filters", "layers")
    names = {f"{name}.png" for name in (*names, "training_pictures", "augmented")}
    assert {path.name for path in (directory / "plots").iterdir()} == names
    for name in names:
        with Image.open(directory / "plots" / name) as image:
            image.load()
            assert min(image.size) > 100


def test_rows_of_metrics_hold_the_measures_of_two_classes(done):
    directory, result = done
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        found = row["validation"]
        assert {"loss", "accuracy", "pearson", "mse", "mean_prediction/dark", "mean_prediction/light"} <= set(found)
        assert {f"{name}_at/{t}" for name in ("accuracy", "precision", "recall") for t in (0.1, 0.5, 0.9)} <= set(found)
        assert found["accuracy_at/0.5"] == found["accuracy"] and -1 <= found["pearson"] <= 1
    assert rows[-1]["validation"]["mse"] == pytest.approx(result.validation["mse"])


def test_the_result_holds_the_measures_of_the_test_part_by_hand(done, folder):
    directory, result = done
    recipe, weights, stats, facts = recipes.load_run(directory)
    splits = load("folder", folder, image_size=(8, 8), validation=4, max_bad_fraction=0.2)
    assert facts["class_names"] == ["dark", "light"] and facts["pictures"]["content"] == splits.source.content
    config = json.loads((directory / "config.json").read_text())
    assert config.pop("id") and config == {k: v for k, v in facts.items() if k != "epoch"}
    logits = recipes.predictor(recipe)(weights, stats, splits.test.images)[:, 0].astype(np.float64)
    p, labels = 1 / (1 + np.exp(-logits)), splits.test.labels
    test = result.test
    assert test["pearson"] == pytest.approx(np.corrcoef(p, labels)[0, 1], abs=1e-5)
    assert test["mse"] == pytest.approx(np.mean((p - labels) ** 2), abs=1e-6)
    assert test["mean_prediction/light"] == pytest.approx(p[labels == 1].mean(), abs=1e-6)
    for threshold in (0.1, 0.5, 0.9):
        assert test[f"accuracy_at/{threshold}"] == np.mean((p > threshold) == labels)
    assert np.sum(test["confusion"]) == 6 and "top_3" not in test


def read_events(directory, split="train"):
    accumulator = EventAccumulator(str(directory / split), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_gets_the_measures_of_each_epoch(done):
    directory, _ = done
    validation = read_events(directory, "validation")
    for tag in ("measures/pearson", "thresholds/accuracy_at/0.5", "measures/mean_prediction/light", "accuracy"):
        values = [float(tf.make_ndarray(e.tensor_proto)) for e in validation.Tensors(tag)]
        name = tag.split("/", 1)[1] if "/" in tag else tag
        assert values == pytest.approx([row[3][name] for row in measures(directory)])


@pytest.mark.drawn
def test_no_picture_of_augmentation_without_any(tmp_path):
    recipes.train(dataclasses.replace(RECIPE, epochs=1, augment=Augment()), tmp_path, splits=made_set())
    tags = read_events(tmp_path).Tags()["tensors"]
    assert "pictures/training pictures" in tags and "pictures/augmented" not in tags
    assert not (tmp_path / "bad_files.json").exists()


# What is refused


def test_too_many_bad_pictures_end_the_run_before_training(folder, tmp_path):
    recipe = dataclasses.replace(RECIPE, max_bad_fraction=0.05)
    with pytest.raises(ValueError, match=r"4 of 44 pictures are unusable, max_bad_fraction=0\.05 allows 2: dark/bad1"):
        recipes.train(recipe, tmp_path / "run", data_dir=folder)
    assert not (tmp_path / "run").exists()
    recipes.train(dataclasses.replace(RECIPE, epochs=1), tmp_path / "run", data_dir=folder)  # nothing is in its way


@pytest.mark.parametrize("change", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(change):
    with pytest.raises(ValueError, match="max_bad_fraction="):
        dataclasses.replace(RECIPE, max_bad_fraction=change)


def test_other_pictures_in_the_same_place_are_refused(tmp_path):
    folder, recipe = write_folder(tmp_path / "all", 10), dataclasses.replace(RECIPE, epochs=1)
    recipes.train(recipe, tmp_path / "run", data_dir=folder)
    before = final_bytes(tmp_path / "run")
    Image.new("RGB", (12, 10), (1, 2, 3)).save(folder / "dark" / "3.png")
    with pytest.raises(ValueError, match=r"other settings: it has other data.*clean=True") as refused:
        recipes.train(dataclasses.replace(recipe, epochs=2), tmp_path / "run", data_dir=folder)
    assert "\n" not in str(refused.value) and final_bytes(tmp_path / "run") == before
    recipes.train(recipe, tmp_path / "run", data_dir=folder, clean=True)
    assert final_bytes(tmp_path / "run") != before


def test_the_same_pictures_in_another_place_go_on(tmp_path, capsys):
    recipe = dataclasses.replace(RECIPE, epochs=1)
    recipes.train(recipe, tmp_path / "run", data_dir=write_folder(tmp_path / "all", 10))
    more = dataclasses.replace(recipe, epochs=2, max_bad_fraction=0.5)
    recipes.train(more, tmp_path / "run", data_dir=write_folder(tmp_path / "copy", 10))
    assert "resumed from" in capsys.readouterr().out and len(measures(tmp_path / "run")) == 2


def test_pictures_that_changed_their_class_are_other_pictures(tmp_path):
    """Two of them: a set of other labels and another order must not go on as if nothing had happened."""
    folder, recipe = write_folder(tmp_path / "all", 10), dataclasses.replace(RECIPE, epochs=1)
    recipes.train(recipe, tmp_path / "run", data_dir=folder)
    for name in ("0.png", "1.png"):
        (folder / "dark" / name).rename(folder / "light" / f"was_dark_{name}")
    with pytest.raises(ValueError, match="other data"):
        recipes.train(dataclasses.replace(recipe, epochs=2), tmp_path / "run", data_dir=folder)


def test_clean_forgets_the_list_of_bad_files(tmp_path):
    recipes.train(dataclasses.replace(RECIPE, epochs=1), tmp_path, splits=made_set())
    (tmp_path / "bad_files.json").write_text("[]")
    (tmp_path / "notes.txt").write_text("mine")
    run_directory.forget(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} & {"bad_files.json", "config.json", "plots"} == set()
    assert (tmp_path / "notes.txt").exists()


# How much is looked at


def parts_measured(monkeypatch):
    """Returns the list of the parts that are measured from now on."""
    parts, original = [], report.measure

    def noting(task, logits, part, when):
        assert len(logits) == len(part.labels) == len(part.images)
        parts.append(part)
        return original(task, logits, part, when)

    for module in (report, loop):
        monkeypatch.setattr(module, "measure", noting)
    return parts


@pytest.mark.parametrize(("steps", "count"), [(0, 20), (3, 12), (5, 20), (9, 20)])
def test_validation_steps_are_batches_of_the_validation_part(tmp_path, monkeypatch, steps, count):
    """20 examples in batches of 4; the result is measured on the test part and on all of them."""
    parts, splits = parts_measured(monkeypatch), made_set()
    recipe = dataclasses.replace(RECIPE, validation_steps=steps, augment=Augment())
    recipes.train(recipe, tmp_path, splits=splits)
    assert [len(part.labels) for part in parts] == [count, count, 20, 20]
    pairs = [{(x.tobytes(), int(y)) for x, y in zip(*part)} for part in parts[:2]]
    whole = {(x.tobytes(), int(y)) for x, y in zip(*splits.validation)}
    assert all(len(chosen) == count and chosen <= whole for chosen in pairs)
    assert (pairs[0] != pairs[1]) == (count < 20)  # other ones each time
    assert parts[2].labels is splits.test.labels and parts[3].labels is splits.validation.labels


def test_a_part_on_the_disk_is_validated_in_steps(folder, tmp_path, monkeypatch):
    parts = parts_measured(monkeypatch)
    recipe = dataclasses.replace(RECIPE, validation=5, validation_steps=1, epochs=1)
    recipes.train(recipe, tmp_path / "run", data_dir=folder)
    assert [len(part.labels) for part in parts] == [4, 6, 5] and isinstance(parts[0].images, Rows)


def test_validation_steps_do_not_change_the_weights(tmp_path):
    for name, steps in (("a", 0), ("b", 1)):
        recipes.train(dataclasses.replace(RECIPE, validation_steps=steps), tmp_path / name, splits=made_set())
    weights = [checkpoint.read(checkpoint.checkpoints(tmp_path / n / "checkpoints")[-1])[0]["weights"] for n in "ab"]
    for a, b in zip(*(tf.nest.flatten(w) for w in weights)):
        np.testing.assert_array_equal(a, b)


def test_a_run_on_rows_of_a_file_equals_one_on_arrays(folder, tmp_path):
    splits = load("folder", folder, image_size=(8, 8), validation=4, max_bad_fraction=0.2)
    in_memory = [Arrays(np.asarray(part.images), part.labels) for part in splits[:3]]
    recipes.train(RECIPE, tmp_path / "rows", splits=splits)
    recipes.train(RECIPE, tmp_path / "arrays", splits=splits._replace(**dict(zip(splits._fields, in_memory))))
    assert final_bytes(tmp_path / "rows") == final_bytes(tmp_path / "arrays")
    assert measures(tmp_path / "rows") == measures(tmp_path / "arrays")


def test_a_huge_learning_rate_is_explained_on_augmented_images_too(tmp_path):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e30, optimizer="sgd", scale=1.0)
    with pytest.raises(FloatingPointError, match=r"step \d+: loss .*(conv1|logits)/[wb].*no checkpoint yet"):
        recipes.train(recipe, tmp_path, splits=made_set())
