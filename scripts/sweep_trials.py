"""The trials of a sweep: Optuna says what to try and what to stop early; each trial is a process that trains a run.

All that has to survive a kill is in files: Optuna's journal, and the run directory of each trial.
"""

import contextlib
import dataclasses
import fcntl
import os
import shlex
import signal
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from compare import measured
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from tfcore.run import records
from tfcore.run.result import RESULT

NAME = "sweep"  # of the study in its journal
LONGEST = 120  # letters of a trial's name
LOOK = 0.2  # seconds between two looks at the processes
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # the exit status of a run that was stopped and saved
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


@dataclasses.dataclass
class Job:
    """A trial that is under way.

    place: the run directory. command: what trains it.
    process: None while one that a killed sweep left still holds the log.
    pruned, asked: Optuna would stop it; it was asked to save and end.
    """

    trial: Trial
    place: Path
    command: list
    process: subprocess.Popen | None = None
    pruned: bool = False
    asked: bool = False

    @property
    def log(self):
        """The file of what the process prints, beside the run directory."""
        return self.place.with_name(f"{self.place.name}.log")

    def start(self):
        """Starts the process, unless another one still writes the log.

        The lock on the log belongs to the open file, which the process inherits: it lasts as long as the process. The
        process has a group of its own, so that Ctrl-C reaches it once, from here.
        """
        with open(self.log, "a") as file, contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(f"$ {shlex.join(self.command)}\n")
            file.flush()
            streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            self.process = subprocess.Popen(self.command, **streams, env=environment, process_group=0)

    def stop(self):
        """Asks the process to save and end; once, for the second signal would end it at once."""
        if self.process and not self.asked:
            self.asked = True
            self.process.terminate()

    def ended(self, objective):
        """Tells Optuna of new epochs and, where the process has ended, how; returns whether it has."""
        if not self.process:
            self.start()
        status = self.process.poll() if self.process else None
        self.report(objective)
        if status is None:
            return False
        study = self.trial.study
        if status == 0:
            result = records.read_json(measured(self.place) / "result.json", RESULT)
            self.trial.set_user_attr("seconds", result["seconds"])
            study.tell(self.trial, result["validation"][objective])
        elif self.pruned:
            study.tell(self.trial, state=TrialState.PRUNED)
        elif status not in STOPPED:  # someone else stopped it: the same command takes it up again
            lines = self.log.read_text(errors="replace").strip().splitlines()
            self.trial.set_user_attr("reason", f"status {status}: {lines[-1]}")
            study.tell(self.trial, state=TrialState.FAIL)
        return True

    def report(self, objective):
        """Tells Optuna of the epochs that are new, and stops the process where it would."""
        seen = self.trial.study.get_trials(deepcopy=False)[self.trial.number].intermediate_values
        for row in records.rows(measured(self.place) / "metrics.jsonl"):
            if row["epoch"] not in seen and not self.pruned:
                self.trial.report(row["validation"][objective], row["epoch"])
                self.pruned = self.trial.should_prune()
        if self.pruned:
            self.stop()


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
