"""What a check says."""

import functools
from collections.abc import Callable
from typing import NamedTuple, ParamSpec

P = ParamSpec("P")  # the arguments of a check


class Finding(NamedTuple):
    """check: what was looked at; good: False where something is wrong; text: what was seen. It prints as one line.

    A finding is true where it is good, so that a test can say `assert found, found`.
    """

    check: str
    good: bool
    text: str

    def __bool__(self):
        return self.good

    def __str__(self):
        return f"{'ok   ' if self.good else 'WRONG'}  {self.check}: {self.text}"


def finding(name: str) -> Callable[[Callable[P, tuple[bool, str]]], Callable[P, Finding]]:
    """Makes of a function that returns (good, text) one that returns a `Finding`; an error in it is a bad one."""

    def decorate(look):
        @functools.wraps(look)
        def found(*args, **options):
            try:
                return Finding(name, *look(*args, **options))
            except Exception as error:  # of whatever function is being checked: that it fails is what was found
                lines = str(error).strip().splitlines() or [""]
                told = lines[-1 if lines[0].startswith("in user code") else 0]  # AutoGraph puts the error itself last
                return Finding(name, False, f"{type(error).__name__}: {told.strip()}")

        return found

    return decorate
