"""The named sets: digits, small files in MNIST's format, and the real ones where they are."""

import gzip
import hashlib
import itertools
import shutil
import struct
import zipfile

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from tfcore.data import datasets, sources
from tfcore.data.datasets import Arrays, find_files, first_at_hand, load, split
from tfcore.data.order import Rows
from tfcore.data.sources import DIGIT_CLASSES, FASHION_CLASSES

COUNTS = {"train": 60, "t10k": 20}


def small_set(seed):
    """Images and labels of both parts, {published name: array}."""
    rng, arrays = np.random.default_rng(seed), {}
    for part, n in COUNTS.items():
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.permutation(np.arange(n) % 10).astype(np.uint8)
    return arrays


def write(folder, arrays, *, end=".gz"):
    """Writes the published files into `folder`, which it returns."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
        (folder / (name + end)).write_bytes(gzip.compress(content) if end else content)
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path, request):
    """No network, no data directory, an empty cache. Returns the list of (address, options) asked for."""
    if "real_data" in request.fixturenames:
        request.getfixturevalue("real_data")  # it looks into the variable that goes now
    monkeypatch.delenv("TFCORE_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = []

    def refuse(url, path, **options):
        asked.append((url, options))
        raise OSError(f"cannot download {url}: no network")

    monkeypatch.setattr(sources, "download", refuse)
    return asked


def assert_holds(splits, arrays):
    """Asserts that test is the test part, in order, and that the others share out the training part."""
    images, labels = arrays["t10k-images-idx3-ubyte"], arrays["t10k-labels-idx1-ubyte"]
    np.testing.assert_array_equal(splits.test.images[..., 0], images)
    np.testing.assert_array_equal(splits.test.labels, labels)
    together = Arrays(*map(np.concatenate, zip(splits.train, splits.validation)))
    both = [arrays["train-images-idx3-ubyte"], arrays["train-labels-idx1-ubyte"]]
    assert sorted(pairs(together)) == sorted(pairs(Arrays(*both)))


def pairs(arrays):
    return [(image.tobytes(), int(label)) for image, label in zip(*arrays)]


def assert_form(splits, sizes, name, classes):
    for part, n in zip((splits.train, splits.validation, splits.test), sizes):
        assert part.images.dtype == np.uint8 and part.images.shape == (n, 28, 28, 1)
        assert part.labels.dtype == np.int32 and part.labels.shape == (n,)
        assert part.labels.min() >= 0 and part.labels.max() <= 9
    assert (splits.name, splits.class_names) == (name, classes)


def test_digits_need_no_files(offline):
    assert_form(load("digits"), (1248, 249, 300), "digits", DIGIT_CLASSES)
    assert offline == []


def test_digits_are_all_of_scikit_learn_s_once():
    """The splits share nothing and cover the set: as many of each image as there are, duplicates included."""
    source = sklearn.datasets.load_digits()
    splits = load("digits")
    found = [pair for part in splits[:3] for pair in pairs(part)]
    assert len(found) == len(source.target) == 1797
    assert sorted(label for _, label in found) == sorted(source.target.tolist())
    assert len(set(found)) == len({(image.tobytes(), label) for image, label in zip(source.images, source.target)})


def test_digits_are_enlarged_not_changed():
    """Each enlarged image has the mean of its 8 x 8 original, within a few grey levels, and uses the whole range."""
    source = sklearn.datasets.load_digits()
    splits = load("digits")
    found = np.sort(np.concatenate([part.images.mean((1, 2, 3)) for part in splits[:3]]))
    np.testing.assert_allclose(found, np.sort(source.images.mean((1, 2)) * 255 / 16), atol=6)
    assert splits.train.images.max() == 255 and splits.train.images.min() == 0


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_seed_chooses_the_validation_split_only(tmp_path, name):
    data_dir = write(tmp_path, small_set(0)) if name == "mnist" else None
    first, again, other = (load(name, data_dir, seed=seed) for seed in (0, 0, 1))
    for a, b in zip(first[:3], again[:3]):
        assert pairs(a) == pairs(b)
    assert pairs(first.validation) != pairs(other.validation)
    assert pairs(first.test) == pairs(other.test)


@pytest.mark.parametrize(("validation", "wanted"), [(0, 0), (1, 1), (7, 7), (10, 10), (11, 10), (5000, 10)])
def test_validation_is_at_most_a_sixth(tmp_path, validation, wanted):
    arrays = small_set(0)
    splits = load("mnist", write(tmp_path, arrays), validation=validation)
    assert (len(splits.train.labels), len(splits.validation.labels)) == (60 - wanted, wanted)
    assert_holds(splits, arrays)


@pytest.mark.parametrize("option", ["validation", "train_examples"])
def test_negative_numbers_are_refused(option):
    with pytest.raises(ValueError, match=f"^{option}=-1 must not be negative"):
        load("digits", **{option: -1})


def test_split_keeps_the_pairs_and_the_order():
    arrays = Arrays(np.arange(50, dtype=np.uint8)[:, None], np.arange(50, dtype=np.int32))
    rest, held_out = split(arrays, 20, seed=3)
    for part in (rest, held_out):
        np.testing.assert_array_equal(part.images[:, 0], part.labels)
        assert (np.diff(part.labels) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([rest.labels, held_out.labels])), np.arange(50))
    assert len(held_out.labels) == 20


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("end", [".gz", ""])
@pytest.mark.parametrize("place", ["flat", "variable", "variable_flat", "cache"])
def test_sets_are_found(tmp_path, monkeypatch, offline, name, end, place):
    data_dir, arrays = str(tmp_path / "data"), small_set(1)
    folder = tmp_path / "cache" / "tfcore" if place == "cache" else tmp_path / "data"
    write(folder if place.endswith("flat") else folder / name, arrays, end=end)
    if place.startswith("variable"):
        monkeypatch.setenv("TFCORE_DATA_DIR", data_dir)
    splits = load(name, data_dir if place in ("flat") else None)
    assert_form(splits, (50, 10, 20), name, {"mnist": DIGIT_CLASSES, "fashion_mnist": FASHION_CLASSES}[name])
    assert_holds(splits, arrays)
    assert offline == []


def test_the_folder_of_the_set_comes_first(tmp_path):
    write(tmp_path, small_set(1))
    write(tmp_path / "fashion_mnist", small_set(2))
    write(tmp_path / "mnist", small_set(3))
    assert_holds(load("mnist", tmp_path), small_set(3))


def test_the_variable_comes_before_the_cache_and_the_argument_before_both(tmp_path, monkeypatch):
    monkeypatch.setenv("TFCORE_DATA_DIR", str(tmp_path / "variable"))
    write(tmp_path / "cache" / "tfcore" / "mnist", small_set(1))
    assert_holds(load("mnist"), small_set(1))
    write(tmp_path / "variable" / "mnist", small_set(2))
    assert_holds(load("mnist"), small_set(2))
    assert_holds(load("mnist", write(tmp_path / "argument", small_set(3))), small_set(3))


def test_no_home_directory_is_one_sentence(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(sources.Path, "home", nowhere)
    with pytest.raises(OSError, match="no home directory for the cache: set XDG_CACHE_HOME"):
        load("mnist")


@pytest.mark.parametrize("missing", small_set(0))
def test_a_missing_file_is_named_and_not_downloaded(tmp_path, offline, missing):
    write(tmp_path, small_set(0))
    (tmp_path / f"{missing}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=rf"^no {missing}\.gz in {tmp_path}/mnist: .*data_dir=") as caught:
        load("mnist", tmp_path)
    assert "\n" not in str(caught.value) and offline == []


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_set_asked_for_by_name_is_never_replaced(tmp_path, monkeypatch, name):
    other = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}[name]
    monkeypatch.setenv("TFCORE_DATA_DIR", str(write(tmp_path / other, small_set(0)).parent))
    with pytest.raises(OSError, match=r"cannot download .*/train-images-idx3-ubyte\.gz: no network"):
        load(name)
    with pytest.raises(OSError, match="no train-images"):
        load(name, tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "", "MNIST", "auto"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match=f"^dataset={name} is not one of mnist, fashion_mnist"):
        load(name)


# The first set at hand

PHOTOS = ("cats_vs_dogs", "fashion_mnist", "digits")


@pytest.mark.parametrize("place", ["argument", "variable", "cache"])
def test_the_first_set_at_hand_is_that_on_disk(tmp_path, monkeypatch, offline, place):
    if place == "variable":
        monkeypatch.setenv("TFCORE_DATA_DIR", str(tmp_path))
    root = tmp_path / "cache" / "tfcore" if place == "cache" else tmp_path
    data_dir, where = (tmp_path, f"in {tmp_path}") if place == "argument" else (None, "on disk")
    write(root / "fashion_mnist", small_set(0))
    assert first_at_hand(("fashion_mnist", "digits"), data_dir) == ("fashion_mnist", f"fashion_mnist is {where}")
    why = f"cats_vs_dogs is not {where}; fashion_mnist is"
    assert first_at_hand(PHOTOS, data_dir) == ("fashion_mnist", why)
    write_pictures(root / "cats_vs_dogs" / "PetImages")
    assert first_at_hand(PHOTOS, data_dir) == ("cats_vs_dogs", f"the photographs are {where}")
    assert offline == []


def test_what_is_nowhere_is_looked_for_once_and_for_seconds(tmp_path, offline):
    why = "neither cats_vs_dogs nor fashion_mnist is on disk or quickly fetched; digits comes with scikit-learn"
    assert first_at_hand(PHOTOS) == ("digits", why)
    ((address, options),) = offline  # never the photographs
    assert "fashion" in address and options["deadline"] <= 20 and options["attempts"] == 1
    why = "mnist is neither on disk nor quickly fetched; digits comes with scikit-learn"
    assert first_at_hand(("mnist", "digits")) == ("digits", why)
    offline.clear()
    why = f"neither cats_vs_dogs nor fashion_mnist is in {tmp_path}; digits comes with scikit-learn"
    assert first_at_hand(PHOTOS, tmp_path) == ("digits", why)
    assert first_at_hand(("digits", "mnist")) == ("digits", "digits comes with scikit-learn")
    assert offline == []


def test_nothing_at_hand_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^none of cats_vs_dogs, mnist, folder is on disk or quickly fetched$"):
        first_at_hand(("cats_vs_dogs", "mnist", "folder"))
    with pytest.raises(FileNotFoundError, match=r"^cats_vs_dogs is not in "):
        first_at_hand(("cats_vs_dogs",), tmp_path)


def test_a_folder_is_at_hand_when_it_is_named(tmp_path):
    assert first_at_hand(("folder", "digits"), tmp_path)[0] == "folder"
    assert first_at_hand(("folder", "digits"))[0] == "digits"


def test_damaged_files_are_at_hand_all_the_same(tmp_path):
    """The set that is meant is not replaced because it is broken: loading it says so."""
    write(tmp_path, small_set(0))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"damaged")
    assert first_at_hand(("mnist", "digits"), tmp_path)[0] == "mnist"


def test_a_set_that_comes_within_seconds_is_at_hand(tmp_path, monkeypatch):
    source, fetched = write(tmp_path / "published", small_set(0)), []

    def fetch(url, path, *, sha256, size, deadline, attempts):
        fetched.append((url, size, sha256))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((source / url.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.setattr(sources, "download", fetch)
    assert first_at_hand(("cats_vs_dogs", "mnist")) == ("mnist", "cats_vs_dogs is not on disk; mnist was fetched")
    assert_holds(load("mnist"), small_set(0))
    files = sources.SOURCES["mnist"][2]
    address = "https://storage.googleapis.com/cvdf-datasets/mnist/"
    assert fetched == [(f"{address}{name}.gz", *about) for name, about in files.items()]
    assert {path.parent for path in find_files("mnist").values()} == {tmp_path / "cache" / "tfcore" / "mnist"}


def test_the_deadline_is_for_the_four_files_together(monkeypatch):
    now, given = itertools.count(0.0, 0.5), []
    monkeypatch.setattr(sources.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(sources, "download", lambda url, path, *, deadline, **_: given.append(deadline))
    find_files("mnist", deadline=20.0)
    assert given == [19.5, 19.0, 18.5, 18.0]


def with_label(labels, value, at=3):
    changed = labels.copy()
    changed[at] = value
    return changed


BAD = {
    "label_10": ("train-labels-idx1-ubyte", lambda a: with_label(a, 10), "label 10 at 3, mnist has 0 to 9"),
    "label_255": ("t10k-labels-idx1-ubyte", lambda a: with_label(a, 255), "label 255 at 3, mnist has 0 to 9"),
    "few_labels": ("train-labels-idx1-ubyte", lambda a: a[:-1], "has 60 images, .* has 59 labels"),
    "few_images": ("t10k-images-idx3-ubyte", lambda a: a[:-1], "has 19 images, .* has 20 labels"),
    "no_images": ("t10k-images-idx3-ubyte", lambda a: a[:0], "has 0 images, .* has 20 labels"),
    "size": ("train-images-idx3-ubyte", lambda a: a[:, :27], r"\(60, 27, 28\), mnist wants \[N, 28, 28\]"),
    "turned": ("t10k-images-idx3-ubyte", lambda a: a.reshape(20, 14, 56), r"\(20, 14, 56\), mnist wants"),
    "flat": ("t10k-images-idx3-ubyte", lambda a: a.reshape(20, 784), "begins with 00000802"),
    "labels_for_images": ("train-images-idx3-ubyte", lambda a: a[:, 0, 0], "begins with 00000801"),
}


@pytest.mark.parametrize(("file", "change", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("end", [".gz", ""])
def test_wrong_content_is_refused(tmp_path, file, change, message, end):
    arrays = small_set(0)
    write(tmp_path, {**arrays, file: change(arrays[file])}, end=end)
    with pytest.raises(ValueError, match=message) as caught:
        load("mnist", tmp_path)
    assert str(tmp_path / file) in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_set_is_refused(tmp_path):
    write(tmp_path, {name: array[:0] for name, array in small_set(0).items()})
    with pytest.raises(ValueError, match="N at least 1"):
        load("mnist", tmp_path)


def test_a_set_too_small_to_hold_some_out_is_refused(tmp_path):
    write(tmp_path, {name: array[:5] for name, array in small_set(0).items()})
    with pytest.raises(ValueError, match=r"^validation: there are no images"):
        load("mnist", tmp_path)
    assert len(load("mnist", tmp_path, validation=0).train.labels) == 5


def test_one_set_in_the_place_of_another_is_refused(tmp_path, monkeypatch):
    arrays = small_set(0)
    owner = {hashlib.sha256(arrays["t10k-labels-idx1-ubyte"].tobytes()).hexdigest(): "mnist"}
    monkeypatch.setattr(datasets, "OWNERS", owner)
    write(tmp_path, arrays)
    assert load("mnist", tmp_path).name == "mnist"
    with pytest.raises(ValueError, match=r"t10k-labels.* holds the labels of mnist, not of fashion_mnist"):
        load("fashion_mnist", tmp_path)


@pytest.mark.real_data
def test_real_mnist_is_the_published_one(real_data):
    """The hashes are those of the uncompressed published files."""
    published = {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    }
    files = find_files("mnist", real_data)
    for name, sha256 in published.items():
        assert hashlib.sha256(gzip.decompress(files[name].read_bytes())).hexdigest() == sha256
    splits = load("mnist", real_data)
    assert_form(splits, (55_000, 5_000, 10_000), "mnist", DIGIT_CLASSES)
    header = struct.pack(">4I", 0x803, 10_000, 28, 28)
    assert hashlib.sha256(header + splits.test.images.tobytes()).hexdigest() == published["t10k-images-idx3-ubyte"]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    counts = np.bincount(splits.train.labels) + np.bincount(splits.validation.labels)
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.real_data
def test_real_fashion_mnist_has_the_published_counts(real_data):
    splits = load("fashion_mnist", real_data)
    assert_form(splits, (55_000, 5_000, 10_000), "fashion_mnist", FASHION_CLASSES)
    assert splits.class_names[splits.test.labels[0]] == "Ankle boot"
    assert np.bincount(splits.test.labels).tolist() == [1000] * 10
    assert (np.bincount(splits.train.labels) + np.bincount(splits.validation.labels)).tolist() == [6000] * 10
    pixels = np.concatenate([splits.train.images, splits.validation.images]) / np.float32(255)
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [0.2860, 0.3530], atol=2e-3)


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "folder"), [("mnist", "fashion_mnist"), ("fashion_mnist", "mnist")])
def test_the_real_sets_are_not_mistaken(real_data, name, folder):
    with pytest.raises(ValueError, match=f"holds the labels of {folder}, not of {name}"):
        load(name, real_data / folder)


def write_pictures(folder, counts=(("Cat", 14), ("Dog", 13))):
    """Writes CLASS/N.png of 12 x 10, cats dark, dogs bright."""
    for name, count in counts:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            value = i + (200 if name == "Dog" else 0)
            Image.new("RGB", (12, 10), (value, value, value)).save(folder / name / f"{i}.png")
    return folder


def test_a_folder_of_pictures_becomes_three_disjoint_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    splits = load("folder", write_pictures(tmp_path / "mine"), image_size=(5, 6), validation=3)
    assert splits.class_names == ("Cat", "Dog") and splits.train.images.shape == (20, 5, 6, 3)
    parts = [{int(image[0, 0, 0]) for image in part.images} for part in splits[:3]]
    assert [len(part) for part in parts] == [20, 3, 4] and len(set.union(*parts)) == 27
    for part in splits[:3]:
        assert [label == 1 for label in part.labels] == [image[0, 0, 0] >= 200 for image in part.images]


def test_the_test_part_does_not_depend_on_the_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_pictures(tmp_path / "mine")
    one, two = (load("folder", folder, image_size=(5, 6), validation=3, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one.test.images, two.test.images)
    assert not np.array_equal(one.validation.images, two.validation.images)


def test_cats_are_class_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_pictures(tmp_path / "data" / "cats_vs_dogs" / "PetImages")
    splits = load("cats_vs_dogs", tmp_path / "data", image_size=(5, 6), validation=3, train_examples=8)
    assert splits.class_names == ("Dog", "Cat") and len(splits.train.labels) == 8
    assert [label == 0 for label in splits.train.labels] == [image[0, 0, 0] >= 200 for image in splits.train.images]


def test_pictures_that_are_nowhere_are_said_to_be_missing(tmp_path):
    with pytest.raises(OSError, match=r"no PetImages or PetImages\.zip"):
        load("cats_vs_dogs", tmp_path)
    with pytest.raises(ValueError, match="dataset=folder wants data_dir="):
        load("folder")


def test_a_folder_stays_on_the_disk_and_tells_what_it_was_made_of(tmp_path):
    folder = write_pictures(tmp_path / "mine")
    (folder / "Cat" / "99.png").write_bytes(b"")
    splits = load("folder", folder, image_size=(5, 6), validation=3)
    for part in splits[:3]:
        assert isinstance(part.images, Rows) and part.images.dtype == np.uint8
        assert type(part.labels) is np.ndarray and part.labels.dtype == np.int32
    assert splits.source.bad == [("Cat/99.png", "0 bytes")]
    assert splits.source.survey.counts == {"Cat": 15, "Dog": 13} and splits.source.survey.sizes == {(12, 10): 27}
    (kept,) = (tmp_path / "cache" / "tfcore" / "pictures").glob("5x6-*/*/array.bin")
    kept.write_bytes(bytes([7]) * kept.stat().st_size)  # the rows are a map of this file
    assert all((part.images[:] == 7).all() for part in splits[:3])


def test_sets_of_arrays_have_no_source(tmp_path):
    splits = load("mnist", write(tmp_path, small_set(0)))
    assert splits.source is None and load("digits").source is None
    assert all(type(part.images) is np.ndarray for part in splits[:3])


def test_all_pictures_are_the_three_parts_together(tmp_path):
    folder = write_pictures(tmp_path / "mine")
    everything, classes, source = datasets.load_pictures("folder", folder, image_size=(5, 6))
    splits = load("folder", folder, image_size=(5, 6), validation=3)
    together = [pair for part in splits[:3] for pair in pairs(part)]
    assert sorted(together) == sorted(pairs(everything)) and len(together) == 27
    assert (classes, source) == (splits.class_names, splits.source)


def test_too_many_unusable_pictures_are_refused(tmp_path):
    folder = write_pictures(tmp_path / "mine")
    for i in range(3):
        (folder / "Cat" / f"bad{i}.png").write_bytes(b"")
    assert len(load("folder", folder, image_size=(5, 6), max_bad_fraction=0.1).source.bad) == 3
    with pytest.raises(ValueError, match=r"3 of 30 pictures are unusable, max_bad_fraction=0\.09 allows 2: Cat/bad0"):
        load("folder", folder, image_size=(5, 6), max_bad_fraction=0.09)


def zipped(path, folder):
    """Writes the files of `folder` into a zip, under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder.parent))
    return path


PUBLISHED = "kagglecatsanddogs_5340.zip"
PLACES = {
    "PetImages": lambda at, made: shutil.copytree(made, at / "PetImages"),
    "cats_vs_dogs/PetImages": lambda at, made: shutil.copytree(made, at / "cats_vs_dogs" / "PetImages"),
    "PetImages.zip": lambda at, made: zipped(at / "PetImages.zip", made),
    "cats_vs_dogs/PetImages.zip": lambda at, made: zipped(at / "cats_vs_dogs" / "PetImages.zip", made),
    "the published name": lambda at, made: zipped(at / PUBLISHED, made),
    "itself": lambda at, made: shutil.copytree(made, at),
    "itself a zip": lambda at, made: zipped(at, made),
}


@pytest.mark.parametrize("place", PLACES)
def test_cats_vs_dogs_is_found(tmp_path, offline, place):
    made, data_dir = write_pictures(tmp_path / "made" / "PetImages"), tmp_path / "data"
    PLACES[place](data_dir, made)
    splits = load("cats_vs_dogs", data_dir, image_size=(5, 6), validation=3)
    assert (splits.name, splits.class_names) == ("cats_vs_dogs", ("Dog", "Cat"))
    assert splits.source.survey.counts == {"Cat": 14, "Dog": 13} and splits.source.bad == []
    for part in splits[:3]:
        assert part.labels.dtype == np.int32 and set(part.labels) <= {0, 1}
        assert [label == 1 for label in part.labels] == [image[0, 0, 0] < 200 for image in part.images]
    assert offline == []


@pytest.mark.parametrize("place", ["variable", "cache"])
def test_cats_vs_dogs_is_looked_for_in_the_variable_then_in_the_cache(tmp_path, monkeypatch, offline, place):
    made = write_pictures(tmp_path / "made" / "PetImages")
    cache = zipped(tmp_path / "cache" / "tfcore" / "cats_vs_dogs" / PUBLISHED, made)
    if place == "variable":
        monkeypatch.setenv("TFCORE_DATA_DIR", str(tmp_path / "data"))
        shutil.copytree(made, tmp_path / "data" / "cats_vs_dogs" / "PetImages")
        cache.write_bytes(b"not looked at")
    assert len(load("cats_vs_dogs", image_size=(5, 6)).source.survey.counts) == 2 and offline == []


def test_cats_vs_dogs_that_is_nowhere_is_downloaded_into_the_cache(tmp_path, offline):
    with pytest.raises(OSError, match=f"cannot download https://download.microsoft.com/.*{PUBLISHED}"):
        load("cats_vs_dogs")
    ((address, options),) = offline
    assert (options["size"], options["sha256"]) == sources.CATS_VS_DOGS[1:] and address.startswith("https://")


def test_in_a_folder_of_ones_own_the_classes_are_in_the_order_of_their_names(tmp_path):
    everything, classes, _ = datasets.load_pictures("folder", write_pictures(tmp_path / "mine"), image_size=(5, 6))
    assert classes == ("Cat", "Dog")
    assert [label == 1 for label in everything.labels] == [image[0, 0, 0] >= 200 for image in everything.images]
