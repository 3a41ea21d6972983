"""What is loaded of a run: the recipe's network, whole and finite, or every bad path in one sentence."""

import flags

import dataclasses
import functools

import evaluate
import numpy as np
import predict
import pytest
import replay
import show_convolutions
import train_mlp
import training_flags
from PIL import Image

from tfcore import checkpoint, recipes, run, tree
from tfcore.data import Arrays, Splits, load
from tfcore.models import cnn, mlp, transfer as network
from tfcore.recipes import Recipe, finished, stages, trunks
from tfcore.run import blackbox
from tfcore.run.directory import describe

CONFIG = cnn.Config((28, 28, 1), ((2,),), hidden=(3,), classes=10, batch_norm=True)
RECIPE = Recipe("small", "digits", CONFIG, batch_size=8, epochs=1, validation=5, learning_rate=0.1)


@functools.cache
def exported():
    """Weights, stats and config of an export, as arrays."""
    part = Arrays(np.zeros([9, 28, 28, 1], np.uint8), np.arange(9, dtype=np.int32))
    splits = Splits(part, part, part, tuple("0123456789"), "digits")
    config = describe(recipes.task(RECIPE, splits), run.Plan(**recipes.plan(RECIPE)))
    weights, stats = cnn.init(3, CONFIG)
    return tree.map(np.asarray, weights), tree.map(np.asarray, stats), config


def edited(place, *, changes=None, gone=(), stats=None, **config):
    """Writes the export of a run with other leaves, without some, with other facts."""
    weights, own_stats, facts = exported()
    flat = {**tree.flatten(weights), **(changes or {})}
    weights = tree.unflatten({path: leaf for path, leaf in flat.items() if path not in gone})
    (place / "export").mkdir(parents=True)
    stats = own_stats if stats is None else stats
    checkpoint.export_weights(place / "export" / "weights.safetensors", weights, stats, metadata={**facts, **config})
    return place


LOGITS = {"logits/w": np.zeros([3, 12], np.float32), "logits/b": np.zeros(12, np.float32)}
INFINITE = {"dense1/b": np.array([0, np.nan, np.inf], np.float32)}
MISSING, MORE = "missing in the file", "in the file, not in the model"
BROKEN = {
    "bias": ({"gone": ["dense1/b", "conv1/norm/offset"]}, [f"dense1/b: {MISSING}", f"conv1/norm/offset: {MISSING}"]),
    "extra": ({"changes": {"dense2/w": np.zeros(2)}}, [f"dense2/w: {MORE}"]),
    "int8": ({"changes": {"dense1/b": np.zeros(3, np.int8)}}, ["dense1/b: file has int8, model wants float32"]),
    "logits": (
        {"changes": LOGITS},
        ["logits/w: file has 3x12, model wants 3x10", "logits/b: file has 12, model wants 10"],
    ),
    "nan": (
        {"changes": INFINITE, "stats": {"other": np.full(2, np.nan, np.float32)}},
        ["dense1/b: 2 of 3 numbers are not finite", "other: 2 of 2 numbers", f"other: {MORE}", MISSING],
    ),
    "names": ({"class_names": ["a", "b"]}, ["10 logits for the 2 classes a, b"]),
    "no recipe": ({"config": {}}, ["'model'"]),
    "numbers for names": (
        {"class_names": list(range(10))},
        ["a recipe ('class_names' is missing or wrong)"],
    ),
    "no facts": ({"class_names": None}, ["was not written by a run (class_names"]),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_weights_that_are_not_the_network_s_are_refused_with_every_path(kind, tmp_path):
    changes, words = BROKEN[kind]
    with pytest.raises(ValueError) as error:
        recipes.load_run(edited(tmp_path / "run", **changes))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_a_whole_export_is_loaded(tmp_path):
    recipe, weights, stats, _ = recipes.load_run(edited(tmp_path / "run"))
    assert recipe == RECIPE
    assert tree.mismatches({"w": weights, "s": stats}, dict(zip("ws", cnn.init(0, CONFIG)))) == []


def test_another_network_s_weights_are_refused(tmp_path):
    weights, stats = mlp.init(0, mlp.Config((28, 28, 1), (4,), 10))
    (tmp_path / "export").mkdir()
    path = tmp_path / "export" / "weights.safetensors"
    checkpoint.export_weights(path, weights, stats, metadata=exported()[2])
    with pytest.raises(ValueError, match=r"conv1/w: missing in the file.*dense1/w: file has 784x4, model wants 338x3"):
        recipes.load_run(tmp_path)


@pytest.mark.parametrize("script", [evaluate, predict, show_convolutions])
def test_scripts_measure_and_write_nothing_with_a_broken_export(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    edited(tmp_path / "run", gone=["dense1/b"])
    Image.new("L", (28, 28)).save("x.png")
    values = flags.parser(script.define)
    values([script.__name__, "--run=run"])
    with pytest.raises(ValueError, match="dense1/b: missing in the file"):
        script.main(values, ["x.png"])
    assert capsys.readouterr().out == "" and {path.name for path in tmp_path.iterdir()} == {"run", "x.png"}


def test_a_trunk_that_is_not_finite_is_refused(tmp_path):
    trunk = cnn.Config((12, 12, 1), ((2,),), top=False)
    config = network.fit(network.Config(trunk, mlp.Config(hidden=(3,))), image_shape=(12, 12, 1), classes=2)
    weights, stats = cnn.init(0, trunk)
    weights["conv1"]["w"][0, 0, 0, 1].assign(np.nan)
    checkpoint.export_weights(tmp_path / "a.safetensors", weights, stats)
    with pytest.raises(ValueError, match="does not fit the trunk: conv1/w: 1 of 18 numbers are not finite"):
        trunks.load_trunk(config, tmp_path / "a.safetensors")


def test_nothing_is_drawn_to_compare():
    """The shapes of a large network cost no memory."""
    huge = mlp.Config((1000, 1000, 3), hidden=(10**6,), classes=2)  # 12 TB
    problems = finished.unfit(huge, {"dense1": {"w": np.zeros(2, np.float32)}}, {})
    assert problems[-1] == "dense1/w: file has 2, model wants 3000000x1000000"


# The command that replays


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The directory of a run by command that has stopped, and its error."""
    place = tmp_path_factory.mktemp("stopped") / "a run"
    values = flags.parser(train_mlp.define)
    values(["train_mlp.py", "--dataset=digits", "--learning_rate=1e30", "--jit=off", f"--logdir={place}", "--epochs=2"])
    with pytest.raises(FloatingPointError) as error:
        train_mlp.main(values, [])
    return place, str(error.value)


def test_a_run_that_stops_prints_the_command_that_replays_it(stopped, capsys):
    place, message = stopped
    assert f"; python scripts/replay.py --run='{place}' takes it again, op by op; " in message
    values = flags.parser(replay.define)
    values(["replay.py", f"--run={place}"])
    replay.main(values, [])
    out = capsys.readouterr().out
    assert f"{place} stopped at step " in out and "the first operation whose output is not finite is " in out


def test_a_black_box_of_no_recipe_says_how_to_replay_it(stopped, tmp_path):
    facts = (stopped[0] / "stopped" / "stopped.json").read_text().replace('"kind": "mlp"', '"kind": "own"')
    copied = tmp_path / "run" / "stopped"
    copied.mkdir(parents=True)
    for path in (stopped[0] / "stopped").iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    (copied / "stopped.json").write_text(facts)
    with pytest.raises(ValueError, match=r"is not a run of a recipe .*: call run\.replay\(task, run_dir\)"):
        recipes.replay(tmp_path / "run")


def test_the_schedule_of_a_replay_is_that_of_the_run(stopped):
    """It depends on the number of examples, which the black box knows without the data."""
    facts, batch, _ = blackbox.read(stopped[0])
    assert facts["train_examples"] == len(load("digits", validation=5000).train.labels) and batch.images.shape[0] == 1


def test_check_numerics_is_a_flag_and_another_run():
    values = flags.parser(train_mlp.define)
    values(["train_mlp.py", "--check_numerics"])
    assert training_flags.options_of(values)["check_numerics"] is True
    logdir = training_flags.logdir_of(values, RECIPE, RECIPE)
    assert logdir.name == "digits-check_numericsTrue-seed0"


# Transfer in stages


@pytest.fixture(scope="module")
def moved():
    """A recipe of a trunk and a head, the trunk, and its data."""
    trunk = cnn.Config((8, 8, 1), ((2,),), batch_norm=True, top=False)
    config = network.fit(network.Config(trunk, mlp.Config(hidden=(3,))), image_shape=(8, 8, 1), classes=2)
    part = Arrays(np.arange(512, dtype=np.uint8).reshape(8, 8, 8, 1), np.arange(8, dtype=np.int32) % 2)
    recipe = Recipe("moved", "made", config, batch_size=4, epochs=1, validation=1, steps_per_loop=2)
    return (
        recipe,
        trunks.Trunk(*cnn.init(0, trunk), (1 / 255, 0.0), "made"),
        Splits(part, part, part, ("a", "b"), "made"),
    )


@pytest.mark.parametrize("copies", [0, 1], ids=["pictures", "features"])
def test_a_stage_that_stops_is_replayed_without_the_trunk_s_data(copies, moved, tmp_path, capsys):
    recipe, trunk, splits = moved
    recipe = dataclasses.replace(recipe, learning_rate=1e38, augment_copies=copies)
    with pytest.raises(FloatingPointError, match=rf"run\.replay\(task, '{tmp_path}/head'\)"):
        stages.train(recipe, tmp_path, trunk, splits)
    assert recipes.replay(tmp_path / "head") is not None
    assert "the first operation whose output is not finite" in capsys.readouterr().out


def test_a_profile_that_the_second_stage_cannot_hold_is_refused_before_the_first(moved, tmp_path):
    recipe, trunk, splits = moved
    longer = dataclasses.replace(recipe, epochs=2)  # 4 steps, the second stage has 2
    with pytest.raises(ValueError, match="profile=2:3 must go up, from 0 on to 2 at most"):
        stages.train(longer, tmp_path / "run", trunk, splits, fine_tune=recipe, profile=(2, 3))
    assert not (tmp_path / "run").exists()
    stages.train(longer, tmp_path / "run", trunk, splits, profile=(2, 3))
    assert (tmp_path / "run" / "head" / "train" / "plugins" / "profile").is_dir()


def test_the_export_of_trunk_and_head_is_compared_as_a_whole(moved, tmp_path):
    recipe, trunk, splits = moved
    stages.train(recipe, tmp_path, trunk, splits)
    assert recipes.load_run(tmp_path)[0].model == recipe.model
    assert recipes.load_run(tmp_path / "head")[0].model == recipe.model.head
    path = tmp_path / "export" / "weights.safetensors"
    weights, stats, facts = checkpoint.import_weights(path)
    del weights["head"]["logits"]["b"], stats["trunk"]["conv1"]["mean"]
    checkpoint.export_weights(path, weights, stats, metadata=facts)
    with pytest.raises(ValueError, match=r"head/logits/b: missing in the file; trunk/conv1/mean: missing in the file$"):
        recipes.load_run(tmp_path)
