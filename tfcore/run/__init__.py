"""The run around the step: any network, any loss, any optimizer, with checkpoints, curves, pictures and a report.

A `Task` says what is trained; `train(task, logdir, epochs=..., batch_size=...)` trains it,
and `replay(task, run_dir)` takes the step on which it stopped again. It knows tasks, no recipes.
"""

from tfcore.run.directory import load_run
from tfcore.run.loop import Stopped, train
from tfcore.run.plan import Plan
from tfcore.run.postmortem import replay
from tfcore.run.result import Result
from tfcore.run.task import Task

__all__ = ["Plan", "Result", "Stopped", "Task", "load_run", "replay", "train"]
