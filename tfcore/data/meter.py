"""How far a long job is: a bar where someone watches, lines where it is logged."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

EVERY = 30.0  # seconds from line to line


@contextlib.contextmanager
def meter(
    what: str, total: int, unit: str, *, done: int = 0, scale: int = 1, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], object]]:
    """Yields advance(n), to be told of each progress; shows a bar in a terminal or notebook, elsewhere prints lines.

    Args:
      what: the words for the job, such as "decoding".
      total, done: how much it is, and how much of that was there before.
      unit, scale: the words for so many, as ("MB", 10**6) for bytes.
      clock: () -> seconds.
    """
    from tqdm.auto import tqdm  # here, for whoever imports this but never waits

    if watched():
        form = {"unit": f" {unit}"} if scale == 1 else {"unit": "B", "unit_scale": True}
        with tqdm(total=total, initial=done, desc=what, **form) as bar:
            yield bar.update
    else:
        yield from _lines(what, total, unit, done, scale, clock)


def watched() -> bool:
    """True where a bar can be seen: on a terminal, and in a notebook."""
    from tqdm.auto import tqdm

    notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
    return notebook or bool(sys.stderr and sys.stderr.isatty())


def _lines(what, total, unit, done, scale, clock):
    """Yields advance(n), which prints a line when the last is EVERY seconds old; prints one more at the end."""
    began = last = clock()
    came = 0

    def advance(n):
        nonlocal came, last
        came, now = came + n, clock()
        if now - last >= EVERY and came:
            last, rate = now, came / (now - began)
            far = f"{_number(done + came, scale)} of {_number(total, scale)} {unit}"
            _print(f"{what}: {far}, {_number(rate, scale)} a second, {_time((total - done - came) / rate)} left")

    yield advance
    seconds = max(clock() - began, 1e-9)
    _print(f"{what}: {_number(came, scale)} {unit} in {seconds:.1f} s, {_number(came / seconds, scale)} a second")


def _number(n, scale):
    return f"{n:,.0f}" if scale == 1 else f"{n / scale:,.1f}"


def _time(seconds):
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _print(line):
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: the job goes on
        print(line, flush=True)
