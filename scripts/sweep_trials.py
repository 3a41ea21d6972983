"""The trials of a sweep: which there are, which are under way, and what Optuna says comes next.

All that has to survive a kill is in files: Optuna's journal, and the run directory of each trial.
"""

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState
from sweep_job import Job

NAME = "sweep"  # of the study in its journal
LONGEST = 120  # letters of a trial's name
LOOK = 0.2  # seconds between two looks at the processes
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

optuna.logging.set_verbosity(optuna.logging.CRITICAL)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of constant_liar


def open_study(directory, settings, *, direction, prune):
    """Returns the study of a sweep's directory, which this process holds: a new one, or that of the same sweep before.

    Args:
      settings: JSON values; all that makes a sweep this sweep.
    Raises:
      ValueError: the directory holds another sweep, or its journal is damaged.
    """
    journal = Path(directory).resolve() / "journal.log"
    for leftover in journal.parent.glob(f"{journal.name}.lock*"):  # its holder was killed
        leftover.unlink()
    cut_to_last_line(journal)
    pruner = optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner()
    options = {"direction": direction, "pruner": pruner, "load_if_exists": True}
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(storage=storage, study_name=NAME, **options)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{journal} is damaged ({error}): put it back, or choose another logdir") from None
    before = study.user_attrs.get("settings")
    if before is None:
        study.set_user_attr("settings", settings)
    elif before != settings:
        changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        raise ValueError(f"{directory} holds another sweep ({', '.join(changed)} differ): choose another logdir")
    return study


def cut_to_last_line(journal):
    """Cuts off a line that a power cut left without its end: Optuna would read no further."""
    if journal.exists():
        content = journal.read_bytes()
        os.truncate(journal, content.rfind(b"\n") + 1)


def sampler(kind, seed, number, *, parallel):
    """Returns what chooses the values of trial `number`: a function of the seed and the number, also after a kill."""
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if kind == "tpe":
        return optuna.samplers.TPESampler(seed=drawn, constant_liar=parallel)
    return optuna.samplers.RandomSampler(seed=drawn)


def enqueue(study, points):
    """Makes the points of a grid the first trials of the study, in this order.

    Optuna's GridSampler would shuffle them, and works inside `Study.optimize` only, which knows no processes.
    """
    for point in points[len(study.trials) :]:
        study.enqueue_trial(point)


class Plan(NamedTuple):
    """How a sweep goes on: how many trials in all and at a time, and what a trial is.

    sampler, seed: as `sampler` takes them.
    objective: the measure of validation that trials are compared by.
    suggest: (Optuna's trial) -> {flag: value}.
    command: (run directory, {flag: value}) -> the command that trains it.
    say: (text) -> None, prints a line.
    """

    directory: Path
    trials: int
    jobs: int
    sampler: str
    seed: int
    objective: str
    suggest: Callable
    command: Callable
    say: Callable

    def place(self, number, chosen):
        """Returns the run directory of a trial: its number from 1, and its values."""
        values = (
            f"{name}{value:.3g}" if isinstance(value, float) else f"{name}{value}" for name, value in chosen.items()
        )
        return self.directory / "-".join([f"{number + 1:03}", *values])[:LONGEST]


def run(study, plan, stop):
    """Runs trials until there are as many as planned, or `stop`, a list, holds a signal.

    Those that a killed or stopped sweep left unfinished come first: their runs go on in their directories.
    """
    unfinished = [trial.number for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING])]
    jobs, began, before = [], time.perf_counter(), ended(study)
    try:
        while not stop:
            while len(jobs) < plan.jobs and (trial := next_trial(study, plan, unfinished)):
                jobs.append(job_of(trial, plan))
            if not jobs:
                return
            for job in [job for job in jobs if job.ended(plan.objective)]:
                jobs.remove(job)
                done = ended(study)
                rest = (time.perf_counter() - began) / max(done - before, 1) * (plan.trials - done)
                plan.say(f"{job.place.name}  {outcome(study, job.trial.number, plan.objective)}")
                plan.say(f"{done} of {plan.trials} trials done, about {clock(rest)} left")
            time.sleep(LOOK)
    finally:
        for job in jobs:
            job.stop()
        for job in jobs:
            if job.process:
                job.process.wait()


def next_trial(study, plan, unfinished):
    """Returns the next of the unfinished trials, else the one that Optuna chooses; None where all are under way."""
    if unfinished:
        number = unfinished.pop(0)
        (frozen,) = [trial for trial in study.get_trials(deepcopy=False) if trial.number == number]
        return Trial(study, frozen._trial_id)  # Optuna has no public way to go on with a trial
    if len(study.get_trials(deepcopy=False, states=[TrialState.RUNNING, *ENDED])) >= plan.trials:
        return None
    study.sampler = sampler(plan.sampler, plan.seed, len(study.trials), parallel=plan.jobs > 1)
    return study.ask()


def job_of(trial, plan):
    """Returns the trial as a job whose process was started, or waits for the one of a killed sweep."""
    chosen = plan.suggest(trial)
    place = plan.place(trial.number, chosen)
    job = Job(trial, place, plan.command(place, chosen))
    plan.say(f"{place.name}  {'goes on' if place.exists() else 'starts'}")
    job.start()
    if not job.process:
        plan.say(f"{place.name}  is still trained by a process of the sweep that was killed: waits for it")
    return job


def ended(study):
    """Returns how many trials have come to their end."""
    return len(study.get_trials(deepcopy=False, states=ENDED))


def clock(seconds):
    """Returns seconds as minutes and seconds, hours before them where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def outcome(study, number, objective):
    """Returns in words how a trial ended."""
    trial = study.trials[number]
    count = len(trial.intermediate_values)
    epochs = f"{count} epoch{'' if count == 1 else 's'}"
    if trial.state == TrialState.COMPLETE:
        return f"validation {objective} {trial.value:.4f}, {epochs} in {clock(trial.user_attrs['seconds'])}"
    if trial.state == TrialState.PRUNED:
        return f"stopped early after {epochs}, validation {objective} {trial.value:.4f}"
    return f"failed, {trial.user_attrs['reason']}" if trial.state == TrialState.FAIL else "was stopped by someone"
