"""Folders and zips of pictures, and the array kept of them: hostile archives, damaged caches, kills, full disks."""

import io
import os
import random
import shutil
import signal
import stat
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfcore.data import checksums, folders, listing, pictures, zips

SIZE = (6, 8)
REAL = Path(os.environ.get("TFCORE_DATA_DIR") or Path(__file__).parents[2] / "../shared/data") / "cats_vs_dogs"


def png(*colour, size=(16, 12)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG", compress_level=0)  # one length for all colours
    return file.getvalue()


def colour(label, i):
    return (100 * label, i % 256, i // 256)


def contents(per_class=6):
    """{name: bytes} of cats and dogs, each of its own colour; the suffix does not say the format."""
    return {f"{c}/{i}.jpg": png(*colour(label, i)) for label, c in enumerate(("Cat", "Dog")) for i in range(per_class)}


def make_folder(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def make_zip(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def load(path, cache, **options):
    return folders.load_folder(path, **{"image_size": SIZE, "cache_dir": cache, "progress": False, **options})


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path):
    return fill(tmp_path / ("a.zip" if request.param == "zip" else "f"), contents())


def fill(path, files):
    return make_zip(path, files) if path.suffix == ".zip" else make_folder(path, files)


def directories(cache):
    """The directories of finished arrays."""
    return {manifest.parent for manifest in cache.glob("*/*/manifest.json")}


def check(folder, names, labels):
    """The pixels against the colours they were made with."""
    assert folder.names == names and folder.labels.tolist() == labels and folder.labels.dtype == np.int32
    assert folder.images.shape == (len(names), *SIZE, 3) and folder.images.dtype == np.uint8
    for image, name, label in zip(folder.images, names, labels):
        assert (image == colour(label, int(name.split("/")[1].split(".")[0]))).all(), name


# What is in a folder


def test_natural_order_and_what_is_passed_over(tmp_path):
    files = {f"{c}/{n}": b"" for c in ("b", "a") for n in ("10.jpg", "9.JPEG", "x2.png", "x10.png", "1.Gif", "1.bmp")}
    files |= {"a/Thumbs.db": b"", "a/.hidden.jpg": b"", "a/notes.txt": b"", ".git/1.jpg": b"", "docs/readme.txt": b""}
    files |= {"top.jpg": b"", "a/deeper/1.jpg": b""}
    entries, classes = folders.scan(make_folder(tmp_path, files))
    order = ["1.bmp", "1.Gif", "9.JPEG", "10.jpg", "x2.png", "x10.png"]
    assert classes == ("a", "b")
    assert [(e.name, e.label) for e in entries] == [(f"{c}/{n}", i) for i, c in enumerate("ab") for n in order]


def test_folder_parent_and_zip_are_one_set(tmp_path):
    files = contents()
    folder = make_folder(tmp_path / "parent" / "PetImages", files)
    inside = {f"PetImages/{n}": d for n, d in files.items()} | {"readme.txt": b"hello", "__MACOSX/Cat/._1.jpg": b"x"}
    stored = make_zip(tmp_path / "stored.zip", inside)
    packed = make_zip(tmp_path / "packed.zip", files, compression=zipfile.ZIP_DEFLATED)
    windows = make_zip(tmp_path / "windows.zip", {f"./{n}".replace("/", "\\"): d for n, d in files.items()})
    names, labels = list(files), [0] * 6 + [1] * 6
    for path in (folder, folder.parent, stored, packed, windows):
        loaded = load(path, tmp_path / "cache")
        check(loaded, names, labels)
        assert loaded.class_names == ("Cat", "Dog") and loaded.bad == []
    assert len(directories(tmp_path / "cache")) == 1  # the same content, wherever it is


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "expected class folders with pictures.*found no picture"),
        ({"Cat/notes.txt": b"x", "Dog/notes.txt": b"x"}, "found no picture"),
        ({"1.jpg": b"x", "2.jpg": b"x"}, "found 2 pictures outside"),
        ({"Cat/1.jpg": b"x", "Dog/readme.txt": b"x"}, "in one class, Cat"),
        ({"train/Cat/1.jpg": b"x", "test/Cat/1.jpg": b"x"}, r"several sets of classes \(test, train\)"),
    ],
)
def test_no_set_of_classes(tmp_path, files, reason):
    (tmp_path / "data").mkdir()
    make_zip(tmp_path / "data.zip", files)
    for path in (make_folder(tmp_path / "data", files), tmp_path / "data.zip"):
        with pytest.raises(ValueError, match=reason) as raised:
            load(path, tmp_path / "cache")
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "cache").exists()


def test_no_such_path_and_no_zip(tmp_path):
    with pytest.raises(ValueError, match="no such folder or zip"):
        folders.scan(tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="neither a folder nor a whole zip"):
        folders.scan(tmp_path / "text")
    whole = make_zip(tmp_path / "whole.zip", contents()).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="neither a folder nor a whole zip"):
        folders.scan(tmp_path / "cut.zip")


def test_the_survey_counts_what_is_there_also_what_is_unusable(source, tmp_path):
    files = contents() | {"Cat/0.jpg": png(1, 2, 3, size=(300, 200)), "Dog/5.jpg": b"", "Dog/4.jpg": b"text"}
    files["Cat/1.jpg"] = files["Cat/1.jpg"][:-30]  # its header is whole
    fill(source, files)
    for _ in range(2):  # decoded, then from the cache
        found = load(source, tmp_path / "cache", max_bad_fraction=0.5).survey
        assert found.counts == {"Cat": 6, "Dog": 6} and found.unreadable == 2
        assert found.bytes == sum(map(len, files.values()))
        assert found.sizes == {(16, 12): 9, (300, 200): 1} and next(iter(found.sizes)) == (16, 12)
        assert str(found).startswith("12 pictures (Cat 6, Dog 6), 0.2 MB, most common size 16 x 12 (9), 2 unread")


# Zips that lie


@pytest.mark.parametrize(
    "name", ["../Cat/9.jpg", "/Cat/9.jpg", "Cat/../../9.jpg", "C:/9.jpg", "..\\Cat\\9.jpg", "\\9.jpg"]
)
def test_names_that_lead_outside(tmp_path, name):
    path = make_zip(tmp_path / "a.zip", contents() | {name: b"x"})
    with pytest.raises(ValueError, match="leads outside"):
        load(path, tmp_path / "cache")


def test_links(tmp_path):
    path = make_zip(tmp_path / "a.zip", contents())
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("Cat/link.jpg")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match=r"'Cat/link\.jpg' is a link"):
        load(path, tmp_path / "cache")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubles(tmp_path):
    path = make_zip(tmp_path / "a.zip", contents())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("Cat/./0.jpg", png(9, 9, 9))
    with pytest.raises(ValueError, match=r"two of 'Cat/0.jpg'"):
        load(path, tmp_path / "cache")


def edit_central(path, name, at, form, value):
    """Overwrites a field of an entry in the central directory."""
    data = bytearray(path.read_bytes())
    start = data.rindex(name.encode()) - 46
    assert data[start : start + 4] == b"PK\1\2"
    struct.pack_into(form, data, start + at, value)
    path.write_bytes(data)


def test_encrypted_and_unknown_packing(tmp_path):
    path = make_zip(tmp_path / "a.zip", contents())
    edit_central(path, "Dog/3.jpg", 8, "<H", 1)
    with pytest.raises(ValueError, match=r"'Dog/3\.jpg' is encrypted"):
        load(path, tmp_path / "cache")
    path = make_zip(tmp_path / "b.zip", contents(), compression=zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="packed by method 14"):
        load(path, tmp_path / "cache")


def test_a_bomb_that_says_so(tmp_path):
    path = make_zip(tmp_path / "a.zip", contents())
    for i in range(6):
        edit_central(path, f"Cat/{i}.jpg", 24, "<I", 1 << 30)
    with pytest.raises(ValueError, match="bytes that unpack to"):
        load(path, tmp_path / "cache")


def test_overlapping_entries(tmp_path):
    path = make_zip(tmp_path / "a.zip", contents())
    for i in range(6):
        edit_central(path, f"Cat/{i}.jpg", 20, "<I", path.stat().st_size // 2)
    with pytest.raises(ValueError, match="overlap"):
        load(path, tmp_path / "cache")


def test_a_bomb_that_lies_stops_at_its_claim(tmp_path):
    files = contents() | {"Cat/bomb.bmp": bytes(20_000_000)}
    path = make_zip(tmp_path / "a.zip", files, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 50_000
    edit_central(path, "Cat/bomb.bmp", 24, "<I", 1000)
    entry = next(e for e in folders.scan(path)[0] if e.name == "Cat/bomb.bmp")
    with open(path, "rb") as file:
        assert len(zips.read(file.fileno(), entry.place, entry.size)) == 1001
    loaded = load(path, tmp_path / "cache", max_bad_fraction=0.5)
    assert loaded.bad == [("Cat/bomb.bmp", "more of the 1,000 bytes announced")]


def test_one_entry_beyond_the_limit_is_bad(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "MAX_BYTES", 5000)
    files = contents() | {"Cat/0.jpg": bytes(5001)}
    for path in (make_zip(tmp_path / "a.zip", files), make_folder(tmp_path / "f", files)):
        loaded = load(path, tmp_path / "cache", max_bad_fraction=0.5)
        assert loaded.bad == [("Cat/0.jpg", "5,001 bytes are more than the 5,000 allowed")]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_entries_are_bad_and_the_rest_is_right(tmp_path, compression):
    path = make_zip(tmp_path / "a.zip", contents(40), compression=compression)
    places = [e.place for e in folders.scan(path)[0]]
    data = bytearray(path.read_bytes())
    data[places[3].offset + 60] ^= 0xFF  # in the content
    data[places[50].offset] ^= 0xFF  # in the local header
    path.write_bytes(data)
    loaded = load(path, tmp_path / "cache")
    assert [name for name, _ in loaded.bad] == ["Cat/3.jpg", "Dog/10.jpg"]
    assert all(reason.startswith("damaged") for _, reason in loaded.bad)
    names = [n for n in contents(40) if n not in ("Cat/3.jpg", "Dog/10.jpg")]
    check(loaded, names, [0] * 39 + [1] * 39)


# What is unusable


def test_bad_pictures_are_counted_and_limited(tmp_path):
    files = contents(20) | {"Cat/3.jpg": b"", "Dog/0.jpg": b"some text", "Dog/7.jpg": png(1, 2, 3)[:-30]}
    path = make_folder(tmp_path / "f", files)
    loaded = load(path, tmp_path / "cache", max_bad_fraction=0.08)
    assert [n for n, _ in loaded.bad] == ["Cat/3.jpg", "Dog/0.jpg", "Dog/7.jpg"]
    reasons = [r for _, r in loaded.bad]
    assert reasons[0] == "0 bytes" and "not a JPEG" in reasons[1] and "cut or damaged" in reasons[2]
    names = [n for n in files if n not in dict(loaded.bad)]
    check(loaded, names, [0 if n.startswith("Cat") else 1 for n in names])
    with pytest.raises(ValueError, match=r"3 of 40 pictures are unusable, .*allows 2: Cat/3.jpg: 0 bytes; Dog/0") as e:
        load(path, tmp_path / "cache", max_bad_fraction=0.05)
    assert "\n" not in str(e.value)


def test_a_class_without_usable_pictures(tmp_path):
    path = make_folder(tmp_path / "f", {"Cat/1.jpg": png(1, 1, 1), "Dog/1.jpg": b""})
    with pytest.raises(ValueError, match=r"no picture of class Dog is usable: Dog/1\.jpg: 0 bytes"):
        load(path, tmp_path / "cache", max_bad_fraction=1.0)
    path = make_folder(tmp_path / "g", {"Cat/1.jpg": b"", "Dog/1.jpg": b""})
    with pytest.raises(ValueError, match="no picture of class Cat"):
        load(path, tmp_path / "cache", max_bad_fraction=1.0)


def test_a_file_that_cannot_be_read_is_bad(tmp_path, monkeypatch):
    path = make_folder(tmp_path / "f", contents())
    found = folders.scan(path)
    (path / "Cat/1.jpg").unlink()
    monkeypatch.setattr(folders, "scan", lambda path: found)
    loaded = load(path, tmp_path / "cache", max_bad_fraction=0.5)
    assert loaded.bad == [("Cat/1.jpg", "cannot be read (No such file or directory)")]


@pytest.mark.parametrize("target", ["loop", "nowhere"])
def test_links_that_lead_nowhere_are_bad_and_end_nothing(tmp_path, target):
    path = make_folder(tmp_path / "f", contents())
    for link in ("Cat/link.jpg", "Cat/link", "link"):
        (path / link).symlink_to(Path(link).name if target == "loop" else target)
    loaded = load(path, tmp_path / "cache", max_bad_fraction=0.5)
    reason = "Too many levels of symbolic links" if target == "loop" else "No such file or directory"
    assert loaded.bad == [("Cat/link.jpg", f"cannot be read ({reason})")] and len(loaded.images) == 12
    assert load(path, tmp_path / "cache", max_bad_fraction=0.5)[2:] == loaded[2:]


def test_pipes_are_passed_over(tmp_path):
    path = make_folder(tmp_path / "f", contents())
    os.mkfifo(path / "Cat/pipe.jpg")
    assert load(path, tmp_path / "cache").bad == []


def test_a_pipe_and_a_file_that_is_too_large_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(20 << 30)
    for name, reason in (("pipe", "^not a regular file$"), ("large", "^21,474,836,480 bytes are more than the 134,")):
        with pytest.raises(ValueError, match=reason):
            listing.read_file(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match="not a regular file"):
        listing.read_file("/dev/zero")


def test_names_that_no_screen_can_show_are_escaped(tmp_path):
    """A folder with a byte of Latin-1, a file with an end of line; both are read."""
    names = {b"caf\xe9/1.jpg": r"caf\xe9/1.jpg", b"Dog/a\n\x1b[31m.jpg": r"Dog/a\x0a\x1b[31m.jpg"}
    for i, name in enumerate(names):
        file = os.path.join(os.fsencode(tmp_path / "f"), name)
        os.makedirs(os.path.dirname(file))
        with open(file, "wb") as stream:
            stream.write(png(*colour(i, 1)))
    loaded = load(tmp_path / "f", tmp_path / "cache")
    assert loaded.class_names == ("Dog", r"caf\xe9") and sorted(loaded.names) == sorted(names.values())
    assert str(loaded.survey).isprintable() and loaded.bad == []


def test_names_in_a_zip_that_no_screen_can_show_are_escaped(tmp_path):
    path = make_zip(tmp_path / "a.zip", contents() | {"Cat/a\n\x1b[2J.jpg": b"x"})
    loaded = load(path, tmp_path / "cache", max_bad_fraction=0.5)
    assert [name for name, _ in loaded.bad] == [r"Cat/a\x0a\x1b[2J.jpg"]


def test_the_end_of_a_decoding_waits_for_one_picture_not_for_sixteen(tmp_path, monkeypatch):
    """As Ctrl-C does: the generator is closed while threads decode."""
    path, seen = make_folder(tmp_path / "f", contents(200)), []
    monkeypatch.setattr(folders, "_examine", lambda entry, *_: seen.append(entry) or time.sleep(0.05) or (None, None))
    found = folders._examined(folders.scan(path)[0], (SIZE, "stretch", 3), False)
    next(found)
    before = len(seen)
    found.close()
    threads = len(os.sched_getaffinity(0))
    assert len(seen) <= before + threads


def test_progress_is_one_line_without_a_terminal(tmp_path, capsys):
    path = make_folder(tmp_path / "f", contents())
    load(path, tmp_path / "cache", progress=True)
    out, err = capsys.readouterr()
    assert out.startswith("decoding: 12 pictures in ") and out.count("\n") == 1 and err == ""
    load(path, tmp_path / "cache", progress=True)
    assert capsys.readouterr() == ("", "")


# The cache


def test_the_second_start_decodes_nothing(source, tmp_path, monkeypatch):
    first = load(source, tmp_path / "cache")
    monkeypatch.setattr(pictures, "examine", None)
    second = load(source, tmp_path / "cache")
    assert isinstance(second.images, np.memmap) and not second.images.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        second.images[0] = 0
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first[2:] == second[2:]


def test_size_mode_and_content_have_caches_of_their_own(source, tmp_path):
    load(source, tmp_path / "cache")
    load(source, tmp_path / "cache", image_size=(8, 6))
    load(source, tmp_path / "cache", resize="pad")
    load(source, tmp_path / "cache", channels=1)
    assert len(directories(tmp_path / "cache")) == 4
    changed = contents() | {"Dog/2.jpg": png(77, 77, 77)}
    fill(source, changed)
    assert (load(source, tmp_path / "cache").images[8] == 77).all()
    assert len(directories(tmp_path / "cache")) == 5


def test_a_file_is_noticed_that_changes_but_for_its_length_and_mtime(tmp_path):
    path = make_folder(tmp_path / "f", contents())
    file = path / "Dog/2.jpg"
    load(path, tmp_path / "cache")
    before, data = file.stat(), png(100, 3, 0)
    assert len(data) == before.st_size
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (load(path, tmp_path / "cache").images[8] == (100, 3, 0)).all()


@pytest.fixture
def settled(monkeypatch):
    """As if all files had been written long ago."""
    monkeypatch.setattr(time, "time_ns", lambda real=time.time_ns: real() + 10 * 10**9)


@pytest.fixture
def reads(monkeypatch):
    """The names of the pictures in the order in which they are read."""
    names = []
    for module in (folders, checksums):
        monkeypatch.setattr(module, "read", lambda entry: names.append(entry.name) or listing.read(entry))
    return names


def test_each_file_is_read_once_then_never(source, tmp_path, settled, reads):
    first = load(source, tmp_path / "cache")
    assert sorted(reads) == sorted(contents())
    reads.clear()
    again = load(source, tmp_path / "cache")
    np.testing.assert_array_equal(again.images, first.images)
    assert again[2:] == first[2:] and reads == []
    load(source, tmp_path / "cache", resize="pad")
    assert sorted(reads) == sorted(contents())


def test_a_copy_is_read_once_and_not_decoded(tmp_path, settled, reads, monkeypatch):
    first = load(make_folder(tmp_path / "f", contents()), tmp_path / "cache")
    copy = make_folder(tmp_path / "g", contents())
    monkeypatch.setattr(pictures, "examine", None)
    reads.clear()
    for _ in range(2):
        np.testing.assert_array_equal(load(copy, tmp_path / "cache").images, first.images)
        assert sorted(reads) == sorted(contents())


@pytest.mark.parametrize("damage", ["", "{", "[]", *(f'{{"Cat/0.jpg": {r}}}' for r in ("3", "[1, 2]", "[]", '["x"]'))])
def test_a_damaged_index_costs_time_only(tmp_path, settled, damage):
    path = make_folder(tmp_path / "f", contents())
    first = load(path, tmp_path / "cache")
    (index,) = (tmp_path / "cache").glob("index-*.json")
    whole = index.read_bytes()
    index.write_text(damage)
    assert load(path, tmp_path / "cache")[2:] == first[2:] and index.read_bytes() == whole


def test_what_changed_just_now_is_not_remembered(tmp_path, reads):
    path = make_folder(tmp_path / "f", contents())
    load(path, tmp_path / "cache")
    reads.clear()
    load(path, tmp_path / "cache")
    assert sorted(reads) == sorted(contents())


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "manifest.json").unlink(),
        lambda d: (d / "manifest.json").write_text("[1, 2]"),
        lambda d: os.truncate(d / "array.bin", 100),
        lambda d: shutil.copytree(d, d.parent / "new"),
    ],
)
def test_a_damaged_cache_is_built_again(source, tmp_path, damage):
    load(source, tmp_path / "cache")
    (directory,) = directories(tmp_path / "cache")
    damage(directory)
    check(load(source, tmp_path / "cache"), list(contents()), [0] * 6 + [1] * 6)
    assert directory in directories(tmp_path / "cache")
    assert sorted(os.listdir(directory)) == [".lock", "array.bin", "manifest.json"]


def test_killed_anywhere_while_building(tmp_path):
    """Children of this process build and are killed; what is there afterwards is whole or is not taken for a cache."""
    path = make_folder(tmp_path / "f", contents(300))
    for name in ("first", "clean"):
        began = time.monotonic()
        clean = load(path, tmp_path / name)
        duration = time.monotonic() - began
    ends, chance = [], random.Random(0)
    while ends.count(-signal.SIGKILL) < 12:
        child = os.fork()
        if child == 0:
            os._exit(load(path, tmp_path / "cache") is None)
        time.sleep(chance.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        duration *= 1.2 if ends[-1] else 0.7  # how long it takes depends on what else the machine does
        for directory in directories(tmp_path / "cache"):  # finished: it must be all of it
            assert (directory / "array.bin").read_bytes() == clean.images.tobytes()
            shutil.rmtree(directory)
    assert set(ends) <= {0, -signal.SIGKILL}
    again = load(path, tmp_path / "cache")
    np.testing.assert_array_equal(again.images, clean.images)
    assert again.names == clean.names
    (directory,) = directories(tmp_path / "cache")
    assert sorted(os.listdir(directory.parent)) == sorted([".lock", directory.name])


def test_two_builders_at_once(tmp_path):
    path = make_folder(tmp_path / "f", contents(100))
    children = []
    for _ in range(3):
        children.append(os.fork())
        if children[-1] == 0:
            status = 1
            try:
                loaded = load(path, tmp_path / "cache")
                status = 0 if len(loaded.images) == 200 and (loaded.images[-1] == colour(1, 99)).all() else 2
            finally:
                os._exit(status)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    (directory,) = directories(tmp_path / "cache")
    assert sorted(os.listdir(directory)) == [".lock", "array.bin", "manifest.json"]


def test_a_limit_on_file_sizes(tmp_path):
    """RLIMIT_FSIZE, in a child: a real refusal by the kernel."""
    import resource

    path = make_folder(tmp_path / "f", contents())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            load(path, tmp_path / "cache")
        except OSError as error:
            told = "needs 0.0 MB" in str(error) and "make room" in str(error)
            status = 0 if told and not directories(tmp_path / "cache") else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_error_while_building_leaves_nothing(tmp_path, monkeypatch):
    path = make_folder(tmp_path / "f", contents())

    def broken(*_, **__):
        raise RuntimeError("a mistake in the program")

    monkeypatch.setattr(pictures, "examine", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        load(path, tmp_path / "cache")
    assert {file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()} == {".lock"}


# What is known about the pictures


def test_changed_pictures_are_surveyed_again(tmp_path):
    path = make_folder(tmp_path / "f", contents())
    load(path, tmp_path / "cache")
    make_folder(path, {"Cat/9.jpg": png(0, 9, 0, size=(30, 20)), "Dog/9.jpg": b""})
    found = load(path, tmp_path / "cache", max_bad_fraction=0.5).survey
    assert found.counts == {"Cat": 7, "Dog": 7} and found.unreadable == 1
    assert found.sizes == {(16, 12): 12, (30, 20): 1}


def test_content_does_not_depend_on_names_places_and_sizes(tmp_path):
    files = contents()
    first = load(make_folder(tmp_path / "f", files), tmp_path / "cache").content
    renamed = {f"{'Katze' if n.startswith('C') else 'Hund'}/x{n[4:]}": d for n, d in files.items()}
    others = [
        make_folder(tmp_path / "again" / "PetImages", files),
        make_folder(tmp_path / "renamed", renamed),
        make_zip(tmp_path / "stored.zip", files),
        make_zip(tmp_path / "packed.zip", renamed, compression=zipfile.ZIP_DEFLATED),
    ]
    assert {load(path, tmp_path / "cache").content for path in others} == {first}
    assert load(tmp_path / "f", tmp_path / "cache", image_size=(3, 4), resize="pad", channels=1).content == first
    assert load(tmp_path / "f", tmp_path / "elsewhere").content == first


@pytest.mark.parametrize(
    "change",
    [
        {"Dog/2.jpg": png(77, 77, 77)},
        {"Dog/2.jpg": b"no picture"},
        {"Dog/6.jpg": png(77, 77, 77)},
        {"Dog/6.jpg": contents()["Cat/0.jpg"]},
        {"Dog/2.jpg": None},
    ],
    ids=["changed", "broken", "new", "double", "removed"],
)
def test_content_depends_on_the_bytes(tmp_path, change):
    files = {name: data for name, data in (contents() | change).items() if data is not None}
    options = {"cache": tmp_path / "cache", "max_bad_fraction": 0.5}
    contents_of = {load(make_folder(tmp_path / "a", contents()), **options).content}
    contents_of |= {load(path, **options).content for path in (make_folder(tmp_path / "b", files),)}
    contents_of |= {load(make_zip(tmp_path / "b.zip", files), **options).content}
    assert len(contents_of) == 2


# The real photographs


@pytest.fixture(scope="module")
def real_entries():
    if not (REAL / "PetImages.zip").exists():
        pytest.skip("no cats_vs_dogs/PetImages.zip")
    return folders.scan(REAL / "PetImages.zip")


@pytest.mark.real_data
def test_real_archive(real_entries):
    entries, classes = real_entries
    assert classes == ("Cat", "Dog") and len(entries) > 9_000
    assert [e.name for e in entries[:3]] == ["Cat/0.jpg", "Cat/1.jpg", "Cat/2.jpg"]
    some = [e for e in entries if int(e.name[4:-4]) % 40 == 0 or e.name in ("Cat/666.jpg", "Dog/11702.jpg")]
    results = dict(zip((e.name for e in some), folders._examined(some, ((125, 94), "stretch", 3), False)))
    reasons = {name: reason for name, (_, (_, _, reason)) in results.items() if reason}
    assert reasons == {"Cat/666.jpg": "0 bytes", "Dog/11702.jpg": "0 bytes"}
    assert {len(rows) for name, (rows, _) in results.items() if name not in reasons} == {1}


@pytest.mark.real_data
@pytest.mark.parametrize("size", [(125, 94), (94, 125), (150, 150), (32, 32)])
def test_real_photographs_look_like_fully_decoded_ones(real_entries, size):
    entries = [e for e in real_entries[0] if int(e.name[4:-4]) % 17 == 0 and int(e.name[4:-4]) < 1000][:60]
    differences = []
    for entry in entries:
        data = folders.read(entry)
        full = Image.open(io.BytesIO(data)).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
        differences.append(np.abs(pictures.decode(data, size).astype(int) - np.asarray(full)).mean())
    assert np.mean(differences) < 2.5 and np.max(differences) < 8, (np.mean(differences), np.max(differences))
