"""The order of the examples against the Philox generator's paper, rows on disk, and the way from pixels to input."""

import numpy as np
import pytest
import tensorflow as tf

from tfcore.data.order import Rows, batch_indices, epoch_order, passes, preprocess, take

MASK = 2**64 - 1


def philox(counter, key):
    """Philox 4x64 with 10 rounds, as printed in Salmon et al. 2011, on Python integers."""
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [(high >> 64) ^ counter[1] ^ key[0], high & MASK, (low >> 64) ^ counter[3] ^ key[1], low & MASK]
        key = [(key[0] + 0x9E3779B97F4A7C15) & MASK, (key[1] + 0xBB67AE8584CAA73B) & MASK]
    return counter


def test_philox_above_gives_the_published_answers():
    """The known answers that come with the authors' Random123."""
    assert philox([0] * 4, [0] * 2) == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox([MASK] * 4, [MASK] * 2) == [
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0,
    ]  # fmt: skip


@pytest.mark.parametrize(("seed", "epoch", "n"), [(0, 0, 10), (1, 0, 7), (42, 3, 101), (2**40 + 5, 1, 8), (-1, 2, 9)])
def test_order_sorts_the_words_of_the_paper(seed, epoch, n):
    words = [word for block in range(1, n // 4 + 2) for word in philox([block, 0, 0, 0], [seed & MASK, epoch])][:n]
    assert epoch_order(seed, epoch, n).tolist() == sorted(range(n), key=words.__getitem__)


def test_order_sorts_the_words_of_numpy():
    words = np.random.Philox(key=np.array([7, 3], np.uint64)).random_raw(1000)
    np.testing.assert_array_equal(epoch_order(7, 3, 1000), np.argsort(words, kind="stable"))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 64, 1000, 60_000])
@pytest.mark.parametrize("seed", [0, np.int64(3), 2**63])
def test_order_is_a_permutation(seed, n):
    order = epoch_order(seed, 1, n)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_order_is_a_function_of_seed_and_epoch_alone():
    first = epoch_order(1, 2, 500)
    np.random.seed(5)
    np.random.random(3)
    tf.random.set_seed(5)
    np.testing.assert_array_equal(epoch_order(1, 2, 500), first)
    others = [epoch_order(seed, epoch, 500) for seed, epoch in ((1, 1), (1, 3), (2, 2), (0, 2), (2, 1))]
    assert all((other != first).mean() > 0.9 for other in others)


def test_order_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    epoch_order(1, 2, 500)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_each_example_comes_everywhere():
    """Over 400 epochs the mean place of each of 20 examples is the middle: 9.5, standard error 0.29."""
    places = np.mean([np.argsort(epoch_order(0, epoch, 20)) for epoch in range(400)], axis=0)
    np.testing.assert_allclose(places, 9.5, atol=5 * 0.29)


@pytest.mark.parametrize(
    ("n", "batch_size", "steps"), [(10, 3, 3), (10, 5, 2), (10, 10, 1), (10, 1, 10), (101, 100, 1)]
)
def test_batches_are_the_order_cut_in_pieces(n, batch_size, steps):
    batches = batch_indices(4, 2, n, batch_size)
    assert batches.shape == (steps, batch_size) and batches.dtype == np.int32
    np.testing.assert_array_equal(batches.ravel(), epoch_order(4, 2, n)[: steps * batch_size])


def test_other_examples_are_left_out_in_each_epoch():
    left_out = {tuple(np.setdiff1d(np.arange(100), batch_indices(0, epoch, 100, 33))) for epoch in range(5)}
    assert len(left_out) == 5 and all(len(examples) == 1 for examples in left_out)


@pytest.mark.parametrize(
    ("epoch", "steps", "numbers"),
    [(0, 2, [0]), (4, 2, [4]), (4, 3, [4]), (0, 4, [0, 1]), (2, 4, [4, 5]), (1, 9, [3, 4, 5])],
)
def test_no_two_epochs_take_the_same_pass(epoch, steps, numbers):
    """3 batches of 3 are a pass over 10 examples; a pass of which only a part was taken is not gone on with."""
    assert list(passes(epoch, 10, 3, steps)) == numbers


@pytest.mark.parametrize(("n", "batch_size"), [(10, 11), (10, 0), (10, -1), (0, 1)])
def test_a_batch_that_does_not_fill_is_refused(n, batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size} .* {n} training examples"):
        batch_indices(0, 0, n, batch_size)


def test_a_negative_epoch_is_refused():
    with pytest.raises((ValueError, OverflowError)):
        epoch_order(0, -1, 10)


@pytest.mark.parametrize("scale", [1 / 255, 1.0, 2 / 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_preprocess_scales_integers(dtype, scale):
    images = np.arange(256).reshape(1, 16, 16, 1).astype(dtype)
    out = preprocess(images, scale=scale)
    assert out.dtype == tf.float32 and out.shape == images.shape
    np.testing.assert_allclose(out, images * np.float64(scale), rtol=1e-6)


def test_preprocess_takes_0_to_255_to_0_to_1():
    np.testing.assert_array_equal(preprocess(np.array([0, 255], np.uint8)), np.array([0, 1], np.float32))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_preprocess_only_casts_floats(rng, dtype):
    images = rng.normal(size=(2, 3, 3, 1))
    out = preprocess(tf.constant(images), dtype=dtype)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, tf.cast(images, dtype))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_preprocess_rounds_once_to_half_precision(dtype):
    images = np.arange(256, dtype=np.uint8)
    wanted = tf.cast(images.astype(np.float32) * np.float32(1 / 255), dtype)
    np.testing.assert_array_equal(preprocess(images, dtype=dtype), wanted)


def test_preprocess_is_the_same_in_a_graph():
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    np.testing.assert_array_equal(tf.function(preprocess)(images), preprocess(images))


# Rows of what is on disk


@pytest.fixture
def mapped(tmp_path, rng):
    """A map of a file with 12 pictures, and the list of the rows that were read from it."""
    read = []

    class Watched(np.memmap):
        def __getitem__(self, index):
            read.extend(np.ravel(np.arange(12)[index]).tolist())
            return super().__getitem__(index)

    rng.integers(0, 256, [12, 3, 2, 1], np.uint8).tofile(tmp_path / "images.u8")
    return Watched(tmp_path / "images.u8", np.uint8, "r", shape=(12, 3, 2, 1)), read


ROWS = [7, 2, 2, 11, 0]
INDICES = {
    "slice": slice(1, 4),
    "step": slice(None, None, -2),
    "nothing": slice(0, 0),
    "indices": np.array([4, 0, 0]),
    "int32": np.array([[1, 2], [3, 4]], np.int32),
    "negative": np.array([-1, -5]),
    "mask": np.array([True, False, True, False, True]),
    "number": 3,
    "all": slice(None),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_rows_are_indexed_as_an_array_of_them_would_be(mapped, index):
    array, read = mapped
    rows, copy = Rows(array, np.array(ROWS)), np.array(array)[ROWS]
    found = rows[index]
    assert type(found) is np.ndarray and found.dtype == np.uint8
    np.testing.assert_array_equal(found, copy[index])
    assert read == np.ravel(np.array(ROWS)[index]).tolist()


def test_rows_look_like_an_array_and_read_nothing_for_it(mapped):
    array, read = mapped
    rows = Rows(array, ROWS)
    assert len(rows) == 5 and rows.shape == (5, 3, 2, 1) and rows.ndim == 4 and rows.dtype == np.uint8
    assert len(Rows(array, np.zeros(0, int))) == 0 and read == []
    with pytest.raises(IndexError):
        rows[5]


def test_rows_become_an_array_a_tensor_and_a_list(mapped):
    array, _ = mapped
    rows, copy = Rows(array, ROWS), np.array(array)[ROWS]
    np.testing.assert_array_equal(np.asarray(rows), copy)
    assert np.asarray(rows, np.float64).dtype == np.float64 and np.asarray(rows).dtype == np.uint8
    np.testing.assert_array_equal(tf.convert_to_tensor(rows[:2]), copy[:2])
    np.testing.assert_array_equal(np.stack(list(rows)), copy)


def test_rows_taken_of_rows_read_only_what_is_asked_for(mapped):
    array, read = mapped
    inner = take(take(array, np.arange(2, 12)), np.array([9, 1, 3]))
    assert isinstance(inner, Rows) and inner.shape == (3, 3, 2, 1) and read == []
    np.testing.assert_array_equal(inner[1:], np.asarray(array)[[3, 5]])
    assert read == [3, 5]


def test_rows_stay_on_the_disk(tmp_path):
    """What changes in the file changes in them."""
    np.zeros([4, 2], np.uint8).tofile(tmp_path / "a.u8")
    rows = take(np.memmap(tmp_path / "a.u8", np.uint8, "r", shape=(4, 2)), np.array([3, 0]))
    with open(tmp_path / "a.u8", "r+b") as file:
        file.write(b"\5\6")
    assert rows[:].tolist() == [[0, 0], [5, 6]]


@pytest.mark.parametrize("rows", [np.array([3, 1, 1]), np.zeros(0, int)])
def test_what_is_taken_of_an_array_is_an_array(rng, rows):
    array = rng.integers(0, 256, [5, 2, 2], np.uint8)
    found = take(array, rows)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, array[rows])
