"""What a worker shows that is not the chief: nothing. It has the methods of a Console."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfcore.run.progress import Progress
from tfcore.run.result import Result
from tfcore.training import TrainState
from tfcore.types import Tree


class Silent:
    """In place of a `console.Console`, and of what its `epoch` yields."""

    def introduce(self, state: TrainState, *, resumed: bool) -> None:
        """Shows nothing."""

    @contextlib.contextmanager
    def epoch(self, progress: Progress) -> Iterator["Silent"]:
        """Yields itself."""
        yield self

    def block(self, progress: Progress, sums: dict[str, float], count: int, step: int) -> None:
        """Shows nothing."""

    def end_of_epoch(self, progress: Progress, logits: np.ndarray, state: TrainState) -> None:
        """Shows nothing."""

    def tested(
        self, measured: dict[str, Any], logits: np.ndarray, weights: Tree, stats: Tree, step: int, reported: int
    ) -> dict[str, bytes]:
        """Returns no drawings."""
        return {}

    def page(
        self,
        values: dict[str, Any],
        history: list[dict[str, Any]],
        drawn: dict[str, bytes],
        config: dict[str, Any],
        weights: Tree,
        stats: Tree,
    ) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Has nothing open."""

    def end(self, result: Result) -> None:
        """Shows nothing."""
