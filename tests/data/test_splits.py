"""Three parts of a set: how they are shown, checked and told from others."""

import numpy as np
import pytest

from tfcore.data import Arrays, Splits, check_splits, content
from tfcore.data.order import Rows, take
from tfcore.data.splits import Source

COUNTS = {"train": 40, "validation": 10, "test": 12}


def made(**changes):
    """Splits of 4 x 5 pictures, with `part=(images, labels)` changed."""
    rng, parts = np.random.default_rng(0), {}
    for part, n in COUNTS.items():
        images, labels = rng.integers(0, 256, (n, 4, 5, 1), np.uint8), (np.arange(n) % 3).astype(np.int32)
        parts[part] = Arrays(*changes.pop(part, lambda images, labels: (images, labels))(images, labels))
    return Splits(**{**parts, "class_names": ("a", "b", "c"), "name": "made", **changes})


def test_they_are_shown_in_one_line_without_their_pixels():
    splits = made()
    assert repr(splits.train) == "Arrays(images [40, 4, 5, 1] uint8, labels [40] int32)"
    assert repr(splits) == (
        "Splits(made: train Arrays(images [40, 4, 5, 1] uint8, labels [40] int32), "
        "validation Arrays(images [10, 4, 5, 1] uint8, labels [10] int32), "
        "test Arrays(images [12, 4, 5, 1] uint8, labels [12] int32); 3 classes a, b, c)"
    )
    assert repr(made(class_names=tuple("abcde"))).endswith("; 5 classes a, b, c, ...)")


def test_showing_reads_nothing_from_the_disk(tmp_path):
    class Untouched(Rows):
        def __getitem__(self, index):
            raise AssertionError("read")

    images = Untouched(np.zeros((5, 2, 2, 1), np.uint8), np.arange(3))
    assert repr(Arrays(images, [0, 1, 2])) == "Arrays(images [3, 2, 2, 1] uint8, labels [3] int64)"


PROBLEMS = {
    "fewer labels": (lambda x, y: (x, y[:-1]), "{n} images, but {n_less} labels"),
    "empty": (lambda x, y: (x[:0], y[:0]), "there are no images"),
    "one-hot": (lambda x, y: (x, np.eye(3)[y]), r"the labels are \[{n}, 3\] float64, they must be one integer for"),
    "floating": (lambda x, y: (x, y / 1), r"the labels are \[{n}\] float64, they must be one integer for each image"),
    "one wide": (lambda x, y: (x, y[:, None]), r"the labels are \[{n}, 1\] int32, they must be"),
    "too large": (lambda x, y: (x, np.where(y == 2, 3, y)), "label 3 at 2, but the 3 classes are 0 to 2"),
    "negative": (lambda x, y: (x, y - 1), "label -1 at 0, but the 3 classes are 0 to 2"),
}


@pytest.mark.parametrize("part", COUNTS)
@pytest.mark.parametrize(("change", "words"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_nothing_could_learn_from_is_refused_by_name(part, change, words):
    words = words.replace("{n}", str(COUNTS[part])).replace("{n_less}", str(COUNTS[part] - 1))
    with pytest.raises(ValueError, match=f"^{part}: {words}") as caught:
        check_splits(made(**{part: change}))
    assert "\n" not in str(caught.value)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"^test: images of shape \[4, 4, 1\], those of train \[4, 5, 1\]"):
        check_splits(made(test=lambda x, y: (x[:, :, :4], y)))


def test_what_is_whole_is_accepted():
    check_splits(made())
    check_splits(made(train=lambda x, y: (x, y.astype(np.uint8).tolist())))
    check_splits(made(validation=lambda x, y: (x[:0], y[:0])), may_be_empty=("validation",))


def pixel(x, y):
    x[-1, -1, -1, -1] ^= 1
    return x, y


CHANGES = [
    {"train": pixel}, {"validation": pixel}, {"test": pixel},
    {"train": lambda x, y: (x, np.roll(y, 1))}, {"test": lambda x, y: (x[:-1], y[:-1])},
    {"test": lambda x, y: (x[::-1], y)}, {"train": lambda x, y: (x.reshape(40, 5, 4, 1), y)},
    {"class_names": ("a", "c", "b")},
]  # fmt: skip


def test_other_content_is_another_hash():
    hashes = [content(made()), *(content(made(**change)) for change in CHANGES)]
    assert len(set(hashes)) == len(CHANGES) + 1 and all(len(one) == 64 for one in hashes)
    assert content(made(name="renamed")) == content(made()) == hashes[0]


def test_content_of_pictures_on_disk_is_that_of_their_files_and_of_a_few_of_them(tmp_path):
    def mapped(x, y):
        np.save(tmp_path / f"{len(x)}.npy", x)
        return take(np.load(tmp_path / f"{len(x)}.npy", mmap_mode="r"), np.arange(len(x))), y

    on_disk = dict.fromkeys(COUNTS, mapped)
    assert content(made(**on_disk)) == content(made())  # read where nothing else tells
    sources = [Source([], None, "content", order) for order in ("one", "two")]
    assert len({content(made(**on_disk, source=source)) for source in (None, *sources)}) == 3
    other = {**on_disk, "train": lambda x, y: mapped(x[::-1], y)}  # chosen by another seed
    assert content(made(**other, source=sources[0])) != content(made(**on_disk, source=sources[0]))
