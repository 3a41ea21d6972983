"""What the flags of a sweep mean, which are refused, and the commands and the directory that they make."""

import flags

import sys
from pathlib import Path

import optuna
import pytest
import sweep
import sweep_values
from absl import flags as absl_flags

ROOT = Path(__file__).parents[2]


def parsed(*arguments, recipe="mnist_perceptron"):
    values = flags.parser(sweep.define)
    values(["sweep.py", f"--recipe={recipe}", *arguments])
    return values


def test_a_grid_is_every_combination_the_last_flag_fastest():
    values = parsed("--learning_rate=1e-2,1e-3", "--hidden=16,64+32", "--epochs=2")
    fixed, axes = sweep_values.read(values)
    assert fixed == {"epochs": "2"}
    assert [tuple(point.items()) for point in sweep.grid(values, axes)] == [
        (("hidden", h), ("learning_rate", r)) for h in ("16", "64+32") for r in ("1e-2", "1e-3")
    ]


def test_a_value_of_several_numbers_is_joined_by_plus_and_reaches_the_script_with_commas():
    assert sweep_values.arguments("fashion_cnn", {"filters": "32+64", "init": "normal", "learning_rate": 1e-05}) == [
        "--recipe=fashion_cnn", "--filters=32,64", "--init=normal", "--learning_rate=1e-05",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "low", "high", "log"),
    [
        ("--learning_rate=1e-4:1e-1", 1e-4, 1e-1, True),
        ("--learning_rate=1e-3:9e-3", 1e-3, 9e-3, False),
        ("--dropout=0:0.5", 0.0, 0.5, False),
        ("--batch_size=16:160", 16, 160, True),
    ],
)
def test_a_range_is_logarithmic_where_its_ends_differ_tenfold(text, low, high, log):
    (axis,) = sweep_values.read(parsed(text, "--sampler=tpe"))[1]
    assert (axis.low, axis.high, axis.log, type(axis.low)) == (low, high, log, type(low))
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(0)).ask()
    assert low <= axis.suggest(trial) <= high and trial.distributions[axis.name].log == log


def test_each_recipe_is_trained_by_the_script_that_offers_it():
    for recipe, name in (("fashion_perceptron", "mlp"), ("pets_best", "cnn"), ("pets_inception", "transfer")):
        words = sweep.command(recipe, Path("place"), {"epochs": "3"})
        assert words[1:] == [
            str(ROOT / "scripts" / f"train_{name}.py"),
            f"--recipe={recipe}",
            "--epochs=3",
            "--logdir=place",
        ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to try"),
        (["--epochs=2"], "nothing to try"),
        (["--learning_rate=1e-4:1e-1"], "--learning_rate is a range"),
        (["--learning_rate=1e-1:1e-4", "--sampler=tpe"], "the smaller one first"),
        (["--learning_rate=1:2:3", "--sampler=tpe"], "must be a range"),
        (["--learning_rate=1e-3,x"], "--learning_rate=x"),
        (["--learning_rate=1e-3,-1"], "learning_rate=-1"),
        (["--learning_rate=1e-3,0.001"], "must be different values"),
        (["--hidden=256,256"], "256+128"),
        (["--hidden=16,8+x"], "--hidden=8,x"),
        (["--optimizer=adam,magic"], "--optimizer=magic"),
        (["--optimizer=adamw,adam", "--weight_decay=0.1,0.2"], "needs optimizer=adamw"),
        (["--dropout=0.5:1.5", "--sampler=random"], "dropout=1.5"),
        (["--filters=32,64"], "--filters is no flag of train_mlp.py"),
    ],
)
def test_wrong_values_are_refused_before_anything_starts(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(absl_flags.Error) as error:
        sweep.main(parsed(*arguments), [])
    assert words in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_filters_that_do_not_fit_the_network_are_refused():
    with pytest.raises(absl_flags.Error, match="3 numbers, the network has 2"):
        sweep_values.read(parsed("--filters=32,16+16+16", recipe="fashion_cnn"))


def test_without_optuna_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"pip install 'tfcore\[sweep\]'"):
        sweep.main(parsed("--epochs=1,2"), [])


def test_the_usual_directory_names_the_flags_and_tells_sweeps_apart():
    def directory(*arguments):
        values = parsed(*arguments)
        fixed, axes = sweep_values.read(values)
        return sweep.default_directory(sweep.settings_of(values, fixed, axes), axes)

    first = directory("--learning_rate=1e-2,1e-3", "--jobs=2", "--data_dir=here")
    assert str(first).startswith("logs/sweeps/mnist_perceptron-learning_rate-")
    assert first == directory("--learning_rate=1e-2,1e-3", "--trials=1")
    assert first != directory("--learning_rate=1e-2,1e-4") != directory("--learning_rate=1e-2,1e-4", "--epochs=2")
