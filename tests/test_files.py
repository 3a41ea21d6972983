"""Whole files or none; one holder of a directory; arrays built once, also when processes are killed."""

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import weakref
import zlib

import numpy as np
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
    for name in (".folder.1.tmp", ".folder.1.old.tmp", ".mine.old.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    files.remove_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) == kept | {".mine.old.tmp"}


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    for content in ("first", "second"):
        with files.durable_directory(tmp_path / "model") as directory:
            (directory / "inside").mkdir()
            (directory / "inside" / "file").write_text(content)
            assert not (tmp_path / "model").exists() or content == "second"
        assert (tmp_path / "model" / "inside" / "file").read_text() == content
    with pytest.raises(RuntimeError), files.durable_directory(tmp_path / "model") as directory:
        (directory / "half").touch()
        raise RuntimeError
    assert os.listdir(tmp_path) == ["model"] and os.listdir(tmp_path / "model") == ["inside"]


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


def test_a_lock_that_was_released_leaves_nothing_in_the_process(tmp_path, monkeypatch):
    opened = []

    def keep(*arguments):
        opened.append(open(*arguments))  # noqa: SIM115
        return opened[-1]

    monkeypatch.setattr(files, "open", keep, raising=False)
    with files.locked(tmp_path):
        pass
    file = weakref.ref(opened.pop())
    gc.collect()
    assert file() is None


def test_locked_waits_for_the_holder(tmp_path, holder):
    waiter = run(f"print('waits', flush=True)\n{HOLD.replace('sys.argv[1]', 'sys.argv[1], wait=True')}", tmp_path)
    assert waiter.stdout.readline() == b"waits\n"
    with pytest.raises(BlockingIOError, match=f"process {holder.pid}:"):
        files.locked(tmp_path).__enter__()
    holder.kill()
    assert waiter.stdout.readline() == b"held\n"
    with pytest.raises(BlockingIOError, match=f"process {waiter.pid}:"):
        files.locked(tmp_path).__enter__()
    assert finish(waiter) == 0


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


# One large array


ROWS = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
FACTS = {"what": ["numbers", 3]}


def kept(directory, items=None, *, dtype=np.float32, shape=(6, 2, 2), facts=FACTS):
    """The array of `directory`; without `items` it must be there."""
    return files.cached_array(directory, dtype, shape, facts, items)


def in_parts():
    """Four rows, none, two rows."""
    yield ROWS[:4], "first"
    yield ROWS[:0], {"reason": "none"}
    yield ROWS[::-1][:2][::-1], None


@pytest.fixture
def built(tmp_path):
    kept(tmp_path / "a", in_parts)
    return tmp_path / "a"


def test_an_array_is_built_once_and_mapped(built):
    array, notes = kept(built)
    np.testing.assert_array_equal(array, ROWS)
    assert isinstance(array, np.memmap) and not array.flags.writeable and array.dtype == np.float32
    assert notes == ["first", {"reason": "none"}, None]
    assert sorted(os.listdir(built)) == [".lock", "array.bin", "manifest.json"]


@pytest.mark.parametrize("rows", [0, 2])
def test_fewer_rows_than_planned_may_come(tmp_path, rows):
    array, notes = kept(tmp_path / "a", lambda: [(ROWS[:rows], "some")])
    np.testing.assert_array_equal(array, ROWS[:rows])
    assert notes == ["some"] and not array.flags.writeable
    assert (tmp_path / "a" / "array.bin").stat().st_size == 16 * rows
    np.testing.assert_array_equal(kept(tmp_path / "a")[0], ROWS[:rows])


@pytest.mark.parametrize(
    "rows",
    [ROWS.astype(np.float64), ROWS.reshape(6, 4), np.concatenate([ROWS, ROWS])],
    ids=["dtype", "shape", "too many"],
)
def test_rows_that_do_not_fit_are_refused_and_leave_nothing(tmp_path, rows):
    with pytest.raises(ValueError, match=r"rows float.* do not fit float32 \[6, 2, 2\]"):
        kept(tmp_path / "a", lambda: [(rows, None)])
    assert os.listdir(tmp_path / "a") == [".lock"]


def flip(path, text, other):
    data = path.read_text()
    assert text in data
    path.write_text(data.replace(text, other, 1))


def change(path, at=40, *, times=False):
    """Changes a byte; with `times` the file says that it was written when it was."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    if times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGE = {
    "no manifest": lambda d: (d / "manifest.json").unlink(),
    "empty manifest": lambda d: (d / "manifest.json").write_text(""),
    "list": lambda d: (d / "manifest.json").write_text("[1, 2]"),
    "number": lambda d: (d / "manifest.json").write_text("3"),
    "bytes": lambda d: (d / "manifest.json").write_bytes(b"\xff\xfe\0"),
    "facts": lambda d: flip(d / "manifest.json", "numbers", "letters"),
    "notes": lambda d: flip(d / "manifest.json", '"first"', '"other"'),
    "rows": lambda d: flip(d / "manifest.json", '"rows": 6', '"rows": 5'),
    "rows of a kind": lambda d: flip(d / "manifest.json", '"rows": 6', '"rows": "6"'),
    "rows of nothing": lambda d: flip(d / "manifest.json", '"rows": 6', '"rows": null'),
    "too many rows": lambda d: flip(d / "manifest.json", '"rows": 6', '"rows": 1e400'),
    "negative rows": lambda d: flip(d / "manifest.json", '"rows": 6', '"rows": -6'),
    "checksums": lambda d: flip(d / "manifest.json", '"crcs": [', '"crcs": [0, '),
    "no checksums": lambda d: flip(d / "manifest.json", '"crcs"', '"other"'),
    "checksums that are none": lambda d: flip(d / "manifest.json", '"crcs": [', '"crcs": 3, "x": ['),
    "deep": lambda d: (d / "manifest.json").write_text("[" * 100_000),
    "long number": lambda d: (d / "manifest.json").write_text('{"rows": ' + "9" * 5000 + "}"),
    "manifest is a directory": lambda d: [(d / "manifest.json").unlink(), (d / "manifest.json" / "a").mkdir(parents=1)],
    "array is a directory": lambda d: [(d / "array.bin").unlink(), (d / "array.bin").mkdir()],
    "array is a loop": lambda d: [(d / "array.bin").unlink(), (d / "array.bin").symlink_to("array.bin")],
    "array is elsewhere": lambda d: [(d / "array.bin").unlink(), (d / "array.bin").symlink_to("/etc/hostname")],
    "changed numbers": lambda d: change(d / "array.bin"),
    "changed numbers, old times": lambda d: change(d / "array.bin", times=True),
    "no array": lambda d: (d / "array.bin").unlink(),
    "cut": lambda d: os.truncate(d / "array.bin", 95),
    "longer": lambda d: os.truncate(d / "array.bin", 97),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_array_is_built_again(built, damage):
    damage(built)
    (built / ".array.bin.1.tmp").write_bytes(b"what a killed process left")
    np.testing.assert_array_equal(kept(built, in_parts)[0], ROWS)
    assert sorted(os.listdir(built)) == [".lock", "array.bin", "manifest.json"]
    kept(built)


def test_changed_numbers_of_a_large_array_are_noticed_by_the_time_of_the_file(tmp_path, monkeypatch):
    """Of 5 pieces two are looked at, unless the file is newer than its manifest."""
    monkeypatch.setattr(files, "PIECE", 20)
    monkeypatch.setattr(files, "LOOKED_AT", 2)
    made = []

    def items():
        made.append(1)
        yield from in_parts()

    kept(tmp_path / "a", items)
    for at, times, builds in ((0, True, 2), (24, True, 2), (24, False, 3), (95, False, 4), (85, True, 5)):
        change(tmp_path / "a" / "array.bin", at, times=times)
        kept(tmp_path / "a", items)
        assert len(made) == builds, at
        if builds == 2 and at == 24:
            change(tmp_path / "a" / "array.bin", at, times=True)  # back
    np.testing.assert_array_equal(kept(tmp_path / "a")[0], ROWS)


@pytest.mark.parametrize("change", [{"facts": 3}, {"dtype": np.int32}, {"shape": (3, 2, 2, 2)}, {"shape": (7, 2, 2)}])
def test_an_array_of_another_kind_is_built_anew(built, change):
    dtype, shape = change.get("dtype", np.float32), change.get("shape", (6, 2, 2))
    array, _ = kept(built, lambda: [(np.ones(shape, dtype), None)], **change)
    np.testing.assert_array_equal(array, np.ones(shape, dtype))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_before_a_row_is_made(tmp_path, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=rf"^.Errno {number}. {tmp_path}/a needs 0\.0 MB, .*: make room, or choose") as e:
        kept(tmp_path / "a", lambda: pytest.fail("asked for rows"))
    assert "\n" not in str(e.value) and os.listdir(tmp_path / "a") == [".lock"]


@pytest.mark.parametrize("at", ["between", "array", "manifest"])
def test_killed_while_an_array_is_built(tmp_path, at):
    """What is there afterwards is not taken for an array, and the next start builds it."""
    code = f"""
import json, numpy as np
def die(*_): {KILL}
def items():
    yield np.zeros([4, 2, 2], np.float32), None
    {"die()" if at == "between" else "pass"}
    yield np.zeros([2, 2, 2], np.float32), None
{"os.replace = die" if at == "array" else "files.write_text = die" if at == "manifest" else ""}
files.cached_array(sys.argv[1], np.float32, (6, 2, 2), {FACTS!r}, items)
"""
    assert finish(run(code, tmp_path / "a")) == -signal.SIGKILL
    np.testing.assert_array_equal(kept(tmp_path / "a", in_parts)[0], ROWS)
    assert sorted(os.listdir(tmp_path / "a")) == [".lock", "array.bin", "manifest.json"]


def test_the_manifest_is_readable(built):
    manifest = json.loads((built / "manifest.json").read_text())
    assert len(manifest.pop("sha256")) == 64
    assert manifest == {
        "format": 2, "dtype": "<f4", "shape": [6, 2, 2], "facts": FACTS,
        "rows": 6, "bytes": 96, "crcs": [zlib.crc32(ROWS.tobytes())], "notes": ["first", {"reason": "none"}, None],
    }  # fmt: skip
