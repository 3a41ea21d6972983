"""Profiles of runs: which blocks they hold, what is in their two files, and what is refused or only warned of."""

import flags

import dataclasses
import gzip
import json
import os
import re
import socket

import pytest
import tensorflow as tf
import train_mlp
import training_flags
from tensorflow.tsl.profiler.protobuf import xplane_pb2
from test_run import MLP, final_bytes, made_set, measures, own_task, train

from tfcore import run
from tfcore.run import profile

FOUR = dataclasses.replace(MLP, batch_size=8, steps_per_loop=3)  # 7 steps an epoch, in blocks of 3, 3 and 1


def written(place):
    """Returns the XSpace and the trace of the one profile of a run."""
    (folder,) = (place / "train" / "plugins" / "profile").iterdir()
    assert re.fullmatch(r"(\d+_){5}\d+", folder.name)
    assert {path.name for path in folder.iterdir()} == {"run.xplane.pb", "run.trace.json.gz"}
    space = xplane_pb2.XSpace.FromString((folder / "run.xplane.pb").read_bytes())
    return space, json.loads(gzip.decompress((folder / "run.trace.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """The directory of a run that was profiled over the end of its first epoch."""
    place = tmp_path_factory.mktemp("run")
    train(FOUR, place, profile=(5, 8))
    return place


def test_a_profile_holds_the_whole_blocks_of_its_window(profiled):
    """Steps 5, 6 and 7 are in the blocks 3 to 5, 6 alone, which ends the epoch, and 7 to 9."""
    space, _ = written(profiled)
    steps = []
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            if plane.event_metadata[event.metadata_id].name == "block":
                stats = {plane.stat_metadata[stat.metadata_id].name: stat.int64_value for stat in event.stats}
                steps.append(stats["step_num"])
    assert sorted(steps) == [3, 6, 7]


def test_the_trace_is_the_xplane_in_microseconds(profiled):
    space, trace = written(profiled)
    names = {(e["pid"], e.get("tid")): e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"}
    found = sorted(
        (names[e["pid"], None], names[e["pid"], e["tid"]], e["name"], round(e["ts"], 3), round(e["dur"], 3))
        for e in trace["traceEvents"]
        if e["ph"] == "X"
    )
    lines = [(plane, line) for plane in space.planes for line in plane.lines]
    began = min(line.timestamp_ns for _, line in lines)
    wanted = sorted(
        (
            plane.name,
            line.name,
            plane.event_metadata[event.metadata_id].name,
            round((line.timestamp_ns - began) / 1e3 + event.offset_ps / 1e6, 3),
            round(event.duration_ps / 1e6, 3),
        )
        for plane, line in lines
        for event in line.events
    )
    assert found == wanted and len(found) > 100
    named = {name for _, _, name, *_ in found}
    assert "block" in named and any("MatMul" in name for name in named)


def test_a_profile_names_neither_the_machine_nor_a_path(profiled):
    space, trace = written(profiled)
    assert list(space.hostnames) == ["run"]
    for text in (str(space), json.dumps(trace)):
        assert not re.search(rf"(?<![\w]){re.escape(socket.gethostname())}(?![\w])", text)
        assert os.sep + "tmp" not in text and str(profiled) not in text and os.getcwd() not in text


def test_a_profile_makes_no_other_run(profiled, tmp_path):
    train(FOUR, tmp_path)
    assert final_bytes(tmp_path) == final_bytes(profiled) and measures(tmp_path) == measures(profiled)
    ours, other = (json.loads((place / "config.json").read_text()) for place in (tmp_path, profiled))
    assert ours.pop("id") != other.pop("id") and ours == other
    train(dataclasses.replace(FOUR, epochs=3), tmp_path, profile=(14, 15))
    assert len(measures(tmp_path)) == 3 and written(tmp_path)
    values = flags.parser(train_mlp.define)
    values(["train_mlp.py", "--profile=14:15"])
    assert training_flags.options_of(values)["profile"] == (14, 15)
    assert training_flags.logdir_of(values, FOUR, FOUR).name == "made-seed0"


@pytest.mark.parametrize("window", [(5,), 5, (10, 3), (3, 3), (-1, 3), (0.0, 3), "1:2", (14, 15), (13, 15)])
def test_a_window_outside_the_run_is_refused_before_anything_is_written(tmp_path, window):
    with pytest.raises(ValueError, match=r"^profile=") as refused:
        train(FOUR, tmp_path / "run", profile=window)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["5", "a:b", "1:2:3", ":", "-1:3", "1.0:2", "1: 2"])
def test_what_is_no_window_is_refused_as_a_flag(text):
    values = flags.parser(train_mlp.define)
    values(["train_mlp.py", f"--profile={text}"])
    with pytest.raises(flags.flags.Error, match=rf"^--profile={re.escape(text)} must be two steps"):
        training_flags.options_of(values)


def test_a_profiler_that_cannot_start_costs_one_warning(tmp_path, capsys):
    tf.profiler.experimental.start(str(tmp_path / "other"))
    try:
        result = train(FOUR, tmp_path / "run", profile=(2, 9))
    finally:
        tf.profiler.experimental.stop(save=False)
    assert result.epochs == 2 and not (tmp_path / "run" / "train" / "plugins").exists()
    assert capsys.readouterr().err.count("no profile can be made, the run goes on: ") == 1


def test_a_profile_that_cannot_be_written_costs_one_warning(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(profile, "write", full)
    assert train(FOUR, tmp_path, profile=(2, 9)).epochs == 2
    assert capsys.readouterr().err.count("no profile can be made, the run goes on: [Errno 28]") == 1


def test_a_window_that_a_start_does_not_reach_is_said(tmp_path, capsys):
    train(FOUR, tmp_path)
    train(dataclasses.replace(FOUR, epochs=3), tmp_path, profile=(2, 9))
    assert "nothing was profiled: this start took none of steps 2 to 8" in capsys.readouterr().err
    assert not (tmp_path / "train" / "plugins").exists()


def test_a_run_that_ends_within_the_window_keeps_what_was_seen(tmp_path):
    task = own_task(made_set(), loss_fn=lambda weights, stats, batch, seed: (
        tf.reduce_sum(weights["w"]) / tf.cast(seed[0] * 0, tf.float32), ({}, stats)
    ))  # fmt: skip
    with pytest.raises(FloatingPointError):
        run.train(task, tmp_path, epochs=1, batch_size=16, profile=(0, 3))
    assert written(tmp_path)
