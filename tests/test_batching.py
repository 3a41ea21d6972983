"""The order of the examples against the Philox generator's paper, and the way from pixels to input."""

import numpy as np
import pytest
import tensorflow as tf

from tfcore.data.batching import batch_indices, epoch_order, preprocess

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


@pytest.mark.parametrize(("n", "batch_size"), [(10, 11), (10, 0), (10, -1), (0, 1)])
def test_a_batch_that_does_not_fill_is_refused(n, batch_size):
    with pytest.raises(ValueError, match=f"--batch_size={batch_size} .* {n} training examples"):
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
