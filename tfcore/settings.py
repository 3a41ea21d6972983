"""Checks of settings: each function raises a ValueError of one sentence, ``name=value must be ...``.

A configuration calls them in its `__post_init__`, so that a wrong value never gets as far as a file or a trace.
Only Python's own numbers count, because a configuration is written as JSON; where NumPy's are as good, `plain` turns
them into these.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

FLOAT32_MAX = 3.4e38


def require(condition: bool, name: str, value: Any, rule: str) -> None:
    """Raises ValueError "name=value rule" unless `condition`; the rule goes on, such as "must be positive"."""
    if not condition:
        raise ValueError(f"{name}={value!r} {rule}")


def plain(value: Any) -> Any:
    """Returns a NumPy number as Python's own, anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def flag(name: str, value: Any) -> None:
    """True or False."""
    require(isinstance(value, bool), name, value, "must be True or False")


def one_of(name: str, value: Any, choices: Iterable[str]) -> None:
    """A name of `choices`, written exactly so."""
    require(isinstance(value, str) and value in choices, name, value, f"is not one of {', '.join(choices)}")


def integer(name: str, value: Any, *, least: int = 1) -> None:
    """An integer of at least `least`."""
    kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
    require(_is_integer(value) and value >= least, name, value, f"must be {kind}")


def integers(name: str, value: Any, *, length: int | None = None) -> None:
    """A tuple of positive integers, of any length unless told otherwise."""
    fits = is_widths(value) and length in (None, len(value))
    count = "" if length is None else f"{length} "
    require(fits, name, value, f"must be a tuple of {count}positive integers")


def is_widths(value: Any) -> bool:
    """True for a tuple of positive integers."""
    return isinstance(value, tuple) and all(_is_integer(item) and item >= 1 for item in value)


def positive(name: str, value: Any) -> None:
    """A number above 0 that is finite, also in float32."""
    require(_is_number(value) and 0 < value <= FLOAT32_MAX, name, value, "must be positive and finite")


def not_negative(name: str, value: Any) -> None:
    """A number of at least 0 that is finite, also in float32."""
    require(_is_number(value) and 0 <= value <= FLOAT32_MAX, name, value, "must be at least 0 and finite")


def fraction(name: str, value: Any) -> None:
    """A number in [0, 1): a drop probability, a decay, a share that is never all."""
    require(_is_number(value) and 0 <= value < 1, name, value, "must be at least 0 and below 1")


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):  # NaN is a number here, but passes no comparison
    return isinstance(value, int | float) and not isinstance(value, bool)
