"""Sweeps: which trials they run, and that none is lost or counted twice after a kill.

Most trials are trained by TRAINER, a program that writes what a run writes, at once, and takes signals as a run does.
"""

import flags

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import optuna
import pytest
import sweep
import sweep_job
import sweep_trials

from tfcore.run import records

ROOT = Path(__file__).parents[2]
TRAINER = """
import json, os, pathlib, signal, sys
place, settings = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
place.mkdir(exist_ok=True)
signal.alarm(60)  # the end of one that nobody stops
rows = place / "metrics.jsonl"
done = len(rows.read_text().splitlines()) if rows.exists() else 0
accuracy = float(settings["learning_rate"])
if accuracy > 1:
    print("epoch 1/3", flush=True)
    sys.exit("train_mlp.py: step 1: not finite")
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
for epoch in range(done + 1, 4):
    measures = {"loss": 1 - accuracy, "accuracy": accuracy}
    with open(rows, "a") as file:
        file.write(json.dumps({"epoch": epoch, "step": epoch, "train": {}, "validation": measures}) + "\\n")
    if epoch == settings.get("pause"):
        if settings.get("ready"):
            pathlib.Path(settings["ready"]).write_text(str(os.getpid()))  # a pipe: waits for who reads it
        signal.pause()
result = {"epochs": 3, "ended": "epochs", "patience": 0, "seconds": 1.0, "train": {}}
result |= {"validation": measures if done < 3 else {"accuracy": accuracy}, "test": {"accuracy": 0.4321}}
(place / "result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """Makes TRAINER the program of every sweep; returns what is added to the settings that it gets."""
    program, more = tmp_path / "trainer.py", {}
    program.write_text(TRAINER)
    monkeypatch.setattr(sweep_trials, "LOOK", 0.01)
    monkeypatch.setattr(
        sweep, "command",
        lambda recipe, place, chosen: [sys.executable, "-S", str(program), str(place), json.dumps({**chosen, **more})],
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return more


def parsed(*arguments):
    values = flags.parser(sweep.define)
    values(["sweep.py", "--recipe=mnist_perceptron", *arguments])
    return values


def swept(*arguments):
    """Runs a sweep in this process, in the directory "sweep", and returns the trials that Optuna knows."""
    sweep.main(parsed("--logdir=sweep", *arguments), [])
    return trials()


def trials():
    storage = sweep_trials.JournalStorage(sweep_trials.JournalFileBackend("sweep/journal.log"))
    return optuna.load_study(study_name="sweep", storage=storage).trials


def states(found):
    return [trial.state.name for trial in found]


# The trials


def test_a_grid_runs_in_its_order_and_is_ranked_by_validation_alone(trainer, capsys):
    found = swept("--learning_rate=0.2,0.9,0.5", "--seed=0,1", "--jobs=2", "--trials=5")
    points = [(t.params["learning_rate"], t.params["seed"]) for t in found]
    assert points == [("0.2", "0"), ("0.2", "1"), ("0.9", "0"), ("0.9", "1"), ("0.5", "0")]
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.partition("\ntrial")[2].splitlines()[1:6]] == [
        "003",
        "004",
        "005",
        "001",
        "002",
    ]
    assert "5 of 5 trials done" in out and "best   sweep/003-learning_rate0.9-seed0\n" in out
    assert "0.4321" not in out, "a figure of the test set"
    assert swept("--learning_rate=0.2,0.9,0.5", "--seed=0,1")[:5] == found, "the same trials, and the one that was left"
    assert len(trials()) == 6


def test_a_loss_is_better_when_lower(trainer, capsys):
    swept("--learning_rate=0.2,0.9,0.5", "--objective=loss")
    assert "best   sweep/002-learning_rate0.9\n" in capsys.readouterr().out


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_sweep_in_two_parts_tries_what_one_in_one_part_tries(trainer, sampler, tmp_path):
    flags = ["--learning_rate=0.01:0.9", "--batch_size=10:50", f"--sampler={sampler}"]
    swept(*flags, "--trials=5")
    parts = [trial.params for trial in swept(*flags, "--trials=12")]
    os.rename("sweep", "before")
    whole = [trial.params for trial in swept(*flags, "--trials=12")]
    assert parts == whole and len({str(params) for params in whole}) == 12


def test_a_trial_below_the_median_is_stopped_early_and_left_resumable(trainer, capsys):
    """Five whole trials come first; the sixth, worse than all, waits after its first epoch until it is stopped."""
    rates = "--learning_rate=0.5,0.6,0.7,0.8,0.9,0.1"
    swept(rates, "--prune", "--trials=5")
    trainer["pause"] = 1
    found = swept(rates, "--prune")
    assert states(found) == ["COMPLETE"] * 5 + ["PRUNED"]
    assert found[5].intermediate_values == {1: 0.1}
    assert "stopped early after 1 epoch, validation accuracy 0.1000" in capsys.readouterr().out
    assert not Path("sweep/006-learning_rate0.1/result.json").exists()
    assert Path("sweep/006-learning_rate0.1/metrics.jsonl").read_text().count("\n") == 1


def test_a_trial_that_fails_is_listed_and_the_others_go_on(trainer, capsys):
    with pytest.raises(ValueError, match=r"1 of 3 trials failed: 002-learning_rate2$"):
        swept("--learning_rate=0.2,2,0.9")
    assert states(trials()) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "failed: status 1: train_mlp.py: step 1: not finite" in capsys.readouterr().out
    with pytest.raises(ValueError, match="1 of 3 trials failed"):
        swept("--learning_rate=0.2,2,0.9")
    assert len(trials()) == 3


def test_a_signal_stops_the_trials_and_the_same_command_goes_on(trainer, monkeypatch, capsys):
    trainer["pause"], reported = 2, sweep_job.Job.report

    def report(job, objective):
        reported(job, objective)
        if len(trials()[job.trial.number].intermediate_values) == 2:
            assert os.getpgid(job.process.pid) == job.process.pid, "Ctrl-C would reach it twice"
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(sweep_job.Job, "report", reported)

    monkeypatch.setattr(sweep_job.Job, "report", report)
    with pytest.raises(KeyboardInterrupt, match="0 of 2 trials are done: the same command goes on") as stop:
        swept("--learning_rate=0.2,0.9")
    assert stop.value.signum == signal.SIGINT
    assert states(trials()) == ["RUNNING", "WAITING"]
    del trainer["pause"]
    found = swept("--learning_rate=0.2,0.9")
    assert states(found) == ["COMPLETE"] * 2 and found[0].intermediate_values == {1: 0.2, 2: 0.2, 3: 0.2}
    assert "001-learning_rate0.2  goes on" in capsys.readouterr().out


def test_after_kill_9_trials_are_taken_up_once_their_process_is_gone(trainer, tmp_path, monkeypatch):
    """The sweep is killed while its trial waits; that process lives on, then it is stopped, and its run goes on."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    arguments = ["--recipe=mnist_perceptron", "--learning_rate=0.2,0.9", "--logdir=sweep"]
    program = f"""
        import json, sys
        import sweep, flags
        more = {{"pause": 1, "ready": {str(ready)!r}}}
        sweep.command = lambda recipe, place, chosen: [
            sys.executable, "-S", {str(tmp_path / "trainer.py")!r}, str(place), json.dumps({{**chosen, **more}})]
        values = flags.parser(sweep.define)
        sweep.main(values(["sweep.py", *{arguments!r}]) and values, [])
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "scripts")])
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], env={**os.environ, "PYTHONPATH": path})
    orphan = int(ready.read_text())
    child.kill()
    assert child.wait() == -signal.SIGKILL
    lines = []

    def say(text):
        lines.append(text)
        if "waits for it" in text:
            os.kill(orphan, signal.SIGTERM)

    monkeypatch.setattr(sweep, "say", say)
    found = swept("--learning_rate=0.2,0.9")
    assert any("waits for it" in line for line in lines)
    assert states(found) == ["COMPLETE"] * 2 and [t.params["learning_rate"] for t in found] == ["0.2", "0.9"]
    epochs = [row["epoch"] for row in records.rows(Path("sweep/001-learning_rate0.2/metrics.jsonl"))]
    assert epochs == [1, 2, 3] and len(list(Path("sweep").glob("*/"))) == 2


# Its directory


def test_another_sweep_and_a_second_process_are_refused(trainer):
    swept("--learning_rate=0.2,0.9")
    with pytest.raises(ValueError, match=r"sweep holds another sweep \(learning_rate differ\)"):
        swept("--learning_rate=0.2,0.8")
    with sweep.files.locked("sweep"), pytest.raises(BlockingIOError, match="in use by process"):
        swept("--learning_rate=0.2,0.9")


def test_a_journal_that_was_cut_and_a_lock_that_was_left_are_no_obstacle(trainer):
    rates = "--learning_rate=0.2,0.5,0.9"
    found = swept(rates, "--trials=1")
    with open("sweep/journal.log", "a") as file:
        file.write('{"op_code": 4, "worker')
    os.symlink("journal.log", "sweep/journal.log.lock")
    assert swept(rates, "--trials=2")[:1] == found and not os.path.lexists("sweep/journal.log.lock")
    assert states(swept(rates)) == ["COMPLETE"] * 3


def test_a_damaged_journal_is_named(trainer):
    Path("sweep").mkdir()
    Path("sweep/journal.log").write_text("what\nis\nthis\n")
    with pytest.raises(ValueError, match=r"journal.log is damaged .*: put it back"):
        swept("--learning_rate=0.2,0.9")


# As a person runs it


@pytest.mark.slow
def test_a_sweep_on_digits_goes_on_after_everything_was_killed(tmp_path):
    """The sweep and its two trials, which go on from their checkpoints."""
    script = ROOT / "scripts" / "sweep.py"
    command = [sys.executable, script, "--recipe=mnist_perceptron", "--dataset=digits", "--learning_rate=1e-3,1e-2"]
    command += ["--epochs=60", "--steps_per_loop=1", "--jit=off", "--jobs=2", "--logdir=sweep"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert [child.stdout.readline().split()[-1] for _ in range(4)][2:] == ["starts", "starts"]
    places = [tmp_path / "sweep" / name for name in ("001-learning_rate1e-3", "002-learning_rate1e-2")]
    while not all(len(records.rows(place / "metrics.jsonl")) > 1 for place in places):
        assert child.poll() is None
    for number in (child.pid, *(int((place / ".lock").read_text()) for place in places)):
        os.kill(number, signal.SIGKILL)
    child.communicate()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("goes on") == 2 and "2 of 2 trials done" in done.stdout
    for place in places:
        assert "resumed from" in (tmp_path / "sweep" / f"{place.name}.log").read_text()
        assert [row["epoch"] for row in records.rows(place / "metrics.jsonl")] == list(range(1, 61))
