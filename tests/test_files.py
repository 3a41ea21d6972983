"""Whole files or none; one holder of a directory, also when processes are killed."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from tfcore import files

KILL = "os.kill(os.getpid(), signal.SIGKILL)"  # nothing runs after it, not even `finally`


def run(code, *args):
    """Starts Python on `code`, which finds `args` in sys.argv."""
    code = f"import os, signal, sys, time\nfrom tfcore import files\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def finish(process):
    """Closes what `run` opened and waits; returns the exit status."""
    process.communicate()
    return process.returncode


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n", b"x" * 100_000])
def test_durable_writes_the_bytes_and_nothing_else(tmp_path, content):
    with files.durable(tmp_path / "a.bin") as file:
        file.write(content)
        assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin").read_bytes() == content
    assert os.listdir(tmp_path) == ["a.bin"]


def test_durable_takes_a_string_as_path_and_replaces(tmp_path):
    for content in (b"old and long", b"new"):
        with files.durable(str(tmp_path / "a")) as file:
            file.write(content)
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_durable_keeps_the_old_content_when_the_block_fails(tmp_path, error, old):
    if old is not None:
        (tmp_path / "a").write_bytes(old)
    with pytest.raises(error), files.durable(tmp_path / "a") as file:
        file.write(b"half")
        raise error
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if old is None else [old])


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_durable_keeps_the_old_content_when_the_disk_fails(tmp_path, monkeypatch, call):
    (tmp_path / "a").write_bytes(b"old")

    def fails(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"), files.durable(tmp_path / "a") as file:
        if call == "write":
            fails()
        monkeypatch.setattr(os, call, fails)
        file.write(b"new")
    monkeypatch.undo()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize(
    ("before", "inside", "wanted"),
    [
        (KILL, "pass", b"old"),
        ("pass", KILL, b"old"),
        ("pass", f"f.write(b'n' * 100000); {KILL}", b"old"),
        ("pass", f"f.write(b'new'); os.fsync = lambda _: {KILL}", b"old"),
        ("pass", f"f.write(b'new'); os.replace = lambda *_: {KILL}", b"old"),
        ("pass", f"f.write(b'new'); files.sync_directory = lambda _: {KILL}", b"new"),
    ],
    ids=["before", "open", "written", "sync", "rename", "renamed"],
)
def test_durable_is_old_or_new_when_killed(tmp_path, before, inside, wanted):
    (tmp_path / "a").write_bytes(b"old")
    code = f"{before}\nwith files.durable(sys.argv[1]) as f:\n    {inside}"
    assert finish(run(code, tmp_path / "a")) == -signal.SIGKILL
    assert (tmp_path / "a").read_bytes() == wanted
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["a"]


def test_write_text_is_utf8(tmp_path):
    files.write_text(tmp_path / "a.txt", "Å ≤ π\n")
    assert (tmp_path / "a.txt").read_bytes() == "Å ≤ π\n".encode()


def test_remove_leftovers_takes_only_what_durable_leaves(tmp_path):
    kept = {"a.tmp", ".hidden", ".mine.tmp", "a.1.tmp", ".lock"}
    for name in kept | {".a.json.12.tmp", ".b.3456.tmp"}:
        (tmp_path / name).touch()
    (tmp_path / ".folder.1.tmp").mkdir()
    files.remove_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) == kept | {".folder.1.tmp"}


HOLD = """
with files.locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds `tmp_path` until its standard input closes."""
    process = run(HOLD, tmp_path)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    finish(process)


def test_locked_refuses_the_second_and_names_the_first(tmp_path, holder):
    for _ in range(2):  # a refusal leaves the name where it is
        with pytest.raises(BlockingIOError, match=rf"^{tmp_path} is in use by process {holder.pid}: ") as caught:
            files.locked(tmp_path).__enter__()
        assert "\n" not in str(caught.value)


def test_locked_refuses_a_second_time_in_one_process(tmp_path):
    with files.locked(tmp_path), pytest.raises(BlockingIOError, match=f"process {os.getpid()}:"):
        files.locked(tmp_path).__enter__()
    with files.locked(tmp_path):
        pass


@pytest.mark.parametrize("end", ["returns", "killed"])
def test_lock_ends_with_its_holder(tmp_path, holder, end):
    if end == "killed":
        holder.kill()
    assert finish(holder) == (-signal.SIGKILL if end == "killed" else 0)
    with files.locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_lock_ends_when_the_block_fails(tmp_path):
    with pytest.raises(ValueError), files.locked(tmp_path):
        raise ValueError
    with files.locked(tmp_path):
        pass


def test_lock_does_not_outlive_a_killed_holder_in_its_children(tmp_path):
    code = f"""
with files.locked(sys.argv[1]):
    if os.fork():
        sys.stdin.readline()
        {KILL}
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
    process = run(code, tmp_path)
    child = int(process.stdout.readline())
    process.stdin.write(b"\n")
    process.stdin.flush()
    process.wait()
    try:
        os.kill(child, 0)  # it lives
        with files.locked(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        finish(process)


def test_locked_says_when_there_is_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        files.locked(tmp_path / "nowhere").__enter__()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path, monkeypatch, code):
    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"{os.strerror(code)}.*a.bin") as raised:
        files.write_text(tmp_path / "a.bin", "x")
    assert raised.value.errno == code and os.listdir(tmp_path) == []


def test_an_error_that_says_enough_is_passed_on(tmp_path):
    with pytest.raises(OSError, match=r"^.Errno 28. 5 MB are wanted$"), files.durable(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "5 MB are wanted")
