"""kill -9 while a checkpoint is saved, anywhere in a run, and in an export."""

import os
import random
from typing import NamedTuple

import numpy as np
from campaign import Row, child, finished, kill_until_complete, no_leftovers, require
from victims import RUNS, differences, far, outcome

from tfcore import checkpoint, run, tree
from tfcore.formats import saved_model
from tfcore.formats.served import Served
from tfcore.quiet import tf
from tfcore.run import directory
from tfcore.run.result import export

CONFIG = {"config": {}, "run": {}, "class_names": ["a", "b"]}  # of an export, what has to be there


class Plain(NamedTuple):
    """What `checkpoint.save` reads of a TrainState, in NumPy: no operation has to run before the first save."""

    weights: dict
    stats: dict
    slots: dict
    step: np.ndarray

    @classmethod
    def of(cls, step):
        """Returns a state all of whose values are `step`."""
        full = lambda: {str(i): np.full([64, 64], step, np.float32) for i in range(6)}  # noqa: E731
        return cls(full(), {"mean": np.full([9], step, np.float32)}, {"m": full()}, np.asarray(step, np.int64))


def save_on_and_on(place, told):
    """Saves a checkpoint of each step, every third as the best too, and tells each that is done."""
    with directory.held(place):
        newest = checkpoint.latest(place / "checkpoints") if (place / "checkpoints").exists() else None
        step = checkpoint.read(newest)[1]["step"] if newest else 0
        while True:
            step += 1
            checkpoint.save(place / "checkpoints", Plain.of(step), {"step": step}, best=step % 3 == 0)
            os.write(told, f"{step}\n".encode())


def same_everywhere(path):
    """Returns the step of a file of `save_on_and_on`. Raises AssertionError unless all in it says that step."""
    tensors, meta = checkpoint.read(path)
    values = {float(v) for leaf in tree.leaves(tensors) for v in (np.min(leaf), np.max(leaf))}
    require(values == {float(meta["step"])}, f"{path.name}: step {meta['step']}, values {values}")
    return meta["step"]


def _killed_within(work, seconds):
    """Starts work(told), kills it so long after its start, and returns all the numbers that it told."""
    hears, tells = os.pipe()
    try:
        os.set_blocking(hears, False)
        require(child(lambda: work(tells), kill_after=seconds).killed, "it ended by itself")
        told = b""
        while part := _read(hears):
            told += part
        return [int(line) for line in told.split()]
    finally:
        os.close(hears)
        os.close(tells)


def _read(pipe):
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:
        return b""


def saving(root, kills=200):
    """Each file that is there is whole and of one step, none that was told is missing, the next start tidies up."""
    row, generator, last = Row("kill -9 while a checkpoint is saved"), random.Random(1), 0
    for number in range(kills):
        place = root / str(number // 10)  # ten kills in one directory
        last = 0 if number % 10 == 0 else last
        with row.attempt(f"kill {number}"):
            told = _killed_within(lambda told: save_on_and_on(place, told), generator.uniform(0.01, 0.15))  # noqa: B023
            last = max([last, *told])
            if not place.exists():
                continue
            row.notes["with leftovers" if list(place.rglob(".*.tmp")) else "without leftovers"] += 1
            with directory.held(place):
                no_leftovers(place)
            if not (place / "checkpoints").exists():
                require(not last, "no checkpoints")
                continue
            for path in checkpoint.checkpoints(place / "checkpoints"):
                require(same_everywhere(path) == int(path.stem.split("-")[1]), f"{path.name} is of another step")
            if (place / "checkpoints" / checkpoint.BEST).exists():
                same_everywhere(place / "checkpoints" / checkpoint.BEST)
            newest = checkpoint.latest(place / "checkpoints")
            require(bool(newest) or not last, "no checkpoint")
            require(not newest or same_everywhere(newest) >= last, f"step {last} was saved, newest is {newest}")
    return [row]


def anywhere(root, kills=50, which=tuple(RUNS)):
    """Killed and called again until complete, a run leaves what an unbroken one leaves."""
    return (_anywhere(root / str(number), name, kills) for number, name in enumerate(which))


def _anywhere(root, name, kills):
    row, work = Row(f"kill -9 anywhere in a run: {name}"), RUNS[name]
    finished(lambda: work(root / "unbroken"))
    wanted = outcome(root / "unbroken")

    def check(place):
        require(not (wrong := differences(outcome(place), wanted)), f"not as unbroken: {wrong}")
        no_leftovers(place)

    kill_until_complete(row, kills, root, work, check=check, after_kill=far, seed=2)
    return row


def exporting(root, kills=30):
    """What is under the export's name is one whole export, with the configuration that was written with it."""
    row, generator, place, last = Row("kill -9 in an export"), random.Random(3), root / "run", 0

    def export_on_and_on(told):
        for number in range(last + 1, 10**9):
            weights = {str(i): np.full([128, 128], number, np.float32) for i in range(8)}
            export(place, weights, {"mean": np.full([9], number, np.float32)}, {**CONFIG, "number": number})
            os.write(told, f"{number}\n".encode())

    for number in range(kills):
        with row.attempt(f"kill {number}"):
            last = max([last, *_killed_within(export_on_and_on, generator.uniform(0.01, 0.15))])
            if not (place / "export" / "weights.safetensors").exists():
                require(not last, "no export")
                continue
            config, weights, stats = run.load_run(place)
            values = {float(v) for leaf in tree.leaves({"w": weights, "s": stats}) for v in (leaf.min(), leaf.max())}
            require(values == {float(config["number"])}, f"number {config['number']}, values {values}")
            require(config["number"] >= last, f"{last} was exported, {config['number']} is there")
            with directory.held(place):
                no_leftovers(place)
    return [row, _saved_models(root / "model", max(kills // 3, 2))]


def _saved_models(place, kills):
    """What is under a SavedModel's name is one whole model, or there is none, and no half one beside it."""
    row, generator, path = Row("kill -9 in an export as a SavedModel"), random.Random(4), place / "export/saved_model"

    def export_on_and_on(told):
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10**9):
            weights = {str(i): np.full([64, 64], number, np.float32) for i in range(8)}
            saved_model.write(path, Served(_of_nothing, weights, {}, (4, 4, 1), ("a", "b"), "stretch", {"n": number}))
            os.write(told, b"1\n")

    for number in range(kills):
        with row.attempt(f"kill {number}"):
            told = _killed_within(export_on_and_on, generator.uniform(0.5, 10.0))
            row.notes["behind the first" if told else "in the first"] += 1
            with directory.held(place):
                no_leftovers(place)
            if path.exists():
                weights, _, facts = saved_model.read(path)
                values = {float(v) for leaf in tree.leaves(weights) for v in (leaf.min(), leaf.max())}
                require(values == {float(facts["n"])}, f"number {facts['n']}, values {values}")
    return row


def _of_nothing(weights, stats, images, *, training):
    """A network of two classes."""
    x = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
    return tf.concat([x, x + weights["0"][0, 0]], axis=1), stats
