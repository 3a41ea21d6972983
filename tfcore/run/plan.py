"""How a task is trained: the numbers of a run, checked against its data."""

from typing import NamedTuple

from tfcore import settings
from tfcore.data import check_splits
from tfcore.data.order import batch_indices
from tfcore.data.splits import Splits
from tfcore.run.progress import Progress


class Plan(NamedTuple):
    """How a task is trained: the arguments of `train`, and the number of steps in an epoch."""

    epochs: int
    batch_size: int
    seed: int
    steps_per_epoch: int
    steps_per_loop: int
    validation_steps: int
    patience: int
    report: str
    jit: bool
    check_numerics: bool = False
    steps: int = 0

    @property
    def examined(self) -> int:
        """How many validation examples are looked at after an epoch; 0 for all."""
        return self.validation_steps * self.batch_size

    def ended(self, progress: Progress) -> bool:
        """True when there is nothing more to train: the last epoch is done, or patience has run out."""
        return progress.epoch >= self.epochs or progress.out_of_patience(self.patience)

    def fitted(self, splits: Splits) -> "Plan":
        """Returns the plan for these splits. Raises ValueError: an argument or the data are not what they should be."""
        for name in ("epochs", "batch_size", "steps_per_loop"):
            settings.integer(name, getattr(self, name))
        for name in ("steps_per_epoch", "validation_steps", "patience"):
            settings.integer(name, getattr(self, name), least=0)
        settings.one_of("report", self.report, ("last", "best"))
        check_splits(splits)
        one_pass = len(batch_indices(self.seed, 0, len(splits.train.labels), self.batch_size))  # refuses large batches
        steps = self.steps_per_epoch or one_pass
        return self._replace(steps=steps, steps_per_loop=min(self.steps_per_loop, steps))
