"""Speculation: steps run unguarded, and the first that is not finite is found and taken back, bit for bit."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from tfcore import optimizers, run, training, tree
from tfcore.data import Arrays, Splits
from tfcore.data.order import take
from tfcore.init import as_seed
from tfcore.run import blocks

STEPS, SIZE, FLAG = 5, 4, 255  # a batch whose first pixel is FLAG is poisoned


@tf.custom_gradient
def with_gradient(w, factor):
    return tf.identity(w), lambda upstream: (upstream * factor, None)


def task(kind, optimizer, learns=lambda path: True):
    """Logistic regression with a moving variance; a flagged batch brings in what is not finite, as `kind` says."""

    def init(seed):
        weights = {"one": {"w": tf.Variable(tf.fill([6, 3], 0.1))}, "two": {"w": tf.Variable(tf.ones([3]))}}
        return weights, {"variance": tf.Variable(1.0)}

    def loss_fn(weights, stats, batch, seed):
        images, labels = batch
        flagged = images[0, 0] == FLAG
        bad = {"gradient": np.nan, "moment": 1e22}.get(kind, 1.0)
        two = with_gradient(weights["two"]["w"], tf.where(flagged, tf.constant(bad, tf.float32), 1.0))
        logits = tf.cast(images, tf.float32) / 255 @ weights["one"]["w"] * two
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        loss += tf.where(flagged, np.nan, 0.0) if kind == "loss" else 2e38 if kind == "sum" else 0.0
        variance = stats["variance"] * 0.9 + tf.where(flagged, np.inf if kind == "variance" else 1.0, 1.0)
        return loss, ({"accuracy": tf.constant(0.5)}, {"variance": variance})

    generator = np.random.default_rng(0)
    part = Arrays(generator.integers(0, 200, [40, 6], np.uint8), generator.integers(0, 3, 40).astype(np.int32))
    splits = Splits(part, part, part, ("a", "b", "c"), "made")
    return run.Task(splits, init, lambda *a, **k: None, None, optimizer, learns=learns, loss_fn=loss_fn)


def values(state):
    parts = {"weights": state.weights, "slots": state.slots, "stats": state.stats, "step": state.step}
    return {path: leaf.numpy().tobytes() for path, leaf in tree.flatten(parts).items()}


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def prepared(made, jit):
    """Returns the state, take(block, count), its Guard and a block of STEPS steps."""
    state = training.init_state(*made.init(0), made.optimizer, learns=made.learns)
    block = blocks.block_of(made.splits.train, np.arange(STEPS * SIZE).reshape(STEPS, SIZE))
    take = blocks.compiled(made, state, as_seed(0), block, jit=jit)
    return state, take, blocks.guard(state), block


OPTIMIZERS = {
    "plain": optimizers.rmsprop(1e-2),
    "ema": optimizers.averaged(optimizers.adam(1e-2), 0.9),
    "clipping": optimizers.clipped(optimizers.momentum(1e-2), 1.0),
    "frozen": optimizers.adam(1e-2),
}
CASES = [(kind, "plain") for kind in ("loss", "gradient", "moment", "variance")]
CASES += [("gradient", name) for name in ("ema", "clipping", "frozen")] + [("loss", "frozen")]
NAMED = {"loss": "not finite: the loss", "gradient": "two/w", "moment": "slots/v/two/w", "variance": "stats/variance"}


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize(("kind", "name"), CASES, ids="-".join)
def test_the_step_is_named_and_the_state_is_the_one_before_it(kind, name, jit):
    learns = (lambda path: path.startswith("two")) if name == "frozen" else (lambda path: True)
    state, take, guard, block = prepared(task(kind, OPTIMIZERS[name], learns), jit)
    before = [variable.read_value() for variable in blocks._variables(state)]
    for bad in range(STEPS):
        blocks._restore(state, before)
        take(block, bad)
        wanted = values(state)
        blocks._restore(state, before)
        images = block.images.numpy()
        images[bad, 0, 0] = FLAG
        with pytest.raises(blocks.NotFinite, match=rf"^step {bad}: loss .*{NAMED[kind]}"):
            blocks.take_checked(take, guard, block._replace(images=tf.constant(images)), STEPS)
        assert values(state) == wanted and int(state.step) == bad


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_a_sum_that_overflows_is_a_false_alarm(jit):
    """Each loss is 2e38, which is finite; the sum of two is not."""
    results = []
    for kind in ("plain", "sum"):
        state, take, guard, block = prepared(task(kind, optimizers.adam(1e-2)), jit)
        sums = blocks.take_checked(take, guard, block, STEPS)
        results.append(values(state))
    assert results[0] == results[1] and int(state.step) == STEPS
    assert sums["loss"] == pytest.approx(STEPS * 2e38, rel=1e-3) and sums["accuracy"] == STEPS / 2


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_a_block_of_five_has_the_bits_of_two_and_three_and_of_a_rolled_one(jit):
    state, take, _, block = prepared(task("plain", OPTIMIZERS["ema"]), jit)
    before = [variable.read_value() for variable in blocks._variables(state)]
    take(block, 5)
    whole = values(state)
    blocks._restore(state, before)
    take(block, 2)
    take(blocks._rolled(block, 2), 3)
    assert values(state) == whole


@pytest.mark.parametrize("size", [1, 4, 10, 64])
@pytest.mark.parametrize("steps", [1, 3, 8, 9])
def test_blocks_hold_the_batches_in_order(steps, size, pool):
    rng = np.random.default_rng(0)
    part = Arrays(rng.integers(0, 9, [30, 2]), np.arange(30))
    order, draws = rng.permutation(30)[: steps * 3].reshape(steps, 3), rng.uniform(size=[30, 9]).astype(np.float32)
    found = list(blocks.gathered(part, order, size, pool, draws[order]))
    assert {block.images.shape for _, block in found} == {(size, 3, 2)}
    rows = np.concatenate([block.labels.numpy()[:count] for count, block in found])
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_array_equal(np.concatenate([b.images.numpy()[:c] for c, b in found]), part.images[order])
    np.testing.assert_array_equal(np.concatenate([b.draws.numpy()[:c] for c, b in found]), draws[order])


@pytest.mark.parametrize("kind", ["array", "map", "rows"])
def test_blocks_are_gathered_from_arrays_and_from_files(kind, tmp_path, pool):
    images = np.random.default_rng(0).integers(0, 256, [12, 3, 2, 1], np.uint8)
    images.tofile(tmp_path / "a.u8")
    mapped = np.memmap(tmp_path / "a.u8", np.uint8, "r", shape=images.shape)
    part = {"array": images, "map": mapped, "rows": take(mapped, np.arange(12))}[kind]
    (_, first), (_, second) = blocks.gathered((part, np.arange(12)), np.arange(12).reshape(3, 4), 2, pool)
    np.testing.assert_array_equal(np.concatenate([first.images, second.images[:1]]), images.reshape(3, 4, 3, 2, 1))
    np.testing.assert_array_equal(second.images[1], second.images[0])  # the last block is filled up with its first


class Gathered:
    """Images that note, and may refuse, when they are gathered."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at, self.second = 0, fails_at, threading.Event()

    def __getitem__(self, rows):
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError("the disk is gone")
        if self.calls == 2:
            self.second.set()
        return np.zeros([*rows.shape, 2], np.uint8)


def test_the_next_block_is_gathered_while_one_is_used(pool):
    images = Gathered()
    found = blocks.gathered((images, np.arange(20)), np.arange(20).reshape(10, 2), 2, pool)
    next(found)
    assert images.second.wait(30)
    found.close()


@pytest.mark.parametrize("used", [0, 1, 3, 5])
def test_blocks_may_be_closed_early(used, pool):
    """What nobody asks for is not gathered."""
    images = Gathered()
    found = blocks.gathered((images, np.arange(20)), np.arange(20).reshape(10, 2), 2, pool)
    for _ in range(used):
        next(found)
    found.close()
    pool.shutdown()
    assert images.calls <= used + 1
    assert list(found) == []


@pytest.mark.parametrize("fails_at", [1, 2, 4])
def test_an_error_while_gathering_comes_at_its_block(fails_at, pool):
    found = []
    with pytest.raises(OSError, match="the disk is gone"):
        for block in blocks.gathered((Gathered(fails_at), np.arange(20)), np.arange(20).reshape(10, 2), 3, pool):
            found.append(block)
    assert len(found) == fails_at - 1


def test_an_index_outside_the_set_is_an_error(rng, pool):
    arrays = rng.integers(0, 256, [5, 2], np.uint8), np.arange(5)
    with pytest.raises(IndexError):
        list(blocks.gathered(arrays, np.array([[0, 1], [4, 5]]), 1, pool))
