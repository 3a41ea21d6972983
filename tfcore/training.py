"""The step and the loop."""

import functools
from typing import NamedTuple

import numpy as np

from tfcore import losses, metrics as measures, tree
from tfcore.data.order import preprocess as default_preprocess
from tfcore.init import fold_in
from tfcore.quiet import tf


class TrainState(NamedTuple):
    """All that a training step reads and changes: dictionaries of variables, and the step, a scalar int64 variable.

    `trainable` is the sub-dictionary of `weights` that learns; `slots` belong to the optimizer.
    """

    weights: dict
    trainable: dict
    stats: dict
    slots: dict
    step: tf.Variable


def init_state(weights, stats, optimizer, *, learns=lambda path: True):
    """Returns the state before the first step. learns(path) says which weights are trainable."""
    trainable = tree.select(weights, learns)
    return TrainState(weights, trainable, stats, optimizer.init(trainable), tf.Variable(0, dtype=tf.int64))


def train_step(state, batch, seed, *, loss_fn, optimizer, jit=False):
    """Takes one step; runs eagerly, in a `tf.function`, under XLA and in `strategy.run`.

    Args:
      batch: what `loss_fn` takes; with the built-in ones (images, labels).
      seed: of the run; the step is folded in.
      loss_fn: (weights, stats, batch, seed) -> loss, (metrics, new_stats); loss and metrics are scalars.
      jit: write it in the way that is fast when XLA compiles it; the result is the same.
    Returns: the metrics, with "loss", "gradient_norm" and "finite". Where loss or gradients are not finite nothing is
      assigned and the step does not count.
    Raises:
      ValueError: a weight of `trainable` does not influence the loss.
      FloatingPointError: run eagerly, when loss or gradients are not finite; it names them.
    """
    seed = fold_in(seed, state.step)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tree.leaves(state.trainable))
        loss, (metrics, new_stats) = loss_fn(state.weights, state.stats, batch, seed)
    grads = connected(tape.gradient(loss, state.trainable))
    grads, new_stats, metrics = all_reduce((grads, new_stats, {"loss": loss, **metrics}))
    norm = global_norm(grads, jit=jit)
    finite = tf.math.is_finite(metrics["loss"]) & tf.math.is_finite(norm)
    if tf.executing_eagerly() and not finite:
        raise FloatingPointError(not_finite(metrics["loss"], grads, state.step))

    def update():
        optimizer.update(state.trainable, grads, state.slots, state.step)
        tree.assign(state.stats, new_stats)
        return state.step.assign_add(1)

    if jit:
        update_or_restore(finite, update, state)
    else:
        tf.cond(finite, update, state.step.read_value)
    return {**metrics, "gradient_norm": norm, "finite": finite}


def global_norm(grads, *, jit=False):
    """Returns the square root of the sum of all squares. XLA takes a sum of floats one by one, but not a product's."""
    if not jit:
        return tf.linalg.global_norm(tree.leaves(grads))
    squares = [tf.square(tf.convert_to_tensor(g)) for g in tree.leaves(grads)]
    squares = [tf.reshape(s, [-1, s.shape[-1] if s.shape.rank else 1]) for s in squares]
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.matmul(s, tf.ones([s.shape[1], 1], s.dtype))) for s in squares]))


def update_or_restore(finite, update, state):
    """Runs `update`, then brings back the old values unless `finite`.

    XLA makes this choice inside the loops of the update; a branch it compiles into copies of what it might change.
    """
    variables = [*tree.leaves({"w": state.trainable, "stats": state.stats, "slots": state.slots}), state.step]
    before = [v.read_value() for v in variables]
    update()
    for v, old in zip(variables, before):
        v.assign(tf.where(finite, v, old))


def connected(grads):
    """Returns `grads`. Raises ValueError with the paths at which there is no gradient."""
    missing = [path for path, g in tree.flatten(grads).items() if g is None]
    if missing:
        raise ValueError(f"no gradient reaches {', '.join(missing)}: the loss does not depend on it; freeze or use it")
    return grads


def not_finite(loss, grads, step):
    """Returns a sentence that names what is not finite."""
    largest = {path: float(np.abs(np.asarray(g)).max()) for path, g in tree.flatten(grads).items()}
    names = [path for path, size in largest.items() if not np.isfinite(size)]
    worst = max(largest, key=largest.get)
    what = (
        f"gradient of {', '.join(names)}" if names else f"norm of the gradients, {worst} reaches {largest[worst]:.3g}"
    )
    return f"step {int(step)}: loss {float(loss):.6g}; not finite: {what}. Lower --learning_rate or set --clip_norm"


def all_reduce(values):
    """Returns the mean of each tensor over the replicas; with one replica, `values` itself."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    flat = tf.nest.flatten(values)
    return tf.nest.pack_sequence_as(values, context.all_reduce(tf.distribute.ReduceOp.MEAN, flat))


def train_loop(state, block, count, seed, *, loss_fn, optimizer, jit=False, metric_names=("accuracy",)):
    """Takes the first `count` steps of a block of batches, in one graph; stops before a step that is not finite.

    Args:
      block: a structure of arrays [k, batch_size, ...]; step i takes row i.
      count: int32 scalar, at most k.
      jit: as in `train_step`.
      metric_names: the scalars of `loss_fn` to sum up.
    Returns: {name: sum over the steps taken}, with "loss" and "gradient_norm". `state.step` says how many were taken.
    """
    names = ("loss", "gradient_norm", *metric_names)

    def unfinished(i, finite, _):
        return finite & (i < count)

    def step(i, _, totals):
        batch = tf.nest.map_structure(lambda rows: rows[i], block)
        metrics = train_step(state, batch, seed, loss_fn=loss_fn, optimizer=optimizer, jit=jit)
        finite = metrics["finite"]  # the metrics of a step that was not taken do not count
        return i + 1, finite, {name: totals[name] + tf.where(finite, metrics[name], 0.0) for name in names}

    return tf.while_loop(unfinished, step, [0, True, dict.fromkeys(names, 0.0)])[2]


def traced_once(fn, *, jit=False):
    """Returns `fn` as a `tf.function` that may be traced once; `jit` compiles it with XLA.

    Raises, when called with other shapes, dtypes or Python values than at first:
      ValueError: it names the argument.
    """
    first = {}

    @functools.wraps(fn)
    def traced(*args):
        now = {f"argument {i}{key}": value for i, arg in enumerate(args) for key, value in _signature(arg).items()}
        if first and now != first:
            changed = [f"{key} was {first.get(key)}, now {now.get(key)}" for key in {**first, **now}
                       if first.get(key) != now.get(key)]  # fmt: skip
            raise ValueError(f"{fn.__name__} would be traced again: {'; '.join(changed)}")
        first.update(now)
        return fn(*args)

    return tf.function(traced, jit_compile=jit or None, autograph=False)


def _signature(arg):
    """Returns {position inside the argument: shape and dtype, or the Python value}."""
    if isinstance(arg, dict):
        return {f"[{key!r}]{rest}": value for key, item in arg.items() for rest, value in _signature(item).items()}
    return {"": " ".join(tree.describe(arg)) if hasattr(arg, "shape") else repr(arg)}


def predict(forward, weights, stats, images, *, batch_size=500, preprocess=default_preprocess):
    """Returns the logits of all images, [N, C] float32 in NumPy.

    Args:
      forward: (weights, stats, x, *, training) -> logits, new_stats; a model's `forward` with its config bound.
        Wrap it in `tf.function` once to make it fast: all calls have the same shapes.
      images: [N, H, W, C] uint8 or floating, N at least 1.
    """
    logits = []
    for start in range(0, len(images), batch_size):
        part = np.asarray(images[start : start + batch_size])
        fill = min(batch_size, len(images)) - len(part)  # the ragged last batch is filled up, so that shapes stay
        padded = np.concatenate([part, np.repeat(part[:1], fill, axis=0)]) if fill else part
        y, _ = forward(weights, stats, preprocess(padded), training=False)
        logits.append(y.numpy()[: len(part)].astype(np.float32))
    return np.concatenate(logits)


def evaluate(
    forward,
    weights,
    stats,
    source,
    *,
    loss=None,
    batch_size=500,
    preprocess=default_preprocess,
):
    """Returns the exact mean loss and accuracy over the whole of a set, as Python floats.

    Args:
      forward, batch_size, preprocess: as in `predict`.
      source: (images, labels): [N, H, W, C] and [N].
      loss: (logits, labels) -> [N]; None takes the cross-entropy that fits the width of the logits.
    """
    images, labels = source
    logits = predict(forward, weights, stats, images, batch_size=batch_size, preprocess=preprocess)
    return summarize(logits, labels, loss=loss)


def summarize(logits, labels, *, loss=None):
    """Returns {"loss", "accuracy"} of logits [N, C] for labels [N]; `loss` as in `evaluate`."""
    if loss is None:
        loss = losses.sigmoid_cross_entropy if logits.shape[-1] == 1 else losses.softmax_cross_entropy
    return {
        "loss": float(np.mean(loss(logits, labels), dtype=np.float64)),
        "accuracy": float(np.mean(measures.predicted(logits).numpy() == np.ravel(labels), dtype=np.float64)),
    }
