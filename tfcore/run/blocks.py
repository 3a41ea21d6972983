"""Blocks of steps: gathered while the last one runs, taken in one call, checked, and taken back where not finite."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from tfcore import training, tree
from tfcore.data import augment
from tfcore.data.splits import Arrays
from tfcore.distribution import ALONE, Team
from tfcore.quiet import tf
from tfcore.run import numerics
from tfcore.run.task import Task, loss_fn_of, metric_names
from tfcore.training import TrainState
from tfcore.types import LossFn, Seed, Tensor


class Block(NamedTuple):
    """The batches of k steps. images: [k, B, ...] as stored; labels: [k, B]; draws: [k, B, 9], or [k, B, 0] unused."""

    images: Tensor
    labels: Tensor
    draws: Tensor


Take = Callable[[Block, int], dict[str, float]]  # (block, count) -> {name: sum over the first `count` steps}


class NotFinite(FloatingPointError):
    """A step whose loss, weights, slots or stats are not finite, and the state is the one before it; or a forward pass.

    batch: the Block of this one step; loss: its loss, None where it was not known; paths: of all that is not finite.
    part: "validation" or "test", of whose examples the batch is where a forward pass is meant; "" for a step.
    """

    def __init__(self, message: str, *, batch: Block, loss: float | None, paths: list[str], part: str = "") -> None:
        super().__init__(message)
        self.batch, self.loss, self.paths, self.part = batch, loss, paths, part


def gathered(
    part: Arrays, indices: np.ndarray, size: int, pool: Executor, draws: np.ndarray | None = None
) -> Iterator[tuple[int, Block]]:
    """Yields (how many steps, Block) for each `size` rows of `indices`; the next is gathered while one is used.

    The last is filled up to `size` rows by repeating its first.

    Args:
      part: (images [N, ...], labels [N]): arrays, maps of a file, or `Rows`.
      indices: [steps, batch_size] integers.
      pool: its thread gathers; one for a whole run, since the first arrays of a new thread take milliseconds.
      draws: [steps, batch_size, 9] float32, what `Task.augment` takes; None where nothing changes.
    """

    def gather(start):
        steps = np.arange(start, min(start + size, len(indices)))
        filled = np.concatenate([steps, np.repeat(steps[:1], size - len(steps))])
        return len(steps), block_of(part, indices[filled], None if draws is None else draws[filled])

    following = pool.submit(gather, 0)
    for start in range(size, len(indices) + size, size):
        block = following.result()
        if start < len(indices):
            following = pool.submit(gather, start)
        yield block


def block_of(part: Arrays, rows: np.ndarray, draws: np.ndarray | None = None) -> Block:
    """Returns the Block of the examples rows [k, batch_size]; `draws` as in `gathered`."""
    images, labels = part
    drawn = tf.zeros([*rows.shape, 0]) if draws is None else tf.constant(draws)
    return Block(tf.constant(images[rows]), tf.constant(labels[rows]), drawn)


def compiled(task: Task, state: TrainState, seed: Seed, example: Block, *, jit: bool, team: Team = ALONE) -> Take:
    """Returns take(block, count) -> {name: sum over the first `count` steps}, traced once, here.

    Args:
      seed: of the run.
      example: a Block, for its shapes.
      jit: compile the loop of steps with XLA; with several replicas the loss and its gradient alone, since XLA has no
        reductions on a CPU, and nothing where `state` has stats, which batch norm reduces.
      team: who shares the batches; a block has this worker's columns.
    Raises:
      ValueError: a function of the task does not fit the data, or another one of its functions.
    """
    loss_fn = loss_fn_of(task)
    names = metric_names(task, state, tuple(tf.TensorSpec(part.shape[1:], part.dtype) for part in example[:2]))

    loss_fn = compiled_loss(loss_fn) if jit and team.replicas > 1 and not state.stats else loss_fn
    options = {"loss_fn": loss_fn, "optimizer": task.optimizer, "metric_names": names, "run": team.run}

    def steps(images, labels, count):
        return training.train_loop(state, (images, labels), count, seed, **options)

    steps = tf.function(steps, jit_compile=True, autograph=False) if jit and team.replicas == 1 else steps

    def take_block(images, labels, draws, count):
        flat = tf.reshape(images, [-1, *images.shape[2:]])
        flat = task.augment(flat, tf.reshape(draws, [flat.shape[0], -1])) if task.augment else flat  # not under XLA
        return steps(tf.reshape(flat, [*labels.shape, *flat.shape[1:]]), labels, count)

    traced = training.traced_once(take_block)
    traced.get_concrete_function(*example, tf.constant(0))
    return lambda block, count: {name: float(v) for name, v in traced(*block, tf.constant(count)).items()}


def compiled_loss(loss_fn: LossFn) -> LossFn:
    """Returns `loss_fn`, compiled with XLA, forward and backward."""

    def compiled_loss_fn(weights, stats, batch, seed):
        # It closes over the weights: as an argument a variable with copies would not be that of this replica.
        one = tf.function(lambda batch, seed: loss_fn(weights, stats, batch, seed), jit_compile=True, autograph=False)
        return one(batch, seed)

    return compiled_loss_fn


def watched(task: Task, state: TrainState, seed: Seed) -> Take:
    """Returns take(block, count) as `compiled` does, which takes the steps eagerly and looks at every operation.

    Its sums have the values of the compiled ones up to rounding. `take` raises NotFinite, with the state before that
    step, where the output of an operation is not finite, also one that the loss does not show.
    """

    def take(block, count):
        taken = []
        for i in range(count):
            before = [variable.read_value() for variable in _variables(state)]
            try:
                metrics = numerics.step(task, state, _row(block, i), seed)
            except numerics.OpNotFinite as error:
                _restore(state, before)
                message = f"step {int(state.step.numpy())}: {error}"
                paths = [f"{error.finding.op} {error.finding.place}"]
                raise NotFinite(message, batch=_row(block, i), loss=None, paths=paths) from None
            taken.append({name: float(value) for name, value in metrics.items()})
        return _total(*taken)

    return take


def example_block(part: Arrays, size: int, batch_size: int, *, draws: bool) -> Block:
    """Returns a Block of the shapes that `gathered` will yield."""
    rows, drawn = np.zeros([size, batch_size], np.int32), np.zeros([size, batch_size, augment.DRAWS], np.float32)
    return block_of(part, rows, drawn if draws else None)


class Guard(NamedTuple):
    """What looks after the steps of a state: values() of all that they change, and whether these are finite()."""

    state: TrainState
    values: Callable[[], list[Tensor]]
    finite: Callable[[], bool]


def guard(state: TrainState, team: Team = ALONE) -> Guard:
    """Returns the Guard of a state, of all replicas; its functions are traced once, here."""
    variables = _variables(state)

    def values():
        return [variable.read_value() for variable in variables]

    def finite():
        return training.all_finite(state)

    read, check = (tf.function(fn, autograph=False).get_concrete_function() for fn in (values, finite))
    return Guard(state, read, lambda: not team.most(not check()))


def take_checked(take: Take, guard: Guard, block: Block, count: int, team: Team = ALONE) -> dict[str, float]:
    """Takes the first `count` steps of a block and returns the sums of their metrics, all finite.

    Steps run unguarded. Where something is not finite afterwards, the state is put back and the same executable is
    called with other counts, at most log2(count) times, until the first such step is found.

    Args:
      take: what `compiled` returned.
      guard: of the state that `take` changes.
      team: who shares the block.
    Raises:
      NotFinite: it names the step and what is not finite after it; the state is the one before that step.
    """
    state, before = guard.state, guard.values()

    def tried(count):
        _restore(state, before)
        sums = take(block, count)
        return sums, bool(np.isfinite(sums["loss"])) and guard.finite()

    sums = take(block, count)
    if np.isfinite(sums["loss"]) and guard.finite():
        return sums
    low, high = 0, count  # all is finite after `low` steps, not after `high`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tried(middle)[1] else (low, middle)
    sums, _ = tried(low)
    last = take(_rolled(block, low), 1)
    if np.isfinite(last["loss"]) and guard.finite():  # only the sum overflowed: go on behind it
        return _total(sums, last, take_checked(take, guard, _rolled(block, high), count - high, team))
    paths = _not_finite(state, last)
    more = f" and {len(paths) - 4} more" if len(paths) > 4 else ""
    tried(low)
    message = f"step {int(state.step.numpy())}: loss {last['loss']:.6g}, not finite: {', '.join(paths[:4])}{more}"
    raise NotFinite(message, batch=_whole(_row(block, low), team), loss=last["loss"], paths=paths)


def _variables(state):
    return [*tree.leaves({"weights": state.trainable, "stats": state.stats, "slots": state.slots}), state.step]


def _restore(state, values):
    for variable, value in zip(_variables(state), values):
        variable.assign(value)


def _rolled(block, steps):
    """Returns the block whose first row is row `steps` of this one."""
    return Block(*(tf.roll(part, -steps, 0) for part in block))


def _total(*sums):
    added = {name: sum(part[name] for part in sums) for name in sums[0]}
    return {**added, "gradient_norm": sums[-1]["gradient_norm"]}  # which is of one step


def _row(block, i):
    """Returns the Block of step i alone."""
    return Block(*(part[i : i + 1] for part in block))


def _whole(block, team):
    """Returns a block with the columns of all workers."""
    return block if team.workers == 1 else Block(*(tf.constant(team.joined(part.numpy(), 1)) for part in block))


def _not_finite(state, sums):
    """Returns the paths of what is not finite, weights first; the loss and its measures where all of these are."""
    paths = [path.removeprefix("weights/") for path in training.not_finite(state)]
    return paths or [f"the {name}" for name, value in sums.items() if not np.isfinite(value)]
