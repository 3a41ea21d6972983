"""The model on paper, against figures worked out by hand, and the tables made of small ones."""

import distribution_cost as cost
import pytest


@pytest.mark.parametrize(
    ("workers", "gigabits", "wanted"),
    [
        (1, 1, 1.0),  # alone nothing is waited for
        (2, 1, 0.1 / (0.1 + 0.001 + 0.1)),  # 2 · 1/2 · 100 Mbit at 1 Gbit/s
        (2, 10, 0.1 / (0.1 + 0.001 + 0.01)),
        (5, 10, 0.1 / (0.1 + 0.004 + 0.016)),  # 2 · 4/5 · 100 Mbit
    ],
)
def test_the_share_of_steps(workers, gigabits, wanted):
    assert cost.share(0.1, 12.5e6, 1, 0.001, workers, gigabits) == pytest.approx(wanted)


def test_each_reduction_is_waited_for():
    assert cost.share(0.1, 0, 9, 0.001, 2, 1) == pytest.approx(0.1 / 0.109)


def test_the_tables():
    steps = {
        "alone": {"seconds": 0.01, "bytes": 10**6, "norms": 0},
        "one": {"seconds": 0.0125},
        "two": {"seconds": 0.02},
    }
    results = {"machine": "a machine", "reductions": {"4": 0.001, "32": 0.002}, "steps": {"mnist_perceptron": steps}}
    lines = cost.page(results).splitlines()
    assert "| 4 | 1 |" in lines
    assert "| mnist_perceptron | 100 | 1.00 | 10,000 | 8,000 | 20.0 % | 5,000 | 0.50 |" in lines
    assert lines[-1].startswith("| mnist_perceptron | 100 / 100 / 100 | 53 / 85 / 90 |")
    assert cost.page({}).startswith("Not measured yet")
