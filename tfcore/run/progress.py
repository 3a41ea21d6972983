"""How far a run is: what a checkpoint keeps beside the state, and all that the loop decides by."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfcore.run.plan import Plan


@dataclasses.dataclass(frozen=True)
class Progress:
    """A position in the data, the measures since the last epoch's end, and the best so far.

    epoch: finished ones; steps: of the epoch under way; sums: of its metrics, over these steps.
    seconds: of training in this epoch; total_seconds: of training and validation, in the whole run.
    stale: epochs since the best; best: the measures of the best epoch, and its number.
    row: of metrics.jsonl, of the last finished epoch.
    """

    epoch: int = 0
    steps: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    total_seconds: float = 0.0
    stale: int = 0
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    row: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, path: str | Path, meta: dict[str, Any]) -> "Progress":
        """Returns the progress that a checkpoint tells of. Raises ValueError: it tells of something else."""
        try:
            return cls(**meta)
        except TypeError as error:
            raise ValueError(f"{path} was not written by a run of this version of tfcore ({error})") from None

    def after(self, count: int, sums: dict[str, float], seconds: float) -> "Progress":
        """Returns the progress after a block of `count` steps that took so many seconds."""
        added = {name: self.sums.get(name, 0.0) + value for name, value in sums.items() if name != "gradient_norm"}
        return dataclasses.replace(self, steps=self.steps + count, sums=added, seconds=self.seconds + seconds)

    def means(self) -> dict[str, float]:
        """Returns the mean of each metric over the steps of the epoch under way."""
        return {name: value / self.steps for name, value in self.sums.items()}

    def end_of_epoch(self, measured: dict[str, float], plan: "Plan", seconds: float) -> "Progress":
        """Returns the progress at the end of an epoch.

        Args:
          measured: {name: number} of the validation part; the best is the one with the highest accuracy.
          plan: a `run.Plan`.
          seconds: of its training and validation.
        """
        epoch, best = self.epoch + 1, measured["accuracy"] > self.best.get("accuracy", -1.0)
        row = {
            "epoch": epoch,
            "step": epoch * plan.steps,
            "train": self.means(),
            "validation": measured,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(plan.steps * plan.batch_size / max(self.seconds, 1e-9)),
        }
        return Progress(
            epoch=epoch,
            total_seconds=self.total_seconds + seconds,
            stale=0 if best else self.stale + 1,
            best={"epoch": epoch, **measured} if best else self.best,
            row=row,
        )

    @property
    def is_best(self) -> bool:
        """True at the end of the epoch with the best validation so far."""
        return self.best.get("epoch") == self.epoch

    def out_of_patience(self, patience: int) -> bool:
        """True when `patience` epochs have brought nothing better; 0 is patience without end."""
        return bool(patience) and self.stale >= patience
