"""Learning rate schedules: functions from the step (a number or a tensor) to a float32 tensor.

A learning rate is at least 0 and finite: ValueError where one is not.
"""

import math
from collections.abc import Sequence

from tfcore import settings
from tfcore.quiet import tf
from tfcore.types import Schedule


def constant(value: float) -> Schedule:
    """`value` at every step."""
    settings.not_negative("value", settings.plain(value))
    return lambda step: tf.constant(value, tf.float32)


def piecewise(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """values[i] before boundaries[i], and values[-1] from the last boundary on.

    Raises:
      ValueError: there is not one value more than boundaries, or the boundaries do not grow.
    """
    if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(set(boundaries)):
        raise ValueError(f"boundaries {boundaries} must grow, with one value more than boundaries, not {values}")
    for value in values:
        settings.not_negative("value", settings.plain(value))

    def schedule(step):
        passed = tf.reduce_sum(tf.cast(tf.cast(step, tf.int64) >= tf.constant(boundaries, tf.int64), tf.int32))
        return tf.gather(tf.constant(values, tf.float32), passed)

    return schedule


def cosine(peak: float, total_steps: int, *, warmup_steps: int = 0, final: float = 0.0) -> Schedule:
    """Rises linearly to `peak` in `warmup_steps`, then falls along half a cosine to `final` at `total_steps`.

    The paper is arXiv:1608.03983. The first of w warm-up steps runs at peak / w; after `total_steps` it is `final`.
    """
    for name, value in {"peak": peak, "total_steps": total_steps, "warmup_steps": warmup_steps, "final": final}.items():
        settings.not_negative(name, settings.plain(value))

    def schedule(step):
        step = tf.cast(step, tf.float32)
        progress = tf.clip_by_value((step - warmup_steps) / max(total_steps - warmup_steps, 1), 0.0, 1.0)
        progress = tf.where(step >= total_steps, 1.0, progress)
        decayed = final + (peak - final) * 0.5 * (1 + tf.cos(math.pi * progress))
        return tf.where(step < warmup_steps, peak * (step + 1) / max(warmup_steps, 1), decayed)

    return schedule
