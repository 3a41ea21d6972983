"""launch.py: what its processes are told, what is printed of them, and how they end; they are small programs."""

import flags

import json
import os
import signal
import sys

import launch
import pytest
from absl import flags as absl_flags

CLUSTER = "import json, os; c = json.loads(os.environ['TF_CONFIG']); i = c['task']['index']; "


@pytest.fixture
def launched(capsys):
    """Calls launch.py's main for a program; returns its exit status and what it says on stderr."""

    def run(program, *options):
        values = flags.parser(launch.define)
        values(["launch.py", *options])
        try:
            launch.main(values, [sys.executable, "-c", CLUSTER + program] if program else [])
        except SystemExit as end:
            return end.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


@pytest.fixture
def told():
    """Runs a program in workers of this process; returns status, sentence and lines."""

    def run(program, count=2, during=lambda team: None):
        lines = []
        with launch.Workers([sys.executable, "-c", CLUSTER + program], count, tell=lines.append) as team:
            during(team)
            found = team.wait()
        return *found, lines

    return run


def test_each_worker_has_its_number_the_same_addresses_and_its_part_of_the_cores(told, monkeypatch):
    monkeypatch.delenv(launch.THREADS, raising=False)
    program = f"print(json.dumps([c, os.environ['{launch.THREADS}']]))"
    status, sentence, lines = told(program, 3)
    assert (status, sentence) == (0, "")
    found = {line[:4]: json.loads(line[4:]) for line in lines}
    assert sorted(found) == ["[0] ", "[1] ", "[2] "]
    assert [found[f"[{i}] "][0]["task"] for i in range(3)] == [{"type": "worker", "index": i} for i in range(3)]
    addresses = [config["cluster"]["worker"] for config, _ in found.values()]
    assert addresses == [addresses[0]] * 3 and len(set(addresses[0])) == 3
    assert {threads for _, threads in found.values()} == {str(max(1, len(os.sched_getaffinity(0)) // 3))}


def test_one_that_fails_ends_all(told, monkeypatch):
    monkeypatch.setattr(launch, "ENDING", 0.1)
    status, sentence, lines = told("import sys, time; time.sleep(1000 * i); sys.exit('no data')")
    assert (status, sentence) == (1, "worker 0 ended with status 1")
    assert lines == ["[0] no data"]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_one_that_is_killed_or_stopped_leaves_no_process(told, monkeypatch, signum):
    monkeypatch.setattr(launch, "ENDING", 0.1)
    monkeypatch.setattr(launch, "KILLING", 0.1)
    started = []

    def during(team):
        started.extend(team.processes)
        os.kill(team.processes[1].pid, signum)
        if signum == signal.SIGSTOP:
            os.kill(team.processes[0].pid, signal.SIGKILL)  # in its stead the run notices

    status, sentence, _ = told("import time; time.sleep(1000)", during=during)
    assert status == 137 and sentence.endswith("was killed by SIGKILL")
    assert all(process.returncode == -signal.SIGKILL for process in started if process is not started[0])


def test_signals_are_passed_on(told):
    def during(team):
        team._pass_on(signal.SIGTERM, None)

    status, sentence, _ = told("import time; time.sleep(1000)", during=during)
    assert (status, sentence) == (143, "")


def test_it_starts_again_as_often_as_it_is_told(tmp_path, launched):
    program = f"import sys; f = open('{tmp_path}/' + str(i), 'a'); f.write('x'); sys.exit(0 if f.tell() > 1 else 3)"
    assert launched(program, "--workers=1") == (3, "launch.py: worker 0 ended with status 3\n")
    (tmp_path / "0").unlink()
    said = "launch.py: worker 0 ended with status 3; started again, 2 left\n"
    assert launched(program, "--workers=1", "--restarts=2") == (0, said)


def test_wrong_usage_is_not_tried_again(tmp_path, launched):
    program = f"open('{tmp_path}/' + str(os.getpid()), 'w'); exit(2)"
    assert launched(program, "--workers=1", "--restarts=5")[0] == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_command_is_wanted(launched):
    with pytest.raises(absl_flags.Error, match="after -- comes the command"):
        launched("")
