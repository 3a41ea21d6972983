"""The checks that configurations make of themselves: what passes, and the sentence for what does not."""

import math

import numpy as np
import pytest

from tfcore import settings

POSITIVE, NOT_NEGATIVE = "must be positive and finite", "must be at least 0 and finite"
FRACTION = "must be at least 0 and below 1"
CHECKS = {  # the check, values that pass, values that do not, what is said of these
    "flag": (settings.flag, [True, False], [1, 0, None, "True", np.True_], "must be True or False"),
    "integer": (settings.integer, [1, 10**9], [0, -1, 1.0, True, "1", np.int64(1)], "must be a positive integer"),
    "integers": (settings.integers, [(), (1,), (3, 2)], [[1], 1, (0,), (1.0,), (True,)], "must be a tuple of positive"),
    "positive": (settings.positive, [1e-300, 1, 3e38], [0, -1.0, math.nan, math.inf, 1e39, True, "1"], POSITIVE),
    "not_negative": (settings.not_negative, [0, 0.0, 1e38], [-1e-9, math.nan, -math.inf, 1e39, None], NOT_NEGATIVE),
    "fraction": (settings.fraction, [0, 0.0, 0.999], [1, 1.0, -0.1, math.nan, False, "0.5", (0.5,)], FRACTION),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_passes_what_fits_and_says_name_value_and_rule_of_what_does_not(name):
    check, good, bad, rule = CHECKS[name]
    for value in good:
        assert check("size", value) is None
    for value in bad:
        with pytest.raises(ValueError) as error:
            check("size", value)
        assert str(error.value).startswith(f"size={value!r} {rule}")


def test_checks_with_options():
    settings.integer("patience", 0, least=0)
    settings.integers("hidden", (1, 2), length=2)
    settings.one_of("padding", "SAME", ("SAME", "VALID"))
    for check, message in (
        (lambda: settings.integer("patience", -1, least=0), "patience=-1 must be an integer of at least 0"),
        (lambda: settings.integers("hidden", (1,), length=2), "hidden=(1,) must be a tuple of 2 positive integers"),
        (lambda: settings.one_of("padding", "same", ("SAME", "VALID")), "padding='same' is not one of SAME, VALID"),
        (lambda: settings.one_of("init", ["zeros"], {"zeros": 0}), "init=['zeros'] is not one of zeros"),
    ):
        with pytest.raises(ValueError) as error:
            check()
        assert str(error.value) == message


def test_plain_turns_numbers_of_numpy_into_pythons_own():
    assert type(settings.plain(np.float32(0.5))) is float and type(settings.plain(np.int64(3))) is int
    assert settings.plain("a") == "a" and settings.plain(True) is True
