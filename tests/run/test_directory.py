"""What a run directory holds against: replaced, robbed, damaged, full; and whose a checkpoint is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from tfcore import checkpoint, files, losses, optimizers, run, tree
from tfcore.data import Arrays, Splits
from tfcore.quiet import tf
from tfcore.run import board, directory, environment, loop, records, report, result

ARGUMENTS = {"epochs": 2, "batch_size": 8}


def own_task(class_names=("a", "b", "c"), n=32, **changes):
    """Softmax regression on 4x4 noise: a run takes a moment."""
    generator = np.random.default_rng(0)
    labels = (np.arange(n) % len(class_names)).astype(np.int32)
    part = Arrays(generator.integers(0, 255, [n, 4, 4, 1]).astype(np.uint8), labels)

    def init(seed):
        return {"w": 0.1 * tf.random.stateless_normal([16, len(class_names)], seed)}, {}

    def forward(weights, stats, images, *, training, seed=None):
        return tf.reshape(tf.cast(images, tf.float32), [-1, 16]) / 255 @ weights["w"], stats

    splits = Splits(part, part, part, tuple(class_names), "made")
    return run.Task(splits, init, forward, losses.softmax_cross_entropy, optimizers.adam(1e-2), **changes)


def train(place, **options):
    return run.train(own_task(), place, **{**ARGUMENTS, **options})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run that reports the best; tests work on copies."""
    place = tmp_path_factory.mktemp("finished") / "run"
    train(place, report="best")
    return place


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def at_step(monkeypatch, step, act):
    """Calls act() when the curves of that step are written, after which the epoch is saved."""
    scalars = board.Board.scalars

    def acting(self, split, values, at):
        scalars(self, split, values, at)
        if at == step and split == "train" and "loss" in values:
            act()

    monkeypatch.setattr(board.Board, "scalars", acting)


# The directory removed under a run


@pytest.mark.parametrize("how", ["removed", "made anew", "lock removed"])
def test_a_run_whose_directory_was_removed_ends_and_writes_nothing_there(tmp_path, monkeypatch, how):
    place = tmp_path / "run"

    def act():
        if how == "lock removed":
            (place / ".lock").unlink()
            return
        shutil.rmtree(place)
        if how == "made anew":
            place.mkdir()
            (place / ".lock").write_text("1\n")

    at_step(monkeypatch, 4, act)
    with pytest.raises(OSError, match=r"run was removed, or made anew, while this run went on"):
        train(place)
    assert (not list(place.glob("checkpoints/*")) and not list(place.glob("*.json"))) or how == "lock removed"
    assert not list(place.glob("checkpoints/*"))


def test_a_checkpoint_of_another_run_is_never_resumed(tmp_path):
    train(tmp_path / "a", epochs=1)
    train(tmp_path / "b", epochs=3)
    newest = directory.newest(tmp_path / "b")
    shutil.copy(newest, tmp_path / "a" / "checkpoints")
    with pytest.raises(ValueError, match=rf"{newest.name} is of another run"):
        train(tmp_path / "a")
    (tmp_path / "a" / "checkpoints" / newest.name).unlink()
    assert train(tmp_path / "a").epochs == 2


def test_settings_that_were_edited_by_hand_do_not_slip_in(copied):
    config = json.loads((copied / "config.json").read_text())
    config["config"] = {"width": 3}
    (copied / "config.json").write_text(json.dumps(config))
    task = own_task(config={"width": 3})
    with pytest.raises(ValueError, match="of another run, or of other settings"):
        run.train(task, copied, **{**ARGUMENTS, "epochs": 3}, report="best")


def test_runs_of_before_there_were_ids_are_resumed(copied):
    config = json.loads((copied / "config.json").read_text())
    del config["id"]
    (copied / "config.json").write_text(json.dumps(config))
    for path in copied.glob("checkpoints/*.safetensors"):
        tensors, meta = checkpoint.read(path)
        checkpoint.write(
            path, checkpoint._arrays(tensors), {k: v for k, v in meta.items() if k not in ("run", "config")}
        )
    assert train(copied, report="best", epochs=3).epochs == 3


# What was removed or damaged by hand


@pytest.mark.parametrize("kept", ["result.json", "export", "checkpoints", "metrics.jsonl"])
def test_a_lost_config_is_not_a_new_run(copied, tmp_path, kept):
    other = tmp_path / "robbed"
    other.mkdir()
    (shutil.copytree if (copied / kept).is_dir() else shutil.copy)(copied / kept, other / kept)
    with pytest.raises(ValueError, match=r"no config\.json to say whose: put it back, or clean=True"):
        train(other, report="best")
    assert sorted(path.name for path in other.iterdir() if path.name != ".lock") == [kept]
    assert train(other, report="best", clean=True).epochs == 2


@pytest.mark.parametrize("damage", ["gone", "cut", "of another run"])
def test_best_weights_that_are_lost_are_noticed_before_training(copied, tmp_path, monkeypatch, damage):
    path = copied / "checkpoints" / checkpoint.BEST
    tensors, meta = checkpoint.read(path)
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-9])
    if damage == "of another run":
        checkpoint.write(path, tree.flatten(tensors), {**meta, "run": "another"})
    monkeypatch.setattr(board.Board, "scalars", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"best\.safetensors.*(put it back|remove it), or clean=True"):
        train(copied, report="best", epochs=3)


@pytest.mark.parametrize("kind", ["directory", "dangling link"])
def test_a_newest_checkpoint_that_is_no_file_falls_back(copied, capsys, kind):
    path = copied / "checkpoints" / "ckpt-000000099.safetensors"
    path.mkdir() if kind == "directory" else path.symlink_to("nowhere")
    assert train(copied, report="best", epochs=3).epochs == 3
    assert "skipped a broken checkpoint" in capsys.readouterr().out


def test_measures_that_are_gone_are_not_lost_in_silence(copied):
    train(copied, report="best", epochs=4)
    path = copied / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[2:]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl has no row of epoch 1, 2: put it back"):
        train(copied, report="best", epochs=5)
    path.write_text("".join([lines[0], lines[1][:20] + "\n", *lines[2:]]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 2 is damaged .*: put it back"):
        train(copied, report="best", epochs=5)


DAMAGES = {
    "empty": lambda content: b"",
    "{}": lambda content: b"{}",
    "[]": lambda content: b"[]",
    "null": lambda content: b"null\n",
    "cut": lambda content: content[: len(content) // 2 - 9],  # half of two rows may be one whole row
    "flipped": lambda content: bytes([content[0] ^ 0x80]) + content[1:],
    "nested": lambda content: b"[" * 100_000,
    "numbers": lambda content: b'[{"a": 1' + b"0" * 5000 + b"}]",
}


READERS = {
    "config.json": lambda place: directory.claim(place, {"config": {}}),
    "environment.json": lambda place: environment.starts(place / "environment.json"),
    "result.json": lambda place: result.complete(place, run.Plan(2, 8, 0, 0, 50, 0, 0, "best", False)),
    "metrics.jsonl": lambda place: records.rows(place / "metrics.jsonl"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_damaged_small_files_are_one_sentence(copied, name, damage):
    """It names the file and what to do. No start at all is a list of starts; one row alone may be half written."""
    path = copied / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()) + (b"\n" if name == "metrics.jsonl" else b""))
    with directory.held(copied) as place:
        if (name, damage) == ("environment.json", "[]"):
            assert READERS[name](place) == []
            return
        with pytest.raises(ValueError, match=rf"{name}\b.*(put it back|remove it)") as error:
            READERS[name](place)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", READERS)
def test_a_run_with_a_damaged_small_file_loses_nothing(copied, name):
    path = copied / name
    path.write_bytes(b"{}\n")
    whole = [p for p in copied.rglob("*") if p.is_file() and p.name not in (".lock", "config.json", "environment.json")]
    before = [p.read_bytes() for p in whole]
    with pytest.raises(ValueError, match=name):
        train(copied, report="best", epochs=2 if name == "result.json" else 3)
    assert [p.read_bytes() for p in whole] == before and path.read_bytes() == b"{}\n"


@pytest.mark.parametrize("lost", ["gone", "damaged"])
def test_an_export_that_is_lost_is_written_again(copied, lost):
    path = copied / directory.EXPORT
    before, measured = path.read_bytes(), (copied / "result.json").read_bytes()
    path.unlink() if lost == "gone" else path.write_bytes(before[:-9])
    if lost == "damaged":
        with pytest.raises(ValueError, match=r"weights\.safetensors.*remove it, and the same command"):
            train(copied, report="best")
        path.unlink()
    train(copied, report="best")
    assert path.read_bytes() == before
    assert json.loads((copied / "result.json").read_text())["test"] == json.loads(measured)["test"]


def test_leftovers_of_a_first_save_go_at_the_next_start(tmp_path):
    left = [
        tmp_path / name / ".x.safetensors.123.tmp" for name in (".", "checkpoints", "export", "plots", "validation")
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    train(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


# What cannot be written


@pytest.mark.parametrize("name", ["checkpoints", "plots", "export"])
def test_a_directory_that_cannot_be_written_is_told_before_training(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("a file")
    monkeypatch.setattr(board.Board, "scalars", lambda *_: pytest.fail("trained"))
    with pytest.raises(OSError, match=rf"{name} cannot be written"):
        train(tmp_path)


def test_a_file_where_the_events_should_be_costs_the_curves(tmp_path, capsys):
    for split in ("train", "validation"):
        (tmp_path / split).write_text("a file")
    assert train(tmp_path).epochs == 2
    assert capsys.readouterr().err.count("TensorBoard's files cannot be written") == 1


@pytest.mark.slow
def test_a_limit_of_the_size_of_files_costs_the_curves(tmp_path):
    """As a quota would: the events grow beyond it, the checkpoints do not."""
    code = f"""
        import resource, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from test_directory import train
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))
        print(train("run", epochs=9).epochs)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "9"
    assert "TensorBoard's files cannot be written, the run goes on" in done.stderr


@pytest.mark.drawn
def test_drawings_that_cannot_be_written_cost_one_warning(tmp_path, monkeypatch, capsys):
    def full(place, drawings):
        raise OSError(28, "No space left on device", str(place))

    monkeypatch.setattr("tfcore.plots.save", full)
    assert train(tmp_path).epochs == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "the drawings cannot be written, the run goes on" in err and "plots" in err


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.jsonl'"):
        records.append(path, {"epoch": 1})


def test_a_full_disk_under_the_lock_names_it(tmp_path, monkeypatch):
    def full(place):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "locked", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*\.lock'"), directory.held(tmp_path / "run"):
        pass


# Names and the environment

NAMES = ["b$x^2_{a", r"\frac{\x", "caf\udce9", "日本語テスト", "a\nb\x1b[31m", "_under", "x" * 200]


@pytest.mark.parametrize("names", [NAMES, NAMES[:3:2]], ids=["many", "two"])
def test_names_of_classes_end_nothing(tmp_path, capfd, recwarn, names):
    assert run.train(own_task(names), tmp_path, epochs=1, batch_size=8).epochs == 1
    out, err = capfd.readouterr()
    assert err == "" and "\x1b" not in out and not [w for w in recwarn if "Glyph" in str(w.message)]
    config, _, _ = run.load_run(tmp_path)
    assert config["class_names"] == names


def test_variables_that_change_bits_are_said_by_name(tmp_path, monkeypatch, capsys):
    path = tmp_path / "environment.json"
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_XLA_FLAGS", "ONEDNN_SOMETHING_NEW"):
        monkeypatch.delenv(name, raising=False)
    environment.note_start(path)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=2")
    monkeypatch.setenv("ONEDNN_SOMETHING_NEW", "7")
    environment.note_start(path)
    err = capsys.readouterr().err
    assert "TF_NUM_INTRAOP_THREADS: , now 1" in err and "ONEDNN_SOMETHING_NEW: , now 7" in err and "TF_XLA_FLAGS" in err
    monkeypatch.delenv("ONEDNN_SOMETHING_NEW")
    environment.note_start(path)
    assert "ONEDNN_SOMETHING_NEW: 7, now" in capsys.readouterr().err


def test_variables_that_an_earlier_version_did_not_note_are_no_change(tmp_path, capsys):
    path = tmp_path / "environment.json"
    environment.note_start(path)
    (start,) = environment.starts(path)
    del start["TF_NUM_INTEROP_THREADS"]
    path.write_text(json.dumps([start]))
    environment.note_start(path)
    assert capsys.readouterr().err == ""


# Signals where no steps are taken


@pytest.mark.parametrize("when", ["validation of epoch 2", "test"])
def test_a_signal_in_a_validation_or_the_test_ends_it_at_once(tmp_path, monkeypatch, when):
    train(tmp_path / "whole", report="best")

    def measure(task, logits, part, name, *, real=report.measure):
        if name == when:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
            pytest.fail("it went on")
        return real(task, logits, part, name)

    with (
        monkeypatch.context() as patch,
        pytest.raises(run.Stopped, match="SIGTERM") as stopped,
    ):
        patch.setattr(loop, "measure", measure)
        patch.setattr(report, "measure", measure)
        train(tmp_path / "cut", report="best")
    assert stopped.value.signum == signal.SIGTERM and "ckpt-000000008" in str(stopped.value)
    train(tmp_path / "cut", report="best")
    whole, cut = (checkpoint.read(directory.newest(tmp_path / name))[0] for name in ("whole", "cut"))
    assert all(np.array_equal(a, b) for a, b in zip(tree.leaves(whole), tree.leaves(cut)))
    whole, cut = (records.rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert [row["validation"] for row in whole] == [row["validation"] for row in cut]
