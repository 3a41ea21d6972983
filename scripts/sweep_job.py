"""A trial of a sweep that is under way: the process that trains its run, and what Optuna is told of it."""

import contextlib
import dataclasses
import fcntl
import os
import shlex
import signal
import subprocess
from pathlib import Path

from compare import measured
from optuna.trial import Trial, TrialState

from tfcore.run import records
from tfcore.run.result import RESULT

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # the exit status of a run that was stopped and saved


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
        elif status not in STOPPED:  # where someone else stopped it, the same command takes it up again
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
