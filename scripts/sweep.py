"""Tries values of flags: each trial is a run of its own, and Optuna chooses what to try next and what to stop early.

python scripts/sweep.py --recipe=fashion_cnn --learning_rate=1e-2,1e-3,1e-4 --filters=32,64
python scripts/sweep.py --recipe=mnist_perceptron --sampler=tpe --prune --learning_rate=1e-4:1e-1 --hidden=256,256+128
python scripts/sweep.py --recipe=mnist_perceptron --learning_rate=1e-3,2e-3 --seed=0,1,2    # for compare.py

Every flag of a training script takes several values with commas between. A number may be a range, 1e-4:1e-1, for
random and tpe; it is logarithmic where its ends differ tenfold. Where one value is several numbers, as of --hidden and
--filters, these have + between: 256+128. The same command goes on after a stop or a kill.
"""

import flags

import hashlib
import itertools
import json
import shlex
import sys
from pathlib import Path

import sweep_values
from absl.flags import DEFINE_boolean, DEFINE_enum, DEFINE_integer, DEFINE_string
from compare import shown
from tables import columns

from tfcore import files, signals
from tfcore.recipes import RECIPES

USUAL = 20  # trials of random and tpe


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_enum("recipe", None, list(RECIPES), "sweep: the run to start from", required=True, **more)
    DEFINE_enum("sampler", "grid", ["grid", "random", "tpe"], "sweep: what chooses the values", **more)
    text = f"sweep: how many trials in all; default all of a grid, else {USUAL}"
    DEFINE_integer("trials", None, text, lower_bound=1, **more)
    DEFINE_integer("jobs", 1, "sweep: how many trials at a time", lower_bound=1, **more)
    DEFINE_enum("objective", "accuracy", ["accuracy", "loss"], "sweep: the measure of validation that decides", **more)
    DEFINE_boolean("prune", False, "sweep: stop trials that are worse than the median after as many epochs", **more)
    DEFINE_integer("sampler_seed", 0, "sweep: seed of random and tpe; --seed is that of the runs", **more)
    DEFINE_string("logdir", None, "sweep: its directory; default logs/sweeps/<recipe>-<flags>-<digest>", **more)
    sweep_values.define(values)


def main(values, _):
    """Runs what is left of the sweep, then prints its table."""
    fixed, axes = sweep_values.read(values)
    points = grid(values, axes)
    trials = imported()
    settings = settings_of(values, fixed, axes)
    directory = Path(values.logdir or default_directory(settings, axes)).expanduser()
    total = min(values.trials or len(points), len(points)) if points else values.trials or USUAL
    directory.mkdir(parents=True, exist_ok=True)
    with files.locked(directory), signals.stop_requested() as stop:
        direction = "maximize" if values.objective == "accuracy" else "minimize"
        study = trials.open_study(directory, settings, direction=direction, prune=values.prune)
        trials.enqueue(study, points[:total])
        say(f"{values.sampler}, {total} trials, {values.jobs} at a time: {'; '.join(map(str, axes))}")
        say(f"sweep  {directory}")
        plan = trials.Plan(
            directory=directory, trials=total, jobs=values.jobs, sampler=values.sampler, seed=values.sampler_seed,
            objective=values.objective, suggest=lambda trial: {axis.name: axis.suggest(trial) for axis in axes},
            command=lambda place, chosen: command(values.recipe, place, {**fixed, **chosen}), say=say,
        )  # fmt: skip
        trials.run(study, plan, stop)
        if stop:
            raise stopped(stop[0], trials.ended(study), total)
    report(study, plan, axes)


def grid(values, axes):
    """Returns every point of the grid as {flag: value}, the last flag's values varying first; [] of other samplers."""
    if values.sampler != "grid":
        return []
    for axis in axes:
        if not axis.values:
            raise flags.usage_error(
                f"--{axis.name} is a range: name values for a grid, or take --sampler=tpe or random"
            )
    names = [axis.name for axis in axes]
    return [dict(zip(names, point)) for point in itertools.product(*(axis.values for axis in axes))]


def imported():
    """Returns the module of the trials. Raises ValueError: it needs Optuna, which is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        message = "a sweep needs Optuna: pip install 'tfcore[sweep]', in a checkout pip install -e '.[sweep]'"
        raise ValueError(message) from None
    import sweep_trials

    return sweep_trials


def settings_of(values, fixed, axes):
    """Returns what makes the sweep this one, as JSON values; how many trials, and where the data lies, may change."""
    own = {name: values[name].value for name in ("recipe", "sampler", "objective", "prune", "sampler_seed")}
    same = {name: value for name, value in fixed.items() if name != "data_dir"}
    return own | same | {axis.name: list(axis.examples) for axis in axes}


def default_directory(settings, axes):
    """Returns logs/sweeps/<recipe>-<flags>-<digest of all settings>."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]
    return Path("logs", "sweeps", "-".join([settings["recipe"], *(axis.name for axis in axes), digest]))


def command(recipe, place, chosen):
    """Returns the command that trains a recipe in a run directory. chosen: {flag: value}."""
    script = sweep_values.script_of(recipe)
    return [sys.executable, script.__file__, *sweep_values.arguments(recipe, chosen), f"--logdir={place}"]


def say(text):
    """Prints a line at once."""
    print(text, flush=True)


def stopped(signum, done, total):
    """Returns the exception that ends a sweep with the status of a signal."""
    stop = KeyboardInterrupt(f"stopped, {done} of {total} trials are done: the same command goes on from there")
    stop.signum = signum
    return stop


def report(study, plan, axes):
    """Prints the table of the trials, the best first, and where they are.

    Raises:
      ValueError: some failed, or were stopped; it names them.
    """
    sign = -1 if plan.objective == "accuracy" else 1
    tried = [trial for trial in study.trials if trial.state.name != "WAITING"]
    tried.sort(key=lambda trial: (trial.state.name != "COMPLETE", sign * (trial.value or 0), trial.number))
    places = {t.number: plan.place(t.number, {axis.name: t.params[axis.name] for axis in axes}) for t in tried}
    say("\n" + "\n".join(columns([heads(plan, axes), *(row(trial, axes) for trial in tried)])))
    say("ranked by validation alone: a test set that chose would be none; each run's test figures are in its log")
    if tried[0].state.name == "COMPLETE":
        say(f"best   {places[tried[0].number]}")
    where = shlex.quote(str(plan.directory))
    say(f"curves  tensorboard --logdir {where}\nbeside each other  python scripts/compare.py {where}/*/")
    if failed := [places[t.number].name for t in tried if t.state.name not in ("COMPLETE", "PRUNED")]:
        raise ValueError(f"{len(failed)} of {len(tried)} trials failed: {', '.join(failed)}")


def heads(plan, axes):
    """Returns the heads of the table."""
    return ["trial", *(axis.name for axis in axes), f"validation {plan.objective}", "epochs", "seconds", ""]


def row(trial, axes):
    """Returns a trial as a row of the table."""
    chosen = [shown(trial.params[axis.name]) for axis in axes]
    note = {"PRUNED": "stopped early", "FAIL": f"failed: {trial.user_attrs.get('reason')}", "RUNNING": "was stopped"}
    figures = ["–" if trial.value is None else f"{trial.value:.4f}", str(len(trial.intermediate_values))]
    seconds = f"{trial.user_attrs['seconds']:.0f}" if "seconds" in trial.user_attrs else "–"
    return [f"{trial.number + 1:03}", *chosen, *figures, seconds, note.get(trial.state.name, "")]


if __name__ == "__main__":
    flags.start(main, define)
