"""The benchmark: its processes, its figures and its table, and that its sides do the same work. No test takes time."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import benchmark
import benchmark_jobs
import benchmark_keras
import benchmark_process
import benchmark_table
import benchmark_tfcore
import benchmark_works
from benchmark_jobs import Options, Work
from benchmark_works import WORKS
from sklearn.datasets import load_digits

from tfcore import recipes
from tfcore.data import Arrays
from tfcore.models import cnn, mlp

SCRIPTS = Path(__file__).parents[2] / "scripts"
FAKE = """
    import os
    import sys
    sys.path.insert(0, {scripts!r})
    from benchmark_process import serve

    def train(job):
        print("a library says something")
        steps = iter(range(100))

        def epoch():
            number = next(steps)
            if job["side"] == "weak" and number == 1:
                sys.exit("no more memory")
            return {{"loss": number + job["start"]}}

        return {{"step": lambda: {{"loss": job["start"], "pid": os.getpid()}}, "epoch": epoch}}

    serve({{"train": train}}, {{"fake": "1.0"}})
"""


@pytest.fixture
def fake(tmp_path):
    """The command line of a side that counts."""
    path = tmp_path / "fake.py"
    path.write_text(textwrap.dedent(FAKE.format(scripts=str(SCRIPTS))))
    return [sys.executable, str(path)]


def test_a_side_answers_each_word_and_ends_with_the_block(fake):
    with benchmark_process.side("one", fake, {"kind": "train", "side": "one", "start": 5}) as ask:
        ready, first = ask("ready"), ask("step")
        assert first["loss"] == 5 and first["seconds"] >= 0
        assert 0 < ready["since_start"] < first["since_start"]
        assert [ask("epoch")["loss"] for _ in range(3)] == [5, 6, 7]
        memory = ask("memory")
        assert memory["versions"]["fake"] == "1.0" and 1 < memory["peak_mb"] < 1000
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)


def test_sides_take_turns_and_the_warm_up_does_not_count(fake):
    job = {"kind": "train", "start": 10}
    raw = benchmark_process.compare({"a": fake, "b": fake}, job, "epoch", 3, first="step")
    assert list(raw) == ["a", "b"]
    assert [answer["loss"] for answer in raw["a"]["rounds"]] == [11, 12, 13]
    figures = benchmark_table.figures(raw["a"])
    assert figures["loss"] == 13 and figures["first_step_s"] == pytest.approx(
        raw["a"]["first"]["since_start"], abs=0.01
    )
    assert figures["min"] <= figures["median"] <= figures["max"]


def test_a_side_that_dies_is_named_in_one_line_and_the_others_go_on(fake, tmp_path):
    said = []
    broken = [sys.executable, str(tmp_path / "missing.py")]
    sides = {"a": fake, "weak": fake, "broken": broken}
    raw = benchmark_process.compare(sides, {"kind": "train", "start": 0}, "epoch", 2, report=said.append)
    assert list(raw) == ["a"] and len(raw["a"]["rounds"]) == 2
    assert len(said) == 2
    assert said[0].startswith("broken ended with status 2: ") and "missing.py" in said[0]
    assert said[1] == "weak ended with status 1: no more memory"


def row(**changes):
    ours = {"median": 0.5, "min": 0.4, "max": 0.625, "loss": 0.1, "peak_mb": 600.0, "first_step_s": 4.0}
    theirs = {"median": 3.0, "min": 2.9, "max": 120.0, "loss": 0.102, "peak_mb": 1200.0, "first_step_s": 5.0}
    sides = {"tfcore": ours, "keras": theirs}
    return {
        "work": "w", "unit": "an epoch", "measure": "s", "sides": sides, "ratios": benchmark_table.ratios(sides),
        "targets": {"keras": 6.5}, "check": "loss", "differs": [], "machine": "m", "versions": {"keras": "3"},
    } | changes  # fmt: skip


def test_median_and_spread():
    assert benchmark_table.spread([3.0, 1.0, 9.0, 2.0, 4.0]) == {"median": 3.0, "min": 1.0, "max": 9.0}
    assert benchmark_table.spread([1.0, 2.0])["median"] == 1.5


def test_the_table_has_a_line_for_each_comparison():
    text = benchmark_table.table([row()])
    cells = "| w, an epoch | 0.5 s (0.4 to 0.625) | Keras | 3 s (2.9 to 120) | 6.00x | 6.5x | loss 0.1, 0.102 |"
    assert cells in text.splitlines()
    assert text.splitlines()[-1] == "Median (least to most). Bold: the target is reached. Machine: m; keras 3."


def test_what_is_reached_is_bold_and_what_differs_is_marked():
    text = benchmark_table.table([row(targets={"keras": 5.0}, differs=["keras"])])
    assert "| **6.00x** | 5x | loss 0.1, 0.102 **(differs)** |" in text
    printed = benchmark_table.report(row(differs=["keras"], images=1000))
    assert "target 6.5x: missed, the result differs" in printed and "2,000 images/s" in printed
    assert "peak 600 MB" in printed and "first step after 4.0 s" in printed


def test_a_row_may_be_compared_with_a_limit_or_with_itself():
    speed = benchmark_table.lines(row(share=0.6, share_target=0.85, limit_gflops=150.0))[-1]
    assert (speed.ours, speed.theirs, speed.ratio, speed.target) == ("90 GFLOP/s", "150 GFLOP/s", 0.6, 0.85)
    limit = benchmark_table.lines(row(ratios={}, at_most=0.5))[-1]
    assert (limit.theirs, limit.ratio, benchmark_table.met(limit)) == ("0.5 s", 1.0, True)
    flat = benchmark_table.lines(row(ratios={}, flat={"images/s": {"10": 900.0, "100": 1000.0}}, flat_target=0.9))[-1]
    assert (flat.ours, flat.ratio, benchmark_table.met(flat)) == ("900 to 1,000 images/s", 0.9, True)


def test_losses_agree_within_the_tolerance():
    sides = {"tfcore": {"loss": 1.0}, "near": {"loss": 1.04}, "far": {"loss": 1.2}, "broken": {"loss": float("nan")}}
    assert benchmark_table.differing(sides, 0.05) == ["far", "broken"]
    assert benchmark_table.differing({"tfcore": {"loss": 0.001}, "small": {"loss": 0.009}}, 0.05) == []


def test_the_share_of_a_matrix_product_by_hand():
    """784-256-256-10: three passes of 2 (784 256 + 256 256 + 256 10), less the first layer's once."""
    recipe = recipes.RECIPES["mnist_perceptron"]
    weights, stats = mlp.init(0, recipe.model)
    cost = benchmark_jobs.training_flops(recipe, weights, stats)
    assert cost == 3 * 2 * (784 * 256 + 256 * 256 + 256 * 10) - 2 * 784 * 256
    assert benchmark_table.share(cost, 1000, 0.5, 10.0) == pytest.approx(cost * 1000 / 0.5 / 10e9)


def test_the_first_convolution_counts_twice():
    recipe = recipes.RECIPES["fashion_cnn"]
    weights, stats = cnn.init(0, recipe.model)
    first, second = 2 * 9 * 1 * 64 * 26 * 26, 2 * 9 * 64 * 64 * 11 * 11
    dense = 2 * (5 * 5 * 64 * 64 + 64 * 10)
    assert benchmark_jobs.training_flops(recipe, weights, stats) == 2 * first + 3 * (second + dense)


def test_the_network_in_words():
    assert benchmark_jobs.network(recipes.RECIPES["fashion_cnn"]) == [
        ["conv", 64, "relu"], ["pool"], ["conv", 64, "relu"], ["pool"],
        ["flatten"], ["dense", 64, "linear"], ["dense", 10, "linear"],
    ]  # fmt: skip
    assert benchmark_jobs.network(recipes.RECIPES["mnist_perceptron"]) == [
        ["flatten"], ["dense", 256, "relu"], ["dense", 256, "relu"], ["dense", 10, "linear"],
    ]  # fmt: skip
    for name in ("fashion_cnn_best", "fashion_perceptron", "pets_best"):
        with pytest.raises(ValueError, match="no network like"):
            benchmark_jobs.network(recipes.RECIPES[name])


def test_every_work_names_sides_that_exist():
    for work in WORKS.values():
        assert set(work.targets) | set(work.memory) | set(work.slow) <= set(benchmark_jobs.SIDES)
        assert work.recipe in recipes.RECIPES
    for script in benchmark_jobs.SIDES.values():
        assert (SCRIPTS / script).exists()


def test_sides_are_those_wanted_and_there():
    work = WORKS["mnist_perceptron"]
    assert list(benchmark_jobs.commands(work, Options())) == ["tfcore", "keras", "keras_jit"]
    there = Options(peers_python="/p/bin/python")
    commands = benchmark_jobs.commands(work, there)
    assert list(commands) == ["tfcore", "keras", "keras_jit", "torch", "jax"]
    assert commands["jax"] == ["/p/bin/python", str(SCRIPTS / "benchmark_jax.py")]
    only = dataclasses.replace(there, sides=("torch",))
    assert list(benchmark_jobs.commands(work, only)) == ["tfcore", "torch"]
    assert list(benchmark_jobs.commands(WORKS["prediction"], only)) == ["tfcore"]
    assert "jax" not in benchmark_jobs.commands(WORKS["fashion_cnn"], dataclasses.replace(there, quick=True))


def test_rows_of_works_that_were_not_run_stay():
    kept = [{"work": "scaling"}, {"work": "fashion_cnn", "old": True}, {"work": "fashion_cnn_memory"}]
    rows = benchmark.merged(kept, [{"work": "fashion_cnn"}, {"work": "mnist_perceptron"}])
    assert rows == [{"work": "mnist_perceptron"}, {"work": "fashion_cnn"}, {"work": "fashion_cnn_memory"},
                    {"work": "scaling"}]  # fmt: skip


def test_results_and_table_are_written_between_the_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "benchmarks.json")
    monkeypatch.setattr(benchmark, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"before\n{benchmark.BEGIN}\nold\n{benchmark.END}\nafter\n")
    benchmark.write([row()])
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold" not in text and "6.00x" in text
    assert benchmark_table.read_rows(tmp_path / "benchmarks.json") == [row()]
    with pytest.raises(ValueError, match="no place for the table"):
        benchmark_table.placed("no marks", benchmark.BEGIN, benchmark.END, "")


def test_rows_of_an_earlier_form_are_left_out(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([{"work": "a", "seconds": {}}, row()]))
    assert [r["work"] for r in benchmark_table.read_rows(tmp_path / "rows.json")] == ["w"]
    assert benchmark_table.read_rows(tmp_path / "none.json") == []


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(benchmark.flags.Error, match="--works=nothing: choose from mnist_perceptron, fashion_cnn"):
        benchmark.chosen("works", ["fashion_cnn", "nothing"], WORKS)
    assert benchmark.chosen("works", None, WORKS) == []


@pytest.mark.slow
def test_the_script_refuses_unknown_names_with_status_2():
    for argument, choice in (("--works=nothing", "scaling"), ("--sides=nothing", "torch")):
        command = [sys.executable, str(SCRIPTS / "benchmark.py"), argument, "--nowrite"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and argument in done.stderr and choice in done.stderr
        assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


SMALL_CNN = dataclasses.replace(
    recipes.RECIPES["fashion_cnn"],
    model=cnn.Config((12, 12, 1), ((8,), (16,)), hidden=(16,), hidden_activation="linear"),
    batch_size=32,
)
SMALL_MLP = dataclasses.replace(
    recipes.RECIPES["mnist_perceptron"], model=mlp.Config((12, 12, 1), (32,)), batch_size=32
)
SIGMOID = dataclasses.replace(
    recipes.RECIPES["pets_cnn24"],
    model=cnn.Config((12, 12, 1), ((8,),), hidden=(16, 16), classes=1, init="glorot_uniform"),
    batch_size=32,
)
SMALL = {"cnn": SMALL_CNN, "perceptron": SMALL_MLP, "sigmoid": SIGMOID}


def digits(count, classes=10):
    """Handwritten digits with a border, 12x12, as stored pixels."""
    images, labels = load_digits(return_X_y=True)
    images = np.pad(images.reshape(-1, 8, 8, 1) * 15.9375, [(0, 0), (2, 2), (2, 2), (0, 0)])
    return Arrays(images[:count].round().astype(np.uint8), (labels[:count] % classes).astype(np.int32))


@pytest.mark.parametrize("name", SMALL)
def test_tfcore_and_keras_learn_the_same(name):
    """One batch is an epoch: then the order inside it does not matter."""
    part = digits(32, 2 if name == "sigmoid" else 10)
    with benchmark_jobs.model_job("train", SMALL[name], part) as (job, _, _):
        ours = benchmark_tfcore.train({**job, "side": "tfcore"})
        theirs = benchmark_keras.train({**job, "side": "keras"})
        for action in ("step", "epoch", "epoch", "epoch"):
            assert ours[action]()["loss"] == pytest.approx(theirs[action]()["loss"], rel=1e-3)


def test_tfcore_and_keras_predict_and_evaluate_alike():
    with benchmark_jobs.model_job("predict", SMALL_CNN, digits(70)) as (job, _, _):
        ours, theirs = benchmark_tfcore.predict(job), benchmark_keras.predict(job)
        for action in ("predict", "evaluate"):
            assert ours[action]()["loss"] == pytest.approx(theirs[action]()["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not benchmark.PEERS_PYTHON.exists(), reason="make bench-peers was not run")
@pytest.mark.parametrize("name", SMALL)
def test_all_sides_learn_the_same(name):
    work = Work(benchmark_works.train, "", {"keras": None, "keras_jit": None, "torch": None, "jax": None})
    options = Options(rounds=2, peers_python=str(benchmark.PEERS_PYTHON))
    part = digits(32, 2 if name == "sigmoid" else 10)
    with benchmark_jobs.model_job("train", SMALL[name], part) as (job, _, _):
        raw = benchmark_jobs.sides_of(work, options, job, first="step")
    assert set(raw) == {"tfcore", *work.targets}
    for answers in raw.values():
        assert answers["rounds"][-1]["loss"] == pytest.approx(raw["tfcore"]["rounds"][-1]["loss"], rel=2e-3)


def test_augmentation_of_both_sides_keeps_the_pictures_light(tmp_path):
    np.save(tmp_path / "images.npy", benchmark_jobs.generated(4, (20, 20, 3)).images)
    config = dataclasses.asdict(recipes.RECIPES["pets_best"].augment)
    job = {"folder": str(tmp_path), "calls": 2, "augment": config}
    for side in (benchmark_tfcore, benchmark_keras):
        assert side.augmentation(job)["batches"]()["loss"] == pytest.approx(127, abs=12)


def test_as_many_steps_for_every_size_of_a_mapped_file(tmp_path):
    recipe = dataclasses.replace(SMALL_MLP, batch_size=10, steps_per_loop=4, jit=False)
    benchmark_works.write_pictures(tmp_path, 400, recipe.model.image_shape)
    job = {"folder": str(tmp_path), "recipe": json.loads(json.dumps(recipes.to_dict(recipe))), "steps": 20}
    job["examples"] = {"small": 100, "large": 400}
    for side in job["examples"]:
        some = benchmark_tfcore.scale({**job, "side": side})["some"]
        assert all(np.isfinite(some()["loss"]) for _ in range(3))
