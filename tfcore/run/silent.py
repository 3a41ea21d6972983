"""What a worker shows that is not the chief: nothing. It has the methods of a Console."""

import contextlib


class Silent:
    """In place of a `console.Console`, and of what its `epoch` yields."""

    def introduce(self, state, *, resumed):
        """Shows nothing."""

    @contextlib.contextmanager
    def epoch(self, progress):
        """Yields itself."""
        yield self

    def block(self, progress, sums, count, step):
        """Shows nothing."""

    def end_of_epoch(self, progress, logits, state):
        """Shows nothing."""

    def tested(self, measured, logits, weights, stats, step, reported):
        """Returns no drawings."""
        return {}

    def page(self, values, history, drawn, config, weights, stats):
        """Writes nothing."""

    def close(self):
        """Has nothing open."""

    def end(self, result):
        """Shows nothing."""
