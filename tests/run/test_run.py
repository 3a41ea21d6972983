"""Runs end to end on a small made set: bits, resuming, what lands on disk, and what is refused."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from tfcore import checkpoint, files, losses, optimizers, plots, recipes, run, training, tree
from tfcore.data import Arrays, Splits, pictures
from tfcore.data.augment import Augment
from tfcore.models import cnn, mlp
from tfcore.recipes import Recipe, assemble, from_dict, to_dict
from tfcore.recipes.recipe import CHOICES
from tfcore.run import board, console, directory, report
from tfcore.run.progress import Progress

MLP = Recipe("small", "made", mlp.Config(hidden=(8,), dropout=0.1), batch_size=16, epochs=2, validation=1)
MLP = dataclasses.replace(MLP, augment=Augment(shift=0.1, flip=True), steps_per_loop=3, ema_decay=0.9)
CNN = dataclasses.replace(MLP, model=cnn.Config(blocks=((4,),), hidden=(8,), batch_norm=True), ema_decay=0.0)


def made_set(n=96, classes=3):
    """Pictures of 8x8 whose brightest third says the class, with noise."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, n).astype(np.int32)
    images = generator.integers(0, 120, [n, 8, 8, 1]).astype(np.uint8)
    for image, label in zip(images, labels):
        image[label * 2 + 1 : label * 2 + 3] += 100
    parts = [Arrays(images[a:b], labels[a:b]) for a, b in ((0, n - 40), (n - 40, n - 20), (n - 20, n))]
    return Splits(*parts, tuple("abc"[:classes]), "made")


def train(recipe, place, **options):
    return recipes.train(recipe, place, splits=options.pop("splits", made_set()), **options)


def final_bytes(place):
    """Weights, slots, stats and step of the last checkpoint."""
    tensors, _ = checkpoint.read(checkpoint.checkpoints(place / "checkpoints")[-1])
    return {path: leaf.tobytes() for path, leaf in tree.flatten(tensors).items()}


def measures(place):
    rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    return [(row["epoch"], row["step"], row["train"], row["validation"]) for row in rows]


@pytest.mark.parametrize("recipe", [MLP, CNN, dataclasses.replace(MLP, jit=True)], ids=["mlp", "cnn", "jit"])
def test_one_seed_gives_the_same_bytes_and_another_does_not(tmp_path, recipe):
    train(recipe, tmp_path / "a")
    train(recipe, tmp_path / "b")
    train(dataclasses.replace(recipe, seed=1), tmp_path / "c")
    assert final_bytes(tmp_path / "a") == final_bytes(tmp_path / "b")
    assert measures(tmp_path / "a") == measures(tmp_path / "b")
    assert final_bytes(tmp_path / "a") != final_bytes(tmp_path / "c")


def test_steps_per_loop_does_not_change_the_bytes(tmp_path):
    train(MLP, tmp_path / "a")
    train(dataclasses.replace(MLP, steps_per_loop=1), tmp_path / "b")
    assert final_bytes(tmp_path / "a") == final_bytes(tmp_path / "b")


def test_an_epoch_of_three_passes_has_the_bytes_of_three_epochs(tmp_path):
    """Also where a call takes the end of one pass and the start of the next: 3 steps are a pass."""
    train(dataclasses.replace(MLP, epochs=6), tmp_path / "a")
    train(dataclasses.replace(MLP, epochs=2, steps_per_epoch=9, steps_per_loop=4), tmp_path / "b")
    assert final_bytes(tmp_path / "a") == final_bytes(tmp_path / "b")
    assert [step for _, step, *_ in measures(tmp_path / "b")] == [9, 18]


def interrupt_at_block(monkeypatch, number, signum):
    """Sends this process a signal while block `number` is logged."""
    scalars, calls = board.Board.scalars, []

    def counting(self, split, values, step):
        scalars(self, split, values, step)
        calls.append(step)
        if len(calls) == number:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(board.Board, "scalars", counting)


@pytest.mark.parametrize(
    ("recipe", "block"),
    [(MLP, 1), (MLP, 3), (MLP, 4), (CNN, 2), (CNN, 5), (dataclasses.replace(MLP, steps_per_epoch=5), 7)],
)
def test_stopped_and_resumed_gives_the_bytes_of_an_unbroken_run(tmp_path, monkeypatch, recipe, block):
    recipe = dataclasses.replace(recipe, steps_per_loop=1)
    train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at_block(patch, block, signal.SIGTERM)
        with pytest.raises(run.Stopped) as stopped:
            train(recipe, tmp_path / "cut")
    assert stopped.value.signum == signal.SIGTERM
    train(recipe, tmp_path / "cut")
    assert final_bytes(tmp_path / "cut") == final_bytes(tmp_path / "whole")
    assert measures(tmp_path / "cut") == measures(tmp_path / "whole")


def test_more_epochs_go_on_to_the_bytes_of_a_longer_run(tmp_path, capsys):
    train(MLP, tmp_path / "a")
    train(dataclasses.replace(MLP, epochs=3), tmp_path / "a")
    assert "resumed from" in capsys.readouterr().out
    train(dataclasses.replace(MLP, epochs=3), tmp_path / "b")
    assert final_bytes(tmp_path / "a") == final_bytes(tmp_path / "b")


def test_a_complete_run_is_not_repeated_and_clean_starts_over(tmp_path, capsys):
    first = train(MLP, tmp_path)
    assert train(MLP, tmp_path) == first
    assert "is complete" in capsys.readouterr().out
    train(MLP, tmp_path, clean=True)
    out = capsys.readouterr().out
    assert "resumed" not in out and "epoch 1/2" in out


@pytest.mark.parametrize(
    ("change", "named"),
    [({"learning_rate": 0.5}, "learning_rate was 0.001, now 0.5"), ({"seed": 3}, "seed was 0, now 3")],
)
def test_changed_settings_are_refused_by_name(tmp_path, change, named):
    train(MLP, tmp_path)
    before = final_bytes(tmp_path)
    with pytest.raises(ValueError, match=named):
        train(dataclasses.replace(MLP, **change), tmp_path)
    assert final_bytes(tmp_path) == before


def test_epochs_may_not_change_where_the_schedule_depends_on_them(tmp_path):
    recipe = dataclasses.replace(MLP, schedule="cosine")
    train(recipe, tmp_path)
    with pytest.raises(ValueError, match="epochs was 2, now 3"):
        train(dataclasses.replace(recipe, epochs=3), tmp_path)


@pytest.mark.parametrize("jit", [False, True])
def test_a_huge_learning_rate_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, jit):
    monkeypatch.setattr(directory, "_settings", lambda config: {})  # so that it may change
    good = dataclasses.replace(MLP, jit=jit, ema_decay=0.0, epochs=1, learning_rate=1e-3, schedule="constant")
    train(good, tmp_path)
    before = final_bytes(tmp_path)
    with pytest.raises(FloatingPointError, match=r"step \d+: loss .*(dense1|logits)/[wb].*ckpt-000000003.*rate"):
        train(dataclasses.replace(good, learning_rate=1e30, epochs=5), tmp_path)
    assert final_bytes(tmp_path) == before


def test_one_trace_per_run(tmp_path, monkeypatch):
    traced, make = [], training.traced_once
    monkeypatch.setattr(training, "traced_once", lambda *args: traced.append(make(*args)) or traced[-1])
    train(dataclasses.replace(MLP, epochs=3, steps_per_loop=2), tmp_path)  # 3 steps an epoch: the last block is ragged
    assert [block.experimental_get_tracing_count() for block in traced] == [1]


def test_labels_outside_the_classes_are_refused_before_training(tmp_path):
    splits = made_set()
    splits.train.labels[5] = 3
    with pytest.raises(ValueError, match="train: label 3 at"):
        train(MLP, tmp_path, splits=splits)
    assert not (tmp_path / "checkpoints").exists()


def test_a_sigmoid_wants_two_classes(tmp_path):
    recipe = dataclasses.replace(MLP, loss="sigmoid_cross_entropy")
    with pytest.raises(ValueError, match="two classes"):
        train(recipe, tmp_path)
    result = train(recipe, tmp_path, splits=made_set(classes=2))
    assert tree.flatten(run.load_run(tmp_path)[1])["logits/w"].shape == (8, 1)
    assert 0 <= result.test["accuracy"] <= 1


def test_a_batch_larger_than_the_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="batch_size=1000"):
        train(dataclasses.replace(MLP, batch_size=1000), tmp_path)


def test_patience_ends_the_run_and_best_weights_are_reported(tmp_path):
    recipe = dataclasses.replace(MLP, epochs=60, patience=2, report="best", ema_decay=0.0, learning_rate=1e-2)
    result = train(recipe, tmp_path)
    history = measures(tmp_path)
    accuracies = [validation["accuracy"] for *_, validation in history]
    assert result.epochs == len(history) < 60
    assert max(accuracies[:-2]) >= max(accuracies[-2:])
    assert result.validation["accuracy"] == max(accuracies)
    assert train(recipe, tmp_path) == result  # complete, although not all epochs were needed


def test_the_average_of_the_weights_is_what_is_evaluated_and_exported(tmp_path):
    train(MLP, tmp_path)
    tensors, _ = checkpoint.read(checkpoint.checkpoints(tmp_path / "checkpoints")[-1])
    exported = run.load_run(tmp_path)[1]
    np.testing.assert_array_equal(exported["dense1"]["w"], tensors["slots"]["average"]["dense1"]["w"])
    assert not np.array_equal(exported["dense1"]["w"], tensors["weights"]["dense1"]["w"])


@pytest.mark.drawn
def test_what_lands_in_the_run_directory(tmp_path):
    result = train(CNN, tmp_path, histograms=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "environment.json", "metrics.jsonl", "checkpoints", "plots", "export"} <= names
    assert "report.html" in names
    drawings = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert {"curves", "confusion", "predictions", "most_wrong", "filters", "layers"} < drawings
    assert {"training_pictures", "augmented"} < drawings
    recipe = recipes.load_run(tmp_path)[0]
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe
    assert recipe.model.image_shape == (8, 8, 1) and recipe.model.classes == 3
    assert np.sum(result.test["confusion"]) == 20
    (environment,) = json.loads((tmp_path / "environment.json").read_text())
    assert environment["tensorflow"] == tf.__version__


def test_tensorboard_gets_equal_tags_for_training_and_validation(tmp_path):
    train(CNN, tmp_path, histograms=True)
    read = {split: EventAccumulator(str(tmp_path / split)) for split in ("train", "validation")}
    for accumulator in read.values():
        accumulator.Reload()
    tags = {split: set(accumulator.Tags()["tensors"]) for split, accumulator in read.items()}
    assert {"loss", "accuracy"} <= tags["train"] & tags["validation"]
    assert {f"progress/{name}" for name in ("learning_rate", "gradient_norm", "images_per_second")} <= tags["train"]
    assert {"weights/conv1/w", "weights_gradients/conv1/w"} <= tags["train"]
    assert any(tag.startswith("configuration") for tag in tags["train"])
    assert b"conv1" in read["train"].Graph().SerializeToString()
    values = [float(tf.make_ndarray(e.tensor_proto)) for e in read["validation"].Tensors("accuracy")]
    assert values == pytest.approx([validation["accuracy"] for *_, validation in measures(tmp_path)])


def test_a_full_disk_costs_the_curves_and_not_the_run(tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.summary.experimental, "write_raw_pb", full)
    result = train(MLP, tmp_path)
    assert result.epochs == 2
    assert capsys.readouterr().err.count("TensorBoard's files cannot be written") == 1


def test_a_directory_in_use_is_refused_with_its_holder(tmp_path):
    with files.locked(tmp_path), pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
        train(MLP, tmp_path)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"logdir=.*cannot be written"):
        train(MLP, tmp_path / "file" / "run")


def test_a_half_written_line_of_metrics_is_dropped_on_resuming(tmp_path):
    train(MLP, tmp_path)
    before = measures(tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3, "tra')
    train(dataclasses.replace(MLP, epochs=3), tmp_path)
    assert measures(tmp_path)[:2] == before and len(measures(tmp_path)) == 3


def test_bfloat16_stays_close_to_float32_and_keeps_float32_weights(tmp_path):
    recipe = dataclasses.replace(CNN, epochs=1)
    wide = train(recipe, tmp_path / "a")
    narrow = train(dataclasses.replace(recipe, precision="bfloat16"), tmp_path / "b")
    assert narrow.train["loss"] == pytest.approx(wide.train["loss"], rel=0.05)
    assert narrow.train["loss"] != wide.train["loss"]
    assert {leaf.dtype for leaf in tree.leaves(run.load_run(tmp_path / "b")[1])} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 0}, {"epochs": -1}, {"learning_rate": 0}, {"label_smoothing": 1.0}, {"weight_decay": 0.1}],
)
def test_settings_outside_their_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(MLP, **change)


def test_the_test_averages_the_views_that_the_recipe_names(tmp_path):
    recipe = dataclasses.replace(CNN, view_flip=True)
    result = train(recipe, tmp_path)
    _, weights, stats = run.load_run(tmp_path)
    test = made_set().test
    recipe = recipes.load_run(tmp_path)[0]
    alone = recipes.predictor(dataclasses.replace(recipe, view_flip=False))
    logits = (alone(weights, stats, test.images) + alone(weights, stats, test.images[:, :, ::-1])) / 2
    expected = np.mean(np.argmax(logits, axis=1) == test.labels)
    assert result.test["accuracy"] == pytest.approx(expected)
    averaged = recipes.predictor(recipe)(weights, stats, test.images)
    np.testing.assert_allclose(averaged, logits, atol=1e-5)
    assert not np.allclose(averaged, alone(weights, stats, test.images), atol=1e-3)


def test_views_that_are_shifted_out_of_the_picture_are_refused(tmp_path):
    with pytest.raises(ValueError, match="view_shift=8 must be below the side of a picture, 8"):
        train(dataclasses.replace(CNN, view_shift=8), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("jit", [True, False])
def test_a_last_step_that_overflows_the_weights_is_no_result(tmp_path, jit):
    """Loss and gradients of the only step are finite; so are the weights; only the validation shows what it did."""
    one = dataclasses.replace(MLP, jit=jit, optimizer="sgd", epochs=1, steps_per_epoch=1, schedule="constant")
    with pytest.raises(
        FloatingPointError,
        match=r"validation of epoch 1: .* logits are not finite; run\.replay.*; there is no check",
    ):
        train(dataclasses.replace(one, learning_rate=3e38, ema_decay=0.0, warmup_epochs=0.0), tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir()) and not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("name", ["learning_rate", "clip_norm", "warmup_epochs", "weight_decay"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39, -1.0])
def test_numbers_that_float32_does_not_hold_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name}={re.escape(str(value))} must be .*finite"):
        dataclasses.replace(MLP, **{name: value})


@pytest.mark.parametrize("name", ["loss", "optimizer", "schedule", "report", "resize", "precision"])
def test_names_that_do_not_exist_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}='nothing' is not one of "):
        dataclasses.replace(MLP, **{name: "nothing"})


def test_the_names_that_recipes_allow_are_those_that_exist():
    assert set(CHOICES["loss"]) == set(losses.LOSSES) and CHOICES["resize"] == pictures.RESIZES
    for name in CHOICES["optimizer"]:
        optimizer, _ = assemble.make_optimizer(dataclasses.replace(MLP, optimizer=name), 100)
        assert optimizer.init({"w": tf.Variable([1.0])})


def test_clean_with_settings_that_do_not_fit_erases_nothing(tmp_path):
    result = train(MLP, tmp_path)
    for steps in (0, 4):  # of a whole pass, and of an epoch that is not one
        with pytest.raises(ValueError, match="batch_size=1000 must be between 1 and the 56 training examples"):
            train(dataclasses.replace(MLP, batch_size=1000, steps_per_epoch=steps), tmp_path, clean=True)
    assert train(MLP, tmp_path) == result


def test_settings_that_do_not_fit_leave_the_directory_free(tmp_path):
    with pytest.raises(ValueError, match="batch_size=1000"):
        train(dataclasses.replace(MLP, batch_size=1000), tmp_path)
    assert train(MLP, tmp_path).epochs == MLP.epochs


@pytest.mark.parametrize("patience", [0, 1])
def test_a_complete_run_keeps_its_measures_when_its_checkpoints_are_gone(tmp_path, capsys, patience):
    """Also one that ended by patience, before its last epoch. A longer one is not trained anew in silence."""
    recipe = dataclasses.replace(MLP, patience=patience, epochs=30 if patience else 2, learning_rate=1e-9)
    result = train(recipe, tmp_path)
    before = measures(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    assert train(recipe, tmp_path) == result and measures(tmp_path) == before
    assert "is complete" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"its checkpoints are gone: .*clean=True"):
        train(dataclasses.replace(recipe, epochs=40, patience=0), tmp_path)
    assert measures(tmp_path) == before and (tmp_path / "result.json").exists()


def test_a_run_that_goes_on_is_read_from_its_newest_checkpoint(tmp_path, monkeypatch):
    train(dataclasses.replace(MLP, ema_decay=0.0), tmp_path)
    with monkeypatch.context() as patch, pytest.raises(run.Stopped):
        interrupt_at_block(patch, 2, signal.SIGTERM)
        train(dataclasses.replace(MLP, ema_decay=0.0, epochs=9, steps_per_loop=1), tmp_path)
    assert not (tmp_path / "result.json").exists()
    newest = checkpoint.read(checkpoint.checkpoints(tmp_path / "checkpoints")[-1])[0]["weights"]
    np.testing.assert_array_equal(run.load_run(tmp_path)[1]["dense1"]["w"], newest["dense1"]["w"])


def test_config_json_that_is_gone_or_damaged_is_refused(tmp_path):
    train(MLP, tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged .*clean=True"):
        train(MLP, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoints.* but no config\.json"):
        train(MLP, tmp_path)
    assert train(MLP, tmp_path, clean=True).epochs == 2


def test_only_a_run_that_reports_the_best_keeps_it(tmp_path):
    for name in ("last", "best"):
        train(dataclasses.replace(MLP, report=name), tmp_path / name)
        assert (tmp_path / name / "checkpoints" / checkpoint.BEST).exists() == (name == "best")


def test_two_logits_have_the_measures_of_one():
    splits, one = made_set(classes=2), np.random.default_rng(0).normal(size=[20, 1]).astype(np.float32)
    two = np.concatenate([np.ones_like(one), one + 1], axis=1)
    task = own_task(splits, loss_fn=lambda *_: None)
    single, double = (report.measure(task, logits, splits.test, "test") for logits in (one, two))
    assert single.keys() == double.keys() and "pearson" in double
    np.testing.assert_allclose(list(single.values()), list(double.values()), rtol=1e-5)


@pytest.mark.parametrize("count", [3, 400])
def test_the_confusion_of_many_classes_is_drawn_in_bounds(count):
    drawing = plots.confusion_matrix(np.eye(count, dtype=int), [f"class {i}" for i in range(count)])
    assert max(drawing.get_size_inches()) < 24
    assert len(drawing.axes[0].texts) == (9 if count == 3 else 0)
    assert 3 <= len(drawing.axes[0].get_xticks()) <= 30


# Anyone's network, loss and optimizer


def own_forward(weights, stats, images, *, training, seed=None):
    return tf.reshape(tf.cast(images, tf.float32), [-1, 64]) / 255 @ weights["w"], stats


def own_task(splits=None, **changes):
    """Softmax regression that nothing in tfcore knows."""

    def init(seed):
        shape = [64, len(splits.class_names)]
        return {"w": 0.1 * tf.random.stateless_normal(shape, seed)}, {}

    splits = splits or made_set()
    fields = {"init": init, "forward": own_forward, "loss": None, "optimizer": optimizers.adam(1e-2), **changes}
    loss_fn = fields.pop("loss_fn", None)
    fields["loss"] = fields["loss"] or (None if loss_fn else losses.softmax_cross_entropy)
    return run.Task(splits, loss_fn=loss_fn, **fields)


def test_any_task_has_what_a_recipe_has(tmp_path, monkeypatch, capsys):
    """Killed and resumed it ends with the same bytes; its curves, export and report are there; measures are its own."""
    made = own_task(config={"width": 3}, measures=lambda logits, labels: {"largest": logits.max()})
    arguments = {"epochs": 3, "batch_size": 16, "steps_per_loop": 1}
    result = run.train(made, tmp_path / "whole", **arguments)
    with monkeypatch.context() as patch, pytest.raises(run.Stopped):
        interrupt_at_block(patch, 4, signal.SIGINT)
        run.train(made, tmp_path / "cut", **arguments)
    run.train(made, tmp_path / "cut", **arguments)
    assert final_bytes(tmp_path / "cut") == final_bytes(tmp_path / "whole")
    assert result.test["accuracy"] > 0.6 and "largest" in result.validation
    assert (tmp_path / "whole" / "plots" / "curves.png").exists() and (tmp_path / "whole" / "report.html").exists()
    config, weights, _ = run.load_run(tmp_path / "whole")
    assert config["config"] == {"width": 3} and weights["w"].shape == (64, 3)
    assert "w          64x3" in capsys.readouterr().out
    with pytest.raises(ValueError, match="width was 3, now 4"):
        run.train(own_task(config={"width": 4}), tmp_path / "whole", **arguments)
    with pytest.raises(ValueError, match="it has other data"):
        run.train(own_task(made_set(n=97), config={"width": 3}), tmp_path / "whole", **arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss_fn": lambda w, s, b, seed: w["w"]}, r"loss_fn: it must return loss, \(metrics, new_stats\)"),
        ({"loss": lambda logits, labels: tf.reduce_mean(logits)}, r"loss: it returned \[\] for labels \[16\]"),
        ({"loss": lambda logits, labels: logits}, r"loss: it returned \[16, 3\] for labels \[16\]"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_erased(tmp_path, changes, words):
    arguments = {"epochs": 1, "batch_size": 16}
    result = run.train(own_task(), tmp_path, **arguments)
    with pytest.raises(ValueError, match=words):
        run.train(own_task(**changes), tmp_path, clean=True, **arguments)
    assert run.train(own_task(), tmp_path, **arguments) == result


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"forward": 3}, "forward is 3, not a function"),
        ({"optimizer": "adam"}, "optimizer must be an Optimizer"),
        ({"config": {"a": np.zeros(2)}}, "config must be made of JSON values"),
        ({"config": {"a": float("nan")}}, "config must be made of JSON values"),
        ({"augment": "flip"}, "augment is 'flip', not a function"),
    ],
)
def test_a_task_checks_itself(changes, words):
    with pytest.raises(ValueError, match=words):
        own_task(**changes)


def test_a_task_without_a_loss_is_refused_and_a_repr_is_short():
    with pytest.raises(ValueError, match="neither loss nor loss_fn"):
        run.Task(made_set(), own_forward, own_forward, None, optimizers.adam())
    assert len(repr(own_task())) < 400


@pytest.mark.parametrize("argument", [{"epochs": 0}, {"batch_size": 0}, {"patience": -1}, {"report": "first"}])
def test_arguments_of_a_run_are_refused_by_name(tmp_path, argument):
    with pytest.raises(ValueError, match=f"{next(iter(argument))}="):
        run.train(own_task(), tmp_path, **{"epochs": 1, "batch_size": 16, **argument})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [2, 3])
def test_a_diverged_validation_says_what_is_left_and_what_helps(tmp_path, classes):
    """Before any measure of two classes is taken of NaN."""

    def forward(weights, stats, images, *, training, seed=None):
        return own_forward(weights, stats, images, training=training)[0] * (1.0 if training else np.nan), stats

    with pytest.raises(
        FloatingPointError, match=r"validation of epoch 1: .* logits are not finite; run\.replay.*; there is no"
    ):
        run.train(own_task(made_set(classes=classes), forward=forward), tmp_path, epochs=1, batch_size=16)


def test_the_reported_loss_is_the_plain_one(tmp_path):
    """Label smoothing is only in what is minimized."""
    recipe = dataclasses.replace(CNN, label_smoothing=0.3, augment=Augment(), epochs=1)
    result = train(recipe, tmp_path)
    recipe, weights, stats, _ = recipes.load_run(tmp_path)
    test = made_set().test
    plain = training.summarize(recipes.predictor(recipe)(weights, stats, test.images), test.labels)["loss"]
    assert result.test["loss"] == pytest.approx(plain)
    (event,) = measures(tmp_path)
    assert event[2].keys() == {"loss", "accuracy"}


def test_an_environment_that_changed_is_noted_at_each_start(tmp_path, monkeypatch, capsys):
    train(MLP, tmp_path)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    train(dataclasses.replace(MLP, epochs=3), tmp_path)
    first, second = json.loads((tmp_path / "environment.json").read_text())
    assert first["changed"] == [] and second["changed"] == ["XLA_FLAGS: , now --xla_cpu_enable_fast_math=false"]
    assert "not the same bits: XLA_FLAGS" in capsys.readouterr().err


def test_drawing_does_not_depend_on_the_backend_that_someone_named(tmp_path):
    code = "from tfcore import plots; plots.save('.', {'a': plots.curves([])})"
    environment = {**os.environ, "MPLBACKEND": "nowhere"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_terminal_a_long_epoch_says_something_every_half_minute(capsys):
    """A block takes 8 seconds by this clock: a line after 32 seconds, and none at the end of the epoch."""
    now = iter(range(0, 1000, 8))
    plan = run.Plan(2, 10, 0, 0, 1, 0, 0, "last", False, steps=6)
    with tqdm(disable=True) as bar:
        shown = console.Shown(bar, NoBoard(), None, "epoch 1/2", plan, Progress(), clock=lambda: next(now))
        progress = Progress()
        for step in range(6):
            progress = progress.after(1, {"loss": 2.0, "gradient_norm": 1.0}, 8.0)
            shown.block(progress, {"loss": 2.0, "gradient_norm": 1.0}, 1, step + 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith("epoch 1/2  step ") and "loss 2.0000" in lines[0]
    assert "images/s  left 0" in lines[0]


class NoBoard:
    def scalars(self, *args):
        pass


def test_the_command_for_tensorboard_works_as_it_stands(monkeypatch, tmp_path):
    program = tmp_path / "bin" / "tensorboard"
    program.parent.mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert console.tensorboard_command() == f"{tmp_path}/bin/python -m tensorboard.main"
    program.write_text("")
    assert console.tensorboard_command() == str(program)
    monkeypatch.chdir(tmp_path)
    assert console.tensorboard_command() == "bin/tensorboard"
