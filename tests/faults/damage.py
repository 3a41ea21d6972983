"""Checkpoints with a flipped bit or a lost end: never a wrong load, never a silent restart."""

import contextlib
import io
import random
import shutil

from campaign import Row, answer_of, child, finished, require
from victims import PERCEPTRON, differences, made_set, outcome, perceptron, stored

from tfcore import checkpoint, recipes, tree
from tfcore.run import loop

WHOLE_RUN_EACH = 25  # so many damages are tried on the words alone, then one on a whole run


def flips(root, tries=500):
    """One bit of the newest checkpoint, sometimes of each."""
    return [_damage("one bit of a checkpoint flipped", root, tries, _flipped)]


def cuts(root, tries=100):
    """The newest checkpoint ends early, sometimes each."""
    return [_damage("a checkpoint cut short", root, tries, lambda data, generator: data[: _length(data, generator)])]


def _flipped(data, generator):
    damaged = bytearray(data)
    damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(damaged)


def _length(data, generator):
    return generator.choice([0, 7, 8, len(data) - 1, *[generator.randrange(len(data)) for _ in range(4)]])


def _damage(fault, root, tries, change):
    row, generator = Row(fault), random.Random(6)
    finished(lambda: perceptron(root / "run"))
    kept = {path: path.read_bytes() for path in checkpoint.checkpoints(root / "run" / "checkpoints")}
    wanted, states = outcome(root / "run"), [stored(path) for path in kept]
    plans = [generator.random() < 0.2 for _ in range(tries)]
    damaged = [{path: change(data, generator) for path, data in list(kept.items())[-3 * all_ - 1 :]} for all_ in plans]

    def on_words():
        state = loop.initial_state(recipes.task(PERCEPTRON, made_set(3)), 0)
        for number, files in enumerate(damaged):
            with row.attempt(f"damage {number}"), _with(files, kept):
                row.notes[_restored(root / "run" / "checkpoints", state, states)] += 1
        return {"tries": row.tries, "lost": row.lost, "notes": row.notes}

    for name, value in answer_of(on_words).items():
        setattr(row, name, type(getattr(row, name))(value))
    for number in range(WHOLE_RUN_EACH - 1, tries, WHOLE_RUN_EACH):
        with row.attempt(f"damage {number} of a whole run", count=0):
            _whole_run(root, damaged[number], wanted)
    return row


@contextlib.contextmanager
def _with(files, kept):
    """Gives files another content while the block runs."""
    for path, data in files.items():
        path.write_bytes(data)
    try:
        yield
    finally:
        for path in files:
            path.write_bytes(kept[path])


def _restored(directory, state, states):
    """Returns what came of a restore, in a word."""
    heard = io.StringIO()
    marks = [leaf.assign(leaf * 0 + 77).numpy().tobytes() for leaf in _leaves(state)]
    with contextlib.redirect_stdout(heard):
        try:
            path = checkpoint.latest(directory)
            meta = checkpoint.restore(path, state)
        except ValueError as error:
            require("clean=True" in str(error) and "\n" not in str(error), f"it says {error}")
            require([leaf.numpy().tobytes() for leaf in _leaves(state)] == marks, "refused, and something is assigned")
            return "refused"
    found = {name: leaf.numpy().tobytes() for name, leaf in checkpoint._variables(state).items()}
    age = next(
        (age for age, one in enumerate(reversed(states)) if differences(found, {**one, "meta": None}) == []), None
    )
    require(age is not None, "what is loaded was never saved")
    require(states[-1 - age]["meta"]["epoch"] == meta["epoch"], "the JSON values are of another checkpoint")
    require(heard.getvalue().count("skipped a broken checkpoint: ") == age, f"fell back, and said {heard.getvalue()!r}")
    return ("newest", "one back", "two back")[age]


def _leaves(state):
    return tree.leaves({"w": state.weights, "s": state.slots})


def _whole_run(root, files, wanted):
    """Resumes a copy of the run with damaged checkpoints: it ends as it did, or refuses."""
    place = root / "copy"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(root / "run", place)
    (place / "result.json").unlink()
    for path, data in files.items():
        (place / "checkpoints" / path.name).write_bytes(data)
    ended = child(lambda: perceptron(place))
    if ended.status == 0:
        require(not (wrong := differences(outcome(place), wanted)), f"not as before: {wrong}")
        require("resumed from" in ended.output, "it started over in silence")
    else:
        require(ended.error.startswith("ValueError: ") and "clean=True" in ended.error, ended.error)
