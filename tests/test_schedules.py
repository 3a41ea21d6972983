"""Schedules against their formulas, as numbers and in a graph with a changing step."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcore import schedules


def cosine_by_hand(step, peak, total, warmup, final):
    if step < warmup:
        return peak * (step + 1) / warmup
    if step >= total:
        return final
    return final + (peak - final) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


SCHEDULES = {
    "constant": (schedules.constant(0.3), lambda step: 0.3),
    "piecewise": (
        schedules.piecewise([3, 7], [1.0, 0.1, 0.01]),
        lambda step: 1.0 if step < 3 else 0.1 if step < 7 else 0.01,
    ),
    "piecewise without boundaries": (schedules.piecewise([], [0.5]), lambda step: 0.5),
    "cosine": (schedules.cosine(np.float32(0.1), np.int64(10)), lambda step: cosine_by_hand(step, 0.1, 10, 0, 0)),
    "cosine with a floor": (schedules.cosine(0.1, 9, final=0.02), lambda step: cosine_by_hand(step, 0.1, 9, 0, 0.02)),
    "cosine with warm-up": (
        schedules.cosine(2.0, 10, warmup_steps=4, final=0.5),
        lambda step: cosine_by_hand(step, 2.0, 10, 4, 0.5),
    ),
}
every_schedule = pytest.mark.parametrize(("schedule", "by_hand"), SCHEDULES.values(), ids=SCHEDULES.keys())


@every_schedule
@pytest.mark.parametrize(
    "kind",
    [int, np.int64, tf.constant, lambda step: tf.Variable(step, dtype=tf.int64)],
    ids=["int", "numpy", "tensor", "variable"],
)
def test_schedule_equals_its_formula(schedule, by_hand, kind):
    values = [schedule(kind(step)) for step in range(13)]
    assert all(value.dtype == tf.float32 and value.shape == [] for value in values)
    np.testing.assert_allclose(values, [by_hand(step) for step in range(13)], rtol=1e-5, atol=1e-8)


@every_schedule
@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_schedule_follows_a_changing_step_in_one_trace(schedule, by_hand, jit):
    step = tf.Variable(0, dtype=tf.int64)
    graph = tf.function(lambda: schedule(step), jit_compile=jit)
    for i in range(13):
        np.testing.assert_allclose(graph(), by_hand(i), rtol=1e-5, atol=1e-7)
        step.assign_add(1)
    assert graph.experimental_get_tracing_count() == 1


def test_cosine_equals_keras_without_warm_up():
    reference = keras.optimizers.schedules.CosineDecay(0.1, 50, alpha=0.2)
    schedule = schedules.cosine(0.1, 50, final=0.02)
    for step in (0, 1, 25, 49, 50, 80):
        np.testing.assert_allclose(schedule(step), reference(step), rtol=1e-5)


def test_cosine_of_warm_up_alone_is_final_at_total_steps():
    schedule = schedules.cosine(2.0, 4, warmup_steps=4, final=0.5)
    assert [float(schedule(step)) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 0.5, 0.5]


def test_piecewise_equals_keras_whose_boundaries_belong_to_the_piece_before():
    reference = keras.optimizers.schedules.PiecewiseConstantDecay([2, 6], [1.0, 0.1, 0.01])
    schedule = schedules.piecewise([3, 7], [1.0, 0.1, 0.01])
    assert [float(schedule(step)) for step in range(10)] == [float(reference(step)) for step in range(10)]


def test_piecewise_is_exact_beyond_the_integers_of_float32():
    schedule = schedules.piecewise([2**24 + 1], [1.0, 0.0])
    assert [float(schedule(step)) for step in (2**24, 2**24 + 1)] == [1.0, 0.0]


@pytest.mark.parametrize(("boundaries", "values"), [([3], [1.0]), ([7, 3], [1, 2, 3]), ([3, 3], [1, 2, 3])], ids=str)
def test_piecewise_refuses_boundaries_that_do_not_grow_or_fit(boundaries, values):
    with pytest.raises(ValueError, match=r"boundaries \[.*\] must grow, with one value more than boundaries"):
        schedules.piecewise(boundaries, values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.constant(-1.0), "value=-1.0 must be at least 0 and finite"),
        (lambda: schedules.piecewise([3], [0.1, math.nan]), "value=nan must be at least 0 and finite"),
        (lambda: schedules.cosine(math.inf, 10), "peak=inf must be at least 0 and finite"),
        (lambda: schedules.cosine(0.1, -1), "total_steps=-1 must be at least 0 and finite"),
        (lambda: schedules.cosine(0.1, 10, warmup_steps=-2), "warmup_steps=-2 must be at least 0 and finite"),
        (lambda: schedules.cosine(0.1, 10, final=-0.5), "final=-0.5 must be at least 0 and finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_schedule_refuses_what_is_no_learning_rate_when_it_is_made(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message
