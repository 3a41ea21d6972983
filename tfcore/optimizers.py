"""Optimizers: a pair of functions over dictionaries of variables, and the rule of each as pure mathematics.

`init(weights)` returns the slots, zeros in the structure of the weights. `update(weights, grads, slots, step)` assigns
weights and slots. A rule takes tensors and returns the change to add to the weight, then its new moments.
A learning rate is a number or a schedule, a function of the step. Steps count from 0; a rule's t counts from 1.
An optimizer checks its arguments when it is made: ValueError, ``beta1=1.0 must be at least 0 and below 1``.
OPTIMIZERS, at the end, is the one place where a name becomes an optimizer.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from tfcore import settings, tree
from tfcore.quiet import tf
from tfcore.types import Array, LearningRate, Tensor, Tree


class Optimizer(NamedTuple):
    """init(weights) -> slots; update(weights, grads, slots, step) -> None, assigns weights and slots."""

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree, Tensor], None]


def sgd_rule(g: Tensor, *, learning_rate: float | Tensor) -> Tensor:
    """Returns delta = -learning_rate g."""
    return -learning_rate * g


def momentum_rule(
    g: Tensor, m: Tensor, *, learning_rate: float | Tensor, momentum: float, nesterov: bool
) -> tuple[Tensor, Tensor]:
    """m = momentum m + g; delta = -learning_rate m, or, Nesterov's, -learning_rate (momentum m + g)."""
    m = momentum * m + g
    return -learning_rate * (momentum * m + g if nesterov else m), m


def rmsprop_rule(
    g: Tensor, v: Tensor, *, learning_rate: float | Tensor, decay: float, epsilon: float
) -> tuple[Tensor, Tensor]:
    """v = decay v + (1 - decay) g^2; delta = -learning_rate g / sqrt(v + epsilon) (Tieleman & Hinton 2012)."""
    v = decay * v + (1 - decay) * tf.square(g)
    return -learning_rate * g * tf.math.rsqrt(v + epsilon), v


def adam_rule(
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: Tensor,
    *,
    learning_rate: float | Tensor,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The change of a weight by Adam, in the order of computation that section 2 of arXiv:1412.6980 recommends.

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    delta = -learning_rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon).

    Args:
      g, m, v: the gradient and both moments, of one shape and dtype.
      t: the number of this update, from 1, a scalar of that dtype.
    Returns: delta (to add to the weight), m, v.
    """
    beta1, beta2 = tf.constant(beta1, g.dtype), tf.constant(beta2, g.dtype)
    m = m + (g - m) * (1 - beta1)  # the order of ResourceApplyAdam, so that `adam` has the rule's bits
    v = v + (tf.square(g) - v) * (1 - beta2)
    rate = learning_rate * tf.sqrt(1 - tf.pow(beta2, t)) / (1 - tf.pow(beta1, t))
    return -(m * rate) / (tf.sqrt(v) + epsilon), m, v


def rate_at(learning_rate: LearningRate, step: Array) -> Tensor:
    """Returns the learning rate at `step`, a float32 scalar: the number itself, or the schedule's value."""
    return tf.cast(learning_rate(step) if callable(learning_rate) else learning_rate, tf.float32)


def _check_rate(learning_rate):
    """Raises ValueError for a number that is no learning rate; a schedule's or a tensor's values are not known yet."""
    if not callable(learning_rate) and not tf.is_tensor(learning_rate):
        settings.not_negative("learning_rate", settings.plain(learning_rate))


def sgd(learning_rate: LearningRate = 1e-2) -> Optimizer:
    """Plain gradient descent; no slots."""
    _check_rate(learning_rate)

    def update(weights, grads, slots, step):
        rate = rate_at(learning_rate, step)
        for w, g in _zip(weights, grads):
            w.assign_add(sgd_rule(g, learning_rate=tf.cast(rate, g.dtype)))

    return Optimizer(lambda weights: {}, update)


def momentum(learning_rate: LearningRate = 1e-2, *, momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    """Gradient descent with one momentum buffer per weight, slot "m" (Polyak 1964; Sutskever et al. 2013)."""
    _check_rate(learning_rate)
    settings.fraction("momentum", momentum)
    settings.flag("nesterov", nesterov)

    def update(weights, grads, slots, step):
        rate = rate_at(learning_rate, step)
        for w, g, m in _zip(weights, grads, slots["m"]):
            delta, new_m = momentum_rule(
                g, m, learning_rate=tf.cast(rate, g.dtype), momentum=momentum, nesterov=nesterov
            )
            m.assign(new_m)
            w.assign_add(delta)

    return Optimizer(lambda weights: {"m": tree.zeros_like(weights)}, update)


def rmsprop(learning_rate: LearningRate = 1e-3, *, decay: float = 0.9, epsilon: float = 1e-7) -> Optimizer:
    """RMSprop, slot "v"."""
    _check_rate(learning_rate)
    settings.fraction("decay", decay)
    settings.positive("epsilon", epsilon)

    def update(weights, grads, slots, step):
        rate = rate_at(learning_rate, step)
        for w, g, v in _zip(weights, grads, slots["v"]):
            delta, new_v = rmsprop_rule(g, v, learning_rate=tf.cast(rate, g.dtype), decay=decay, epsilon=epsilon)
            v.assign(new_v)
            w.assign_add(delta)

    return Optimizer(lambda weights: {"v": tree.zeros_like(weights)}, update)


def adam(
    learning_rate: LearningRate = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-7
) -> Optimizer:
    """Adam, slots "m" and "v": `adam_rule` to the bit, in float32 and float64, eager, in a graph and under XLA.

    That is so where TensorFlow's own kernel rounds after every operation, as on x86-64; elsewhere up to one rounding.
    `init` refuses weights of 16 bits: there 1 - beta2 is 0, and nothing would ever move.
    """
    return adamw(learning_rate, weight_decay=0.0, beta1=beta1, beta2=beta2, epsilon=epsilon)


def is_kernel(path: str) -> bool:
    """True for the weights that are multiplied with data, `.../w`; biases, scales and offsets are not decayed."""
    return path.split("/")[-1] == "w"


def adamw(
    learning_rate: LearningRate = 1e-3,
    *,
    weight_decay: float = 1e-4,
    decays: Callable[[str], bool] = is_kernel,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-7,
) -> Optimizer:
    """Adam that also takes learning_rate * weight_decay * w off each weight whose path `decays` (arXiv:1711.05101).

    The decay comes first, then `adam_rule`; all else is as in `adam`.
    """
    _check_rate(learning_rate)
    settings.not_negative("weight_decay", weight_decay)
    settings.fraction("beta1", beta1)
    settings.fraction("beta2", beta2)
    settings.positive("epsilon", epsilon)

    def init(weights):
        narrow = [path for path, w in tree.flatten(weights).items() if w.dtype not in (tf.float32, tf.float64)]
        if narrow:
            raise ValueError(f"{', '.join(narrow)}: adam wants float32 or float64 weights; cast them in `forward`")
        return {"m": tree.zeros_like(weights), "v": tree.zeros_like(weights)}

    def update(weights, grads, slots, step):
        rate = rate_at(learning_rate, step)
        for path, (w, g, m, v) in zip(tree.flatten(weights), _zip(weights, grads, slots["m"], slots["v"])):
            t, lr = tf.cast(step, g.dtype) + 1, tf.cast(rate, g.dtype)
            if weight_decay and decays(path):
                w.assign_sub(lr * weight_decay * w)
            tf.raw_ops.ResourceApplyAdam(  # adam_rule in one pass over memory
                var=w.handle, m=m.handle, v=v.handle, grad=g, lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon,
                beta1_power=tf.pow(tf.constant(beta1, g.dtype), t), beta2_power=tf.pow(tf.constant(beta2, g.dtype), t),
            )  # fmt: skip

    return Optimizer(init, update)


def clipped(optimizer: Optimizer, max_norm: float) -> Optimizer:
    """`optimizer` on gradients that are scaled down together when their global norm exceeds `max_norm`."""
    settings.positive("max_norm", max_norm)

    def update(weights, grads, slots, step):
        scaled, _ = tf.clip_by_global_norm(tree.leaves(grads), max_norm)
        optimizer.update(weights, tree.unflatten(dict(zip(tree.flatten(grads), scaled))), slots, step)

    return Optimizer(optimizer.init, update)


def averaged(optimizer: Optimizer, decay: float) -> Optimizer:
    """`optimizer` that also keeps an exponential moving average of the weights: slots["average"].

    average = d average + (1 - d) w after each update, d = min(decay, (1 + t) / (10 + t)), so that the first steps
    are soon forgotten. Evaluate with `tree.merge(weights, slots["average"])`.
    """
    settings.fraction("decay", decay)

    def init(weights):
        return {"average": tree.variables(weights), "inner": optimizer.init(weights)}

    def update(weights, grads, slots, step):
        optimizer.update(weights, grads, slots["inner"], step)
        t = tf.cast(step, tf.float32) + 1
        keep = tf.minimum(decay, (1 + t) / (10 + t))
        for w, average in _zip(weights, slots["average"]):
            average.assign_sub(tf.cast(1 - keep, w.dtype) * (average - w))

    return Optimizer(init, update)


def _zip(weights, *others):
    """Returns, per path of `weights`, the leaves of all trees together; a sparse gradient is made dense.

    Raises:
      ValueError: a tree has no leaf at a path of `weights`.
    """
    flat = [tree.flatten(other) for other in others]
    missing = [path for path in tree.flatten(weights) if any(other.get(path) is None for other in flat)]
    if missing:
        raise ValueError(f"{', '.join(missing)}: no gradient or no slot for this weight")
    dense = lambda leaf: tf.convert_to_tensor(leaf) if isinstance(leaf, tf.IndexedSlices) else leaf  # noqa: E731
    return [(w, *(dense(other[path]) for other in flat)) for path, w in tree.flatten(weights).items()]


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {  # each takes learning_rate; adamw also weight_decay
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": functools.partial(momentum, nesterov=True),
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}
