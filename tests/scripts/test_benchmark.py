"""The benchmark: its processes, its figures and its table, and that its sides do the same work. No test takes time."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmark"))
import jobs
import kernels
import materials
import ours
import process
import results
import side_keras
import side_tfcore
import sides
import table
import works
from sklearn.datasets import load_digits
from works import WORKS, Options

from tfcore import recipes
from tfcore.data import Arrays
from tfcore.models import cnn, mlp
from tfcore.quiet import tf

ROOT = Path(__file__).parents[2]
SCRIPT, PEERS_PYTHON = ROOT / "scripts" / "benchmark", ROOT / ".venv-peers" / "bin" / "python"
FAKE = f"""
import os
import sys
sys.path.insert(0, {str(SCRIPT)!r})
from process import serve

def train(job):
    print("a library says something")
    steps = iter(range(100))

    def epoch():
        number = next(steps)
        if job["side"] == "weak" and number == 1:
            sys.exit("no more memory")
        return {{"result": number + job["start"], "pid": os.getpid()}}

    return {{"epoch": epoch}}

serve({{"train": train}}, {{"fake": "1.0"}})
"""
JOB = {"kind": "train", "action": "epoch", "start": 10}


@pytest.fixture
def fake(tmp_path):
    """The command line of a side that counts."""
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return [sys.executable, str(path)]


def test_a_side_answers_each_word_and_ends_with_the_block(fake):
    with process.side("one", fake, JOB) as ask:
        ready, first, second = ask("ready"), ask("epoch"), ask("epoch")
        assert (first["result"], second["result"]) == (10, 11) and first["seconds"] >= 0
        assert 0 < ready["since_start"] < first["since_start"]
        memory = ask("memory")
        assert memory["versions"]["fake"] == "1.0" and 1 < memory["peak_mb"] < 1000
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)


def test_sides_take_turns_and_the_warm_up_does_not_count(fake):
    raw = process.in_turns({"a": fake, "b": fake}, JOB, 3)
    for side in "ab":
        assert [answer["result"] for answer in raw[side]["rounds"]] == [11, 12, 13]
    figures = results.figures(raw["a"], "s")
    assert figures["result"] == 13 and figures["min"] <= figures["median"] <= figures["max"]
    assert results.figures(raw["a"], "MB")["median"] == figures["peak_mb"]


def test_from_the_start_each_round_is_a_new_process_and_the_first_does_not_count(fake):
    raw = process.from_start({"a": fake}, JOB, 2)
    first, second = raw["a"]["rounds"]
    assert first["result"] == second["result"] == 10 and first["pid"] != second["pid"]
    assert first["seconds"] == first["since_start"]


def test_a_side_that_dies_is_named_in_one_line_and_the_others_go_on(fake, tmp_path):
    said, broken = [], [sys.executable, str(tmp_path / "missing.py")]
    raw = process.in_turns({"a": fake, "weak": fake, "broken": broken}, JOB, 2, report=said.append)
    assert list(raw) == ["a"] and len(raw["a"]["rounds"]) == 2
    assert len(said) == 2 and said[0].startswith("broken ended with status 2: ") and "missing.py" in said[0]
    assert said[1] == "weak ended with status 1: no more memory"
    assert process.from_start({"a": fake, "broken": broken}, JOB, 1, report=said.append).keys() == {"a"}


def test_the_fastest_form_that_works_is_taken_and_named(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(sides.time, "perf_counter", lambda: clock[0])

    def make(cost=5, compile=False):
        def take_steps(count):
            if compile:
                raise OSError("no compiler")
            clock[0] += cost * count
            return {"result": cost}

        return take_steps

    forms = [{}, {"cost": 3}, {"compile": True, "cost": 1}, {"cost": 4}]
    assert sides.in_best_form({"steps": 9, "trial": 2}, forms, make)["epoch"]() == {"result": 3, "form": "cost=3"}
    assert "compile=True, cost=1: no compiler" in capsys.readouterr().err
    assert sides.in_best_form({"steps": 9, "trial": 0}, forms, make)["epoch"]() == {"result": 5, "form": "plain"}
    assert sides.in_best_form({"steps": 9, "trial": 2}, [{}], make)["step"]() == {"result": 5}


def row(**changes):
    ours = {"median": 0.5, "min": 0.4, "max": 0.625, "result": 0.1, "peak_mb": 600.0, "anonymous_mb": 90.0}
    theirs = {"median": 3.0, "min": 2.9, "max": 120.0, "result": 0.102, "peak_mb": 1200.0, "form": "plain"}
    return {
        "work": "w", "unit": "an epoch", "measure": "s", "images": 450, "sides": {"tfcore": ours, "keras": theirs},
        "targets": {"keras": 6.5}, "aims": {}, "check": "loss", "machine": "m", "versions": {"keras": "3"},
    } | changes  # fmt: skip


def test_the_table_has_a_line_for_each_comparison():
    text = table.table([row()])
    cells = "| w, an epoch | 0.5 s (0.4 to 0.625) | Keras, plain | 3 s (2.9 to 120) | 6.00x | 6.5x | loss 0.1, 0.102 |"
    assert cells in text.splitlines()
    assert text.splitlines()[-1] == "Median (least to most). Bold: the target is reached. Machine: m; keras 3."
    assert "| **6.00x** | 5x |" in table.table([row(targets={"keras": 5.0})])
    assert "target 6.5x: missed" in table.report(row()) and "peak 600 MB; loss 0.1" in table.report(row())


def test_a_row_may_be_compared_with_a_limit_or_with_itself():
    speed = table.lines(row(aims={"share": 0.85}, gflop=45.0, limit_gflops=150.0))[-1]
    assert (speed.ours, speed.theirs, speed.ratio, speed.target) == ("90 GFLOP/s", "150 GFLOP/s", 0.6, 0.85)
    limit = table.lines(row(targets={}, aims={"at_most": 0.5}))[-1]
    assert (limit.theirs, limit.ratio, table.met(limit)) == ("0.5 s", 1.0, True)
    sides = {"10": {"median": 0.5, "anonymous_mb": 90.0}, "100": {"median": 0.45, "anonymous_mb": 100.0}}
    speed, memory = table.lines(row(targets={}, sides=sides, aims={"flat": 0.9}))
    assert (speed.ours, speed.ratio, table.met(speed)) == ("900 to 1,000 images/s", 0.9, True)
    assert (memory.ours, memory.ratio) == ("90 to 100 MB, not of files", 0.9)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"), [(1.0, 1.04, True), (1.0, 1.2, False), (1.0, float("nan"), False), (0.001, 0.009, True)]
)
def test_results_agree_within_a_twentieth(ours, theirs, same):
    found = table.check({"result": ours}, {"result": theirs}, {"check": "loss"})
    assert found.startswith("loss ") and ("differs" not in found) == same
    assert table.check({"result": ours}, {}, {}) == "–"  # nothing but products has no result


def test_rows_of_works_that_were_not_run_stay():
    kept = [{"work": "scaling"}, {"work": "fashion_cnn", "old": True}, {"work": "gone"}]
    rows = results.merged(kept, {"work": "fashion_cnn"}, list(WORKS))
    assert rows == [{"work": "fashion_cnn"}, {"work": "scaling"}, {"work": "gone"}]


def test_results_and_table_are_written(tmp_path):
    path, page = tmp_path / "benchmarks.json", tmp_path / "speed.md"
    page.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.write([row()], path, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold" not in text and "6.00x" in text
    assert results.read(path) == [row()] and results.read(tmp_path / "none.json") == []


def test_the_kept_rows_are_those_of_the_page():
    rows = results.read(ROOT / "docs" / "benchmarks.json")
    assert table.table(rows) in (ROOT / "docs" / "speed.md").read_text()


def test_the_products_of_a_training_step_by_hand():
    """784-256-256-10: three passes, less the first layer's once. A convolution counts where its window fits."""
    of = {name: ours.network(recipes.RECIPES[name]) for name in ("mnist_perceptron", "fashion_cnn")}
    cost = 3 * 2 * (784 * 256 + 256 * 256 + 256 * 10) - 2 * 784 * 256
    assert jobs.training_flops(of["mnist_perceptron"], (28, 28, 1)) == cost
    first, second, dense = 2 * 9 * 1 * 64 * 26 * 26, 2 * 9 * 64 * 64 * 11 * 11, 2 * (5 * 5 * 64 * 64 + 64 * 10)
    assert jobs.training_flops(of["fashion_cnn"], (28, 28, 1)) == 2 * first + 3 * (second + dense)


def test_a_network_that_the_other_sides_cannot_build_is_refused():
    for name in ("fashion_cnn_best", "fashion_perceptron", "pets_best"):
        with pytest.raises(ValueError, match="no network like"):
            ours.network(recipes.RECIPES[name])


def test_every_work_names_sides_that_exist():
    for work in WORKS.values():
        assert set(work.targets) <= set(works.SIDES) & set(table.NAMES) and work.recipe in recipes.RECIPES
    assert all((SCRIPT / script).exists() for script in works.SIDES.values())


def test_sides_are_those_wanted_and_there():
    work, there = WORKS["mnist_perceptron"], Options(peers_python="/p/bin/python", sides=("torch", "keras"))
    assert list(works.commands(work, Options())) == ["tfcore", "keras", "keras_jit", "kernels"]
    assert works.commands(work, there)["torch"] == ["/p/bin/python", str(SCRIPT / "side_torch.py")]
    assert list(works.commands(work, there)) == ["tfcore", "keras", "torch"]


@pytest.mark.slow
def test_the_script_refuses_unknown_names_with_status_2():
    for argument, choice in (("--works=nothing", "scaling"), ("--sides=nothing", "torch")):
        done = subprocess.run([sys.executable, str(SCRIPT), argument, "--nowrite"], capture_output=True, text=True)
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


@pytest.fixture
def job_of(tmp_path):
    """Makes the job of sides that train or predict a small network on handwritten digits with a border, 12 x 12."""

    def make(name, count):
        images, labels = load_digits(return_X_y=True)
        images = np.pad(images.reshape(-1, 8, 8, 1) * 15.9375, [(0, 0), (2, 2), (2, 2), (0, 0)])
        classes = 2 if name == "sigmoid" else 10
        part = Arrays(images[:count].round().astype(np.uint8), (labels[:count] % classes).astype(np.int32))
        job = jobs.network_job(SMALL[name], part, str(tmp_path), tuple("0123456789")[:classes])
        return {**job, "kind": "train", "action": "epoch", "folder": str(tmp_path), "steps": 1, "trial": 0}

    return make


def learned(job):
    """Returns the losses of tfcore's side. One batch is an epoch: then the order inside it does not matter."""
    ours = side_tfcore.train({**job, "side": "tfcore"})
    return [ours["epoch"]()["result"] for _ in range(4)]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "sigmoid")) for name in SMALL])
@pytest.mark.slow
def test_keras_learns_the_same(job_of, name):
    job = job_of(name, 32)
    for side in ("keras", "keras_jit"):
        theirs = side_keras.train({**job, "side": side})
        assert [theirs["epoch"]()["result"] for _ in range(4)] == pytest.approx(learned(job), rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not PEERS_PYTHON.exists(), reason="make bench-peers was not run")
@pytest.mark.parametrize("name", SMALL)
def test_pytorch_and_jax_learn_the_same(job_of, name):
    """In the forms that --quick takes."""
    job, options = job_of(name, 32), Options(peers_python=str(PEERS_PYTHON))
    commands = works.commands(WORKS["fashion_cnn"], options)
    raw = process.in_turns({side: commands[side] for side in works.IN_PEERS}, job, 4, warmups=0)
    for side in works.IN_PEERS:
        assert [answer["result"] for answer in raw[side]["rounds"]] == pytest.approx(learned(job), rel=2e-3)


def test_tfcore_and_keras_predict_and_evaluate_alike(job_of):
    job = job_of("cnn", 70)
    one, other = side_tfcore.predict(job), side_keras.predict(job)
    for action in ("predict", "evaluate"):
        assert one[action]()["result"] == pytest.approx(other[action]()["result"], rel=1e-4)


@pytest.mark.parametrize(("name", "precision"), [("perceptron", "float32"), ("cnn", "bfloat16")])
def test_the_kernels_alone_run_each_step_of_an_epoch(job_of, name, precision):
    job = {**job_of(name, 96), "steps": 3, "side": "kernels"}
    assert side_tfcore.train({**job, "recipe": {**job["recipe"], "precision": precision}})["epoch"]() == {}


def test_the_kernels_of_a_step_are_the_gradients_of_its_layers():
    """Against a tape: of x w, with its own output as the gradient of it."""
    x, w = (tf.random.stateless_normal(shape, [0, 0], dtype=tf.float64) for shape in ([2, 6, 6, 3], [3, 3, 3, 4]))
    _, by_weights, by_inputs = kernels.one_step([x, x], [w, w])
    with tf.GradientTape() as tape:
        tape.watch([x, w])
        half = tf.reduce_sum(tf.nn.conv2d(x, w, 1, "VALID") ** 2) / 2
    by_x, by_w = tape.gradient(half, [x, w])
    for found, wanted in ((by_weights[0], by_w), (by_weights[1], by_w), (by_inputs[0], by_x)):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert len(by_inputs) == 1  # the first layer's input needs none


def test_augmentation_of_both_sides_keeps_the_pictures_light(tmp_path):
    np.save(tmp_path / "images.npy", materials.generated(32, (20, 20, 3)).images)
    config = dataclasses.asdict(recipes.RECIPES["pets_best"].augment)
    job = {"folder": str(tmp_path), "calls": 2, "augment": config}
    for side in (side_tfcore, side_keras):
        assert side.augmentation(job)["batches"]()["result"] == pytest.approx(127, abs=12)


def test_as_many_steps_for_every_size_of_a_mapped_file(tmp_path):
    recipe = dataclasses.replace(SMALL_MLP, batch_size=10, steps_per_loop=4, jit=False)
    materials.write_pictures(tmp_path, 400, recipe.model.image_shape)
    materials.save_arrays(tmp_path, materials.generated(0, (1, 1, 1)), ours.first_weights(recipe))
    job = json.loads(json.dumps({**ours.settings(recipe), "shape": recipe.model.image_shape}))
    job |= {"folder": str(tmp_path), "steps": 20, "sizes": {"small": 100, "large": 400}}
    for side in job["sizes"]:
        some = side_tfcore.scale({**job, "side": side})["some"]
        assert all(np.isfinite(some()["result"]) for _ in range(3))
