"""Two replicas equal one: two logical devices in a process of its own, and two workers."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from launch import Workers, free_ports

from tfcore import checkpoint, distribution, run, tree
from tfcore.run import records

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKER = str(ROOT / "tests" / "faults" / "worker.py")

MIRRORED = '''
import dataclasses, json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from tfcore.quiet import tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
sys.path.insert(0, sys.argv[2])
from victims import CNN, PERCEPTRON, made_set
from tfcore import distribution, recipes, run, tree
from tfcore.data.augment import Augment
from tfcore.optimizers import Optimizer, adam
from tfcore.recipes import assemble
from tfcore.run import exhibits, records
from pathlib import Path

for name in ("of_data", "of_predictions", "of_network"):
    setattr(exhibits, name, lambda *_: {})
exhibits.projected = lambda *_: None
place = Path(sys.argv[1])
LONG = {"epochs": 10, "steps_per_epoch": 10, "steps_per_loop": 10, "schedule": "constant"}
dropping = dataclasses.replace(PERCEPTRON.model, dropout=0.3)
RECIPES = {
    "batch norm, dropout, augmented": dataclasses.replace(CNN, **LONG),
    "XLA": dataclasses.replace(PERCEPTRON, clip_norm=0.5, **LONG),
    "without batch norm": dataclasses.replace(
        PERCEPTRON, model=dropping, augment=Augment(shift=0.1, flip=True), jit=False, ema_decay=0.9, **LONG
    ),
}

def losses(name, strategy, recipe, **options):
    where = place / name / ("two" if strategy else "one")
    classes = 3 if recipe.loss.startswith("softmax") else 2
    recipes.train(recipe, where, splits=made_set(classes, 288), strategy=strategy, **options)
    return [[row[part]["loss"] for part in ("train", "validation")] for row in records.rows(where / "metrics.jsonl")]

def refusal(call):
    try:
        call()
    except (ValueError, FloatingPointError) as error:
        return f"{type(error).__name__}: {error}"

def drifting():
    """An optimizer that forgets that its replicas are to do the same."""
    fine = adam(1e-3)
    def update(weights, grads, slots, step):
        fine.update(weights, grads, slots, step)
        number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
        weights["logits"]["b"].assign_add(1e-6 * number * tf.ones_like(weights["logits"]["b"]))
    return Optimizer(fine.init, update)

def quick(strategy):
    wild = dataclasses.replace(PERCEPTRON, learning_rate=1e37)
    task = dataclasses.replace(assemble.task(PERCEPTRON, made_set(3)), optimizer=drifting())
    return {
        "not finite": [refusal(lambda: losses("wild", s, wild)) for s in (None, strategy)],
        "odd": refusal(lambda: losses("odd", strategy, dataclasses.replace(wild, batch_size=15))),
        "numerics": refusal(lambda: losses("odd", strategy, wild, check_numerics=True)),
        "drifted": refusal(lambda: run.train(task, place / "drifted", epochs=2, batch_size=16, strategy=strategy)),
    }

def slow(strategy):
    more = dataclasses.replace(RECIPES["XLA"], epochs=11)
    return {
        "resumed": [losses("XLA", None, more)[-1], losses("XLA", strategy, more)[-1]],
        "environment": [start["replicas"] for start in records.read_json(place / "XLA/two/environment.json")],
    }

names, rest = (["XLA", "without batch norm"], slow) if "slow" in sys.argv else (list(RECIPES)[:1], quick)
with distribution.started("mirrored") as strategy:
    found = {name: [losses(name, s, RECIPES[name]) for s in (None, strategy)] for name in names}
    found |= rest(strategy)
print(json.dumps(found))
'''


def printed(place, *options):
    """What MIRRORED prints, in a process of its own: a device is divided before TensorFlow starts."""
    command = [sys.executable, "-c", MIRRORED, str(place), str(ROOT / "tests" / "faults"), *options]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    return printed(tmp_path_factory.mktemp("mirrored"))


def are_alike(one, two):
    assert len(one) == 10 and one != [one[0]] * 10
    for ours, wanted in zip(two, one, strict=True):
        assert ours == pytest.approx(wanted, rel=1e-4)


def test_two_replicas_have_the_losses_of_one_over_100_steps(mirrored):
    are_alike(*mirrored["batch norm, dropout, augmented"])


@pytest.mark.slow
def test_also_under_xla_without_batch_norm_and_when_they_go_on(tmp_path):
    found = printed(tmp_path, "slow")
    are_alike(*found["XLA"])
    are_alike(*found["without batch norm"])
    alone, together = found["resumed"]
    assert together == pytest.approx(alone, rel=1e-4)
    assert found["environment"] == [2, 2]


def test_all_replicas_stop_before_the_step_that_is_not_finite(mirrored):
    alone, together = mirrored["not finite"]
    assert alone.startswith("FloatingPointError: step ")
    assert together.replace("/two", "/one") == alone


def test_replicas_that_drift_end_the_run(mirrored):
    said = mirrored["drifted"]
    assert said.startswith(
        "Drifted: after epoch 1: replica 1, of worker 0, has drifted from replica 0: logits/b differ"
    )


def test_what_replicas_cannot_share_is_refused(mirrored):
    assert mirrored["odd"] == "ValueError: batch_size=15 cannot be shared evenly by 2 replicas"
    assert mirrored["numerics"].startswith("ValueError: check_numerics=True looks at the steps of one device")


def test_a_team_of_one_is_no_team():
    team, values = distribution.ALONE, {"a": 1}
    assert team.told(values) is values and team.numbers(3) == [3] and team.spoken(b"x") == [b"x"]
    assert team.run(lambda a, b: a + b, 1, 2) == 3 and team.rows(7) == slice(0, 7)
    state = object()
    assert team.copies(state) == [state] and team.own_directory("logs") == "logs" and team.chief


def test_workers_take_all_rows_once():
    teams = [distribution.Team(None, i, 3) for i in range(3)]
    assert [team.rows(8) for team in teams] == [slice(0, 2), slice(2, 5), slice(5, 8)]
    indices = np.arange(24).reshape(2, 12)
    assert (np.concatenate([team.columns(indices) for team in teams], axis=1) == indices).all()


def test_workers_of_other_settings_are_told_all_that_differs(monkeypatch):
    team, chief = distribution.Team(None, 1, 2, 1, ("a:1", "b:2")), {"run": {"epochs": 2, "seed": 0}, "name": "x"}
    heard = [json.dumps(tree.flatten(chief)).encode()]
    monkeypatch.setattr(distribution.Team, "spoken", lambda self, data: [*heard, data])
    team.agree(chief)
    with pytest.raises(ValueError, match=r"^worker 1 \(b:2\) is not set up as worker 0 \(a:1\): epochs is 3, there 2$"):
        team.agree({"run": {"epochs": 3, "seed": 0}, "name": "x"})


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="strategy=parameter_server is not one of none, mirrored, multi_worker"):
        distribution.started("parameter_server").__enter__()


# Two processes


def together(place, name, tell):
    with Workers([sys.executable, WORKER, name, str(place), "--undrawn"], 2, tell=tell.append) as team:
        return team.wait()


def values(place):
    weights, stats, _ = checkpoint.import_weights(place / "export" / "weights.safetensors")
    return tree.leaves({"weights": weights, "stats": stats})


def test_two_workers_give_what_one_gives(tmp_path):
    """With batch norm, dropout, augmentation, an average and a best epoch; the chief's directory is a run as any."""
    lines = []
    status, said = together(tmp_path / "two", "convolutions", lines)
    assert (status, said) == (0, ""), lines
    assert not [line for line in lines if line.startswith("[1]")]
    alone = [sys.executable, WORKER, "convolutions", str(tmp_path / "one"), "--undrawn", "--alone"]
    subprocess.run(alone, capture_output=True, check=True)
    for ours, wanted in zip(values(tmp_path / "two"), values(tmp_path / "one")):
        assert ours == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    ours, wanted = (records.rows(tmp_path / name / "metrics.jsonl") for name in ("two", "one"))
    for a, b in zip(ours, wanted, strict=True):
        for part in ("train", "validation"):
            assert a[part]["loss"] == pytest.approx(b[part]["loss"], rel=1e-4)
    assert run.load_run(tmp_path / "two")[0]["config"] == run.load_run(tmp_path / "one")[0]["config"]


@pytest.mark.slow
def test_workers_with_other_settings_end_with_the_difference(tmp_path):
    """The program of both takes another run in the second of them."""
    program = (
        f"import json, os, runpy, sys; sys.path.insert(0, {str(pathlib.Path(WORKER).parent)!r}); "
        "name = ['perceptron', 'changed_perceptron'][json.loads(os.environ['TF_CONFIG'])['task']['index']]; "
        f"sys.argv = ['worker.py', name, {str(tmp_path / 'run')!r}, '--undrawn']; "
        f"runpy.run_path({WORKER!r}, run_name='__main__')"
    )
    lines = []
    with Workers([sys.executable, "-c", program], 2, tell=lines.append) as team:
        status, _ = team.wait()
    assert status == 1
    assert any("is not set up as worker 0" in line and "learning_rate" in line for line in lines), lines


@pytest.mark.slow
def test_a_worker_that_never_comes_is_named(tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
    environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
    command = [sys.executable, WORKER, "perceptron", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)  # its own is 35
    assert done.returncode == 1
    assert done.stderr == f"worker.py: waited 35 s for all 2 workers; worker 1 ({addresses[1]}): its port is closed\n"


# Two hosts


@pytest.fixture
def hosts():
    """Two network namespaces with an address each, joined by a cable: their names and addresses."""
    if not shutil.which("ip"):
        pytest.skip("there is no program ip to make network namespaces with")
    names, run = [f"tfcore-{os.getpid()}-{i}" for i in range(2)], functools.partial(subprocess.run, check=True)
    made = [["ip", "netns", "add", name] for name in names]
    made += [f"ip link add eth0 netns {names[0]} type veth peer name eth0 netns {names[1]}".split()]
    for i, name in enumerate(names):
        inside = f"ip -n {name}"
        made += [f"{inside} addr add 10.91.7.{i + 1}/24 dev eth0".split(), f"{inside} link set eth0 up".split()]
        made += [f"{inside} link set lo up".split()]
    try:
        try:
            for command in made:
                run(command, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield [(name, f"10.91.7.{i + 1}") for i, name in enumerate(names)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_two_hosts_without_a_shared_disk(tmp_path, hosts):
    """The second host's place stays empty, a kill there ends the first, and the same commands go on to the same end."""

    def start(run, port):
        cluster = {"worker": [f"{address}:{port}" for _, address in hosts]}
        processes = []
        for i, (name, _) in enumerate(hosts):
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
            command = [
                "ip",
                "netns",
                "exec",
                name,
                sys.executable,
                WORKER,
                "convolutions",
                str(tmp_path / run / str(i)),
            ]
            environment = {**os.environ, "TF_CONFIG": config}
            processes.append(subprocess.Popen([*command, "--undrawn"], env=environment, stderr=subprocess.PIPE))
        return processes

    def ended(processes):
        return [(process.communicate()[1].decode(), process.returncode) for process in processes]

    assert [status for _, status in ended(start("whole", 2222))] == [0, 0]
    first, second = start("broken", 2223)
    while not list((tmp_path / "broken").glob("0/checkpoints/ckpt-*")) and first.poll() is None:
        time.sleep(0.01)
    second.kill()  # the program ip has become it
    said, status = first.communicate()[1].decode(), first.wait()
    second.communicate()
    assert status == 0 or (status == 1 and "worker 1 (10.91.7.2:2223) is gone" in said), said
    assert [status for _, status in ended(start("broken", 2223))] == [0, 0]
    for ours, wanted in zip(values(tmp_path / "broken" / "0"), values(tmp_path / "whole" / "0")):
        assert ours.tobytes() == wanted.tobytes()
    assert not (tmp_path / "whole" / "1").exists()
