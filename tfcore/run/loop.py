"""The run: prepare, restore; for each epoch train, validate, show, save; then test and export. Read it from `train`."""

import contextlib
import functools
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import checkpoint, training, tree
from tfcore.data import augment
from tfcore.data.order import batch_indices, passes
from tfcore.distribution import ALONE, Team
from tfcore.init import as_seed, fold_in
from tfcore.quiet import tf
from tfcore.run import blackbox, blocks, directory, records
from tfcore.run.console import Console
from tfcore.run.directory import Place
from tfcore.run.plan import Plan
from tfcore.run.profile import Profile, checked
from tfcore.run.progress import Progress
from tfcore.run.report import measure, predictor, validation_part
from tfcore.run.result import FINISHED, Result, complete, test_and_export
from tfcore.run.silent import Silent
from tfcore.run.task import Task
from tfcore.signals import Asked, Requests, stop_requested
from tfcore.training import TrainState

SAVE_RATE = 1e7  # bytes of checkpoints a second, at most: large ones are not written after each short epoch


class Stopped(KeyboardInterrupt):
    """A run that was asked to stop and saved a checkpoint; `signum` says by which signal."""

    def __init__(self, signum: int, path: str | Path | None) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}, saved {path}: the same command goes on from there")
        self.signum = signum


def train(
    task: Task,
    logdir: str | Path,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    steps_per_epoch: int = 0,
    steps_per_loop: int = 50,
    validation_steps: int = 0,
    patience: int = 0,
    report: str = "last",
    jit: bool = False,
    clean: bool = False,
    histograms: bool = False,
    check_numerics: bool = False,
    profile: tuple[int, int] | None = None,
    note: str = "",
    strategy: tf.distribute.Strategy | None = None,
) -> Result:
    """Trains a `Task` in the run directory `logdir`, or goes on where an earlier call stopped.

    Args:
      epochs, batch_size: an epoch is one pass over the training part.
      steps_per_epoch: where not 0, an epoch has so many steps instead: a part of a pass, or of several, one after the
        other, which a small set takes in longer calls.
      seed: of all that is random.
      steps_per_loop: steps in one call of the graph; nothing is written, and no signal looked at, within one.
      validation_steps: batches that are looked at after each epoch, other ones each time; 0 for the whole part.
      patience: epochs without a better validation accuracy before the run ends; 0 never ends early.
      report: which weights are tested and exported, of the "last" epoch or of the "best" (validation accuracy).
      jit: compile the steps with XLA; fast for dense layers, slow for convolutions on a CPU.
      clean: forget what is in `logdir` and start over.
      histograms: write histograms of weights and gradients each epoch.
      check_numerics: take every step eagerly and stop at the first operation whose output is not finite, and name it;
        slow, and another run, since its bits are others. `jit` has no effect then.
      profile: (first, last): TensorFlow's profiler looks at steps first .. last - 1, and at the rest of the blocks of
        `steps_per_loop` steps that they are in. It does not make the run another one.
      note: words that config.json keeps, such as why this set.
      strategy: a `tf.distribute.MirroredStrategy` or `MultiWorkerMirroredStrategy`, whose replicas share each batch;
        it and the number of replicas may change when a run goes on. `distribution.started` makes one.
    Returns: a Result.
    Raises:
      ValueError: the task does not fit its data, or not what `logdir` holds; nothing has been erased or written.
      OSError: `logdir` cannot be written, is in use, or was removed while the run went on; or a worker is gone.
      Drifted: replicas are not alike any more.
      FloatingPointError: a step was not finite; the state before it is the last that was written, if any.
      Stopped: Ctrl-C or SIGTERM, after a checkpoint.
    """
    plan = Plan(epochs, batch_size, seed, steps_per_epoch, steps_per_loop, validation_steps, patience, report, jit)
    plan = plan._replace(check_numerics=check_numerics).fitted(task.splits)
    window, team = checked(profile, plan), Team.of(strategy)
    team.refuse(plan)
    own = team.own_directory(logdir)  # the chief's is `logdir`
    with (
        team.naming_the_lost(),
        directory.held(own) as place,
        stop_requested() as stop,
        naming_the_last_good(place, team),
    ):
        everywhere = initial_state(task, seed, team)
        state = team.copies(everywhere)[0]
        take_block, guard = compiled(task, everywhere, plan, team)  # refuses what does not fit before erasing
        predict = predictor(task.forward, task.splits.train.images.shape[1:], team)
        config = directory.describe(task, plan, note)
        team.agree({**config, "note": ""})
        place = directory.claim(place, config, clean=clean or not team.chief, replicas=team.replicas)
        team.hand_out(place, *FINISHED)
        if done := complete(place, plan, say=print if team.chief else str):
            return done
        progress, next_save = restored_by_chief(place, everywhere, plan, team), 0.0
        keep = saver(place, state, team)
        box = blackbox.kept(place, state, config, len(task.splits.train.labels), written=team.chief)
        show = Console(task, place, plan, histograms=histograms) if team.chief else Silent()
        with (
            box,
            closing(show) as console,
            closing(Profile(place / "train", window if team.chief else None)) as profiler,
            ThreadPoolExecutor(1) as gatherer,
        ):
            console.introduce(state, resumed=int(state.step) > 0)
            while not plan.ended(progress):
                began = clock = time.perf_counter()
                with console.epoch(progress) as shown:
                    for count, block in epoch_blocks(task, plan, progress, gatherer, team):
                        with profiler.block(int(state.step), count):
                            sums = blocks.take_checked(take_block, guard, block, count, team)
                        seconds, clock = time.perf_counter() - clock, time.perf_counter()
                        progress = progress.after(count, sums, seconds)
                        shown.block(progress, sums, count, int(state.step))
                        if signum := team.most(stop[0] if stop else 0):
                            raise Stopped(signum, keep(progress, seconds=clock - began))
                with ending_at_once(stop, functools.partial(keep, progress, seconds=clock - began), team):
                    logits, measured = validated(task, plan, state, progress.epoch, predict, team)
                team.compare(everywhere, f"after epoch {progress.epoch + 1}")
                progress = progress.end_of_epoch(measured, plan, time.perf_counter() - began)
                best = progress.is_best and plan.report == "best"
                if best or plan.ended(progress) or time.perf_counter() > next_save:
                    keep(progress, best=best)
                    next_save = time.perf_counter() + size_of(state) / SAVE_RATE
                directory.append(place, progress.row)  # behind the checkpoint: it may not be ahead
                console.end_of_epoch(progress, logits, state)
                if signum := team.most(stop[0] if stop else 0):
                    raise Stopped(signum, keep(progress))
            with ending_at_once(stop, functools.partial(directory.newest, place), team):
                result = test_and_export(place, task, plan, state, progress, config, console, team)
            team.told(None)  # the others wait until the chief has written it all
            console.end(result)
            return result


def initial_state(task: Task, seed: int, team: Team = ALONE) -> TrainState:
    """Returns the TrainState before the first step, of the weights that the seed draws, with the copies of `team`."""
    with team.scope():
        weights, stats = task.init(fold_in(seed, "init"))
        drawn = tree.map(team.copy_of, {"weights": weights, "stats": stats})
        return training.init_state(drawn["weights"], drawn["stats"], task.optimizer, learns=task.learns)


def compiled(task: Task, state: TrainState, plan: Plan, team: Team = ALONE) -> tuple[blocks.Take, blocks.Guard]:
    """Returns take(block, count) -> sums, and the Guard of the state, both traced once, here."""
    share = plan.batch_size // team.workers
    example = blocks.example_block(task.splits.train, plan.steps_per_loop, share, draws=task.augment is not None)
    if plan.jit and team.replicas > 1 and state.stats and team.chief:
        print("jit: not used, since replicas share the moments of batch norm, and XLA has no reductions on a CPU")
    take_block = blocks.compiled(task, state, as_seed(plan.seed), example, jit=plan.jit, team=team)
    if plan.check_numerics:
        take_block = blocks.watched(task, state, as_seed(plan.seed))
    return take_block, blocks.guard(state, team)


def validated(
    task: Task, plan: Plan, state: TrainState, epoch: int, predict: Callable[..., np.ndarray], team: Team
) -> tuple[np.ndarray, dict[str, float]]:
    """Returns the logits of the examples that this epoch validates on, and the chief's measures of them."""
    part = validation_part(task.splits.validation, plan.examined, seed=plan.seed, epoch=epoch)
    logits = predict(training.averages(state.weights, state.slots), state.stats, part.images)
    return logits, team.told(measure(task, logits, part, f"validation of epoch {epoch + 1}"))


def restored_by_chief(place: Place, state: TrainState, plan: Plan, team: Team) -> Progress:
    """Restores `state` as `restore` does, and gives that state and its Progress to all workers."""
    progress = restore(place, state, plan) if team.chief else Progress()
    directory.reopen(place)
    team.hand_out(place, "metrics.jsonl")
    return Progress(**team.take_over(state, vars(progress)))


def restore(place: Place, state: TrainState, plan: Plan) -> Progress:
    """Reads the newest whole checkpoint into `state` and returns its Progress; a new one where there is none.

    Raises:
      ValueError: something of the run is gone, damaged or of another run: nothing is trained anew in silence.
    """
    path = checkpoint.latest(place / "checkpoints")
    known = records.rows(place / "metrics.jsonl")
    if path is None and (known or (place / "result.json").exists()):
        raise ValueError(
            f"{place} holds a run of {len(known)} epochs, but its checkpoints are gone: {records.START_OVER}"
        )
    progress = Progress()
    if path:
        progress = Progress.of(path, directory.owned(path, checkpoint.restore(path, state), place))
        refuse_gaps(place, known, progress, plan)
        print(f"resumed from {path}: epoch {progress.epoch} of {plan.epochs}, step {int(state.step.numpy())}")
    kept = [row for row in known if row["epoch"] < progress.epoch]
    records.set_rows(place / "metrics.jsonl", [*kept, *([progress.row] if progress.row else [])])
    directory.reopen(place)
    return progress


def refuse_gaps(place: Place, known: list[dict[str, Any]], progress: Progress, plan: Plan) -> None:
    """Raises ValueError: measures of earlier epochs are gone, or the best weights, which the run reports in the end."""
    if missing := set(range(1, progress.epoch)) - {row["epoch"] for row in known}:
        epochs = ", ".join(map(str, sorted(missing)[:9])) + (" and more" if len(missing) > 9 else "")
        raise ValueError(f"{place / 'metrics.jsonl'} has no row of epoch {epochs}: {records.START_OVER}")
    if plan.report == "best" and progress.best:
        path = place / "checkpoints" / checkpoint.BEST
        try:
            meta = checkpoint.read(path)[1]
        except (OSError, ValueError) as error:
            raise ValueError(f"{error}; the run reports these weights in the end: {records.START_OVER}") from None
        directory.owned(path, meta, place)


def epoch_blocks(
    task: Task, plan: Plan, progress: Progress, pool: Executor, team: Team = ALONE
) -> Iterator[tuple[int, blocks.Block]]:
    """Yields (count, Block) from the current position to the end of the epoch: this worker's share of each batch."""
    n, to_come = len(task.splits.train.labels), slice(progress.steps, plan.steps)
    numbers = passes(progress.epoch, n, plan.batch_size, plan.steps)
    orders = [team.columns(batch_indices(plan.seed, number, n, plan.batch_size)) for number in numbers]
    draws = None
    if task.augment:
        drawn = [tf.gather(augment.draw(plan.seed, number, n), order) for number, order in zip(numbers, orders)]
        draws = np.concatenate(drawn)[to_come]
    yield from blocks.gathered(task.splits.train, np.concatenate(orders)[to_come], plan.steps_per_loop, pool, draws)


@contextlib.contextmanager
def ending_at_once(stop: Requests, saved: Callable[[], str | Path | None], team: Team) -> Iterator[None]:
    """Ends the block, which changes no state, with Stopped when a signal comes. saved: () -> a checkpoint to name.

    Not with several workers: all take part in what the block computes, and signals come to each at its own time.
    """
    if team.workers > 1:
        yield
        return
    try:
        with stop.at_once():
            yield
    except Asked:
        raise Stopped(stop[0], saved()) from None


@contextlib.contextmanager
def naming_the_last_good(place: Place, team: Team) -> Iterator[None]:
    """Adds to a FloatingPointError what is left of the run, and what to do."""
    try:
        yield
    except FloatingPointError as error:
        if not team.chief:
            raise
        advice = "a lower learning rate or a smaller clip_norm may help"
        raise FloatingPointError(f"{error}; {directory.last_good(place)}; {advice}") from None


def size_of(state: TrainState) -> int:
    """Returns how many bytes a checkpoint has."""
    stored = tree.leaves({"weights": state.weights, "stats": state.stats, "slots": state.slots})
    return sum(leaf.shape.num_elements() * leaf.dtype.size for leaf in stored)


def saver(place: Place, state: TrainState, team: Team) -> Callable[..., str | Path]:
    """Returns save(progress, *, best=False, seconds=0.0) -> path, which writes a checkpoint; of the chief alone.

    seconds: of the epoch under way, to be added to the run's.
    """

    def save(progress, *, best=False, seconds=0.0):
        if not team.chief:
            return "by worker 0"
        kept = {**vars(progress), "total_seconds": progress.total_seconds + seconds}
        return directory.save(place, state, kept, best=best)

    return save
