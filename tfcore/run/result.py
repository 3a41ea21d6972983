"""The end of a run: the test, the export, the drawings, and result.json, which says that it is complete."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfcore import checkpoint, files, training
from tfcore.distribution import Team
from tfcore.run import directory, records, report
from tfcore.run.directory import Place
from tfcore.run.plan import Plan
from tfcore.run.progress import Progress
from tfcore.run.task import Task
from tfcore.training import TrainState
from tfcore.types import Tree

if TYPE_CHECKING:
    from tfcore.run.console import Console
    from tfcore.run.silent import Silent

RESULT = {"epochs": int, "ended": str, "patience": int, "seconds": int | float} | dict.fromkeys(
    ("train", "validation", "test"), dict
)
FINISHED = ("result.json", str(directory.EXPORT))  # what says that a run is complete


class Result(NamedTuple):
    """What a finished run gives: its directory, measures as numbers, epochs taken and seconds of training."""

    run_dir: Path
    train: dict[str, float]
    validation: dict[str, float]
    test: dict[str, Any]
    epochs: int
    seconds: float


def complete(place: Place, plan: Plan, say: Callable[[str], object] = print) -> Result | None:
    """Returns the Result of a run that has come to its end, and says so; None where there is something left to do.

    Raises:
      ValueError: its result.json or its export is damaged.
    """
    path, exported = (place / name for name in FINISHED)
    if not path.exists() or not exported.exists():  # it is tested and exported again
        return None
    again = "put it back, or remove it, and the same command tests and exports again"
    values = records.read_json(path, RESULT, advice=again)
    try:
        checkpoint.read(exported)
    except ValueError as error:
        raise ValueError(f"{error}: {again}") from None
    ended = values["ended"] == "patience" and plan.patience and values["patience"] >= plan.patience
    if values["epochs"] < plan.epochs and not ended:
        return None
    say(f"{place} is complete: more epochs go on, a clean start starts over")
    return _result(place, values)


def test_and_export(
    place: Place,
    task: Task,
    plan: Plan,
    state: TrainState,
    progress: Progress,
    config: dict[str, Any],
    console: "Console | Silent",
    team: Team,
) -> Result:
    """Tests once, on the weights that the run reports; exports them, shows and draws it all, and returns the Result.

    Args:
      config: what config.json holds, which the export holds too.
      console: the run's Console, which makes the drawings.
      team: whose workers test together.
    """
    epoch, splits = progress.epoch, task.splits
    if plan.report == "best":
        best = place / "checkpoints" / checkpoint.BEST
        epoch = team.take_over(state, checkpoint.restore(best, state)["epoch"] if team.chief else 0)
    weights, stats = training.averages(state.weights, state.slots), state.stats
    predict = report.predictor(task.test_forward or task.forward, splits.test.images.shape[1:], team)
    logits = predict(weights, stats, splits.test.images)
    test = report.measure(task, logits, splits.test, "test") | report.of_classes(logits, splits.test)
    held_out = splits.validation
    validation = report.measure(task, predict(weights, stats, held_out.images), held_out, "validation")
    test, validation = team.told((test, validation))
    history = records.rows(place / "metrics.jsonl")
    place.check()
    export(place, weights, stats, {**config, "epoch": epoch})
    drawn = console.tested(test, logits, weights, stats, progress.row["step"], epoch)
    values = {
        "format": records.FORMAT,
        "epochs": progress.epoch,
        "ended": "epochs" if progress.epoch >= plan.epochs else "patience",
        "patience": plan.patience,
        "reported_epoch": epoch,
        "seconds": round(progress.total_seconds, 1),
        "train": next(row["train"] for row in history if row["epoch"] == epoch),
        "validation": validation,
        "test": test,
    }
    console.page(values, history, drawn, config, weights, stats)
    files.write_text(place / "result.json", json.dumps(values, indent=2) + "\n")
    return _result(place, values)


def export(logdir: Place | Path, weights: Tree, stats: Tree, config: dict[str, Any]) -> None:
    """Writes `logdir`/export/weights.safetensors: all that evaluation and prediction need, in one file."""
    path = logdir / directory.EXPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.export_weights(path, weights, stats, metadata=config)


def _result(place, values):
    return Result(
        place.path, values["train"], values["validation"], values["test"], values["epochs"], values["seconds"]
    )
