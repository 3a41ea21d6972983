"""The step, the loop around it, and the evaluation: the words that a run, or a program of yours, is made of."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfcore import losses, metrics as measures, replicas, tree
from tfcore.data.order import Rows, batch_indices, preprocess as default_preprocess
from tfcore.init import fold_in
from tfcore.optimizers import Optimizer
from tfcore.quiet import tf
from tfcore.types import Array, Forward, Function, Inference, Loss, LossFn, Seed, Structure, Tensor, Tree


class TrainState(NamedTuple):
    """All that a training step reads and changes: dictionaries of variables, and the step, a scalar int64 variable.

    `trainable` is the sub-dictionary of `weights` that learns; `slots` belong to the optimizer.
    """

    weights: Tree
    trainable: Tree
    stats: Tree
    slots: Tree
    step: tf.Variable

    def __repr__(self):
        parts = (f"{name}: {tree.summary(getattr(self, name))}" for name in self._fields[:4])
        return f"TrainState({', '.join(parts)}, step: {self.step.numpy() if tf.executing_eagerly() else '?'})"


def init_state(
    weights: Tree, stats: Tree, optimizer: Optimizer, *, learns: Callable[[str], bool] = lambda path: True
) -> TrainState:
    """Returns the state before the first step. learns(path) says which weights are trainable.

    Raises:
      ValueError: nothing learns.
    """
    trainable = tree.select(weights, learns)
    if not trainable:
        raise ValueError(f"learns: it is true for none of {', '.join(list(tree.flatten(weights))[:5])} …")
    return TrainState(weights, trainable, stats, optimizer.init(trainable), tf.Variable(0, dtype=tf.int64))


def train_step(
    state: TrainState, batch: Structure, seed: Seed, *, loss_fn: LossFn, optimizer: Optimizer
) -> dict[str, Tensor]:
    """Takes one step; runs eagerly, in a `tf.function`, under XLA and in `strategy.run`, with one meaning.

    Args:
      state: a TrainState, which it changes.
      batch: what `loss_fn` takes; with the built-in ones (images, labels).
      seed: of the run; the step is folded in.
      loss_fn: (weights, stats, batch, seed) -> loss, (metrics, new_stats): a scalar to minimize, scalars to report,
        and stats like `state.stats`. A metric "loss" is reported in place of what is minimized.
      optimizer: an Optimizer.
    Returns: the metrics, with "loss" and "gradient_norm", scalar tensors.
    Raises:
      ValueError: `loss_fn` returns something else, or a weight of `trainable` does not influence the loss.
    """
    seed = fold_in(seed, state.step)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tree.leaves(state.trainable))
        loss, (metrics, new_stats) = checked(loss_fn(state.weights, state.stats, batch, seed), state.stats)
    grads = connected(tape.gradient(loss, state.trainable))
    grads, new_stats, metrics = all_reduce((grads, new_stats, {"loss": loss, **metrics}))
    optimizer.update(state.trainable, grads, state.slots, state.step)
    tree.assign(state.stats, new_stats)
    state.step.assign_add(1)
    return {**metrics, "gradient_norm": tf.linalg.global_norm(tree.leaves(grads))}


def mean_loss(forward: Forward, loss: Loss) -> LossFn:
    """Returns the loss_fn(weights, stats, (images, labels), seed) -> mean of the losses, ({"accuracy"}, new_stats).

    Args:
      forward: (weights, stats, images, *, training, seed=None) -> logits, new_stats.
      loss: (logits, labels) -> [N].
    """

    def loss_fn(weights, stats, batch, seed):
        images, labels = batch
        logits, new_stats = forward(weights, stats, images, training=True, seed=seed)
        values = tf.convert_to_tensor(loss(logits, labels))
        if values.shape.rank != 1 or values.shape[0] not in (None, labels.shape[0]):
            raise ValueError(f"loss: it returned {values.shape.as_list()} for labels {labels.shape.as_list()}: "
                             "one value per example, please; the step takes the mean")  # fmt: skip
        return tf.reduce_mean(values), ({"accuracy": measures.accuracy(logits, labels)}, new_stats)

    return loss_fn


def checked(result: Any, stats: Tree) -> tuple[Tensor, tuple[dict[str, Tensor], Tree]]:
    """Returns what a `loss_fn` returned, loss and metrics as tensors.

    Raises:
      ValueError: it is not loss, (metrics, new_stats); the sentence says what is wrong.
    """
    try:
        loss, (metrics, new_stats) = result
        loss, metrics = tf.convert_to_tensor(loss), tree.map(tf.convert_to_tensor, metrics)
    except (TypeError, ValueError, AttributeError):
        raise ValueError("loss_fn: it must return loss, (metrics, new_stats): a scalar, and two dictionaries") from None
    for name, value in [("loss", loss), *metrics.items()]:
        if value.shape.rank != 0 or not value.dtype.is_floating:
            raise ValueError(
                f"loss_fn: {name} is {value.dtype.name}{value.shape.as_list()}, a step wants one floating number: "
                "take the mean over the examples"
            )
    problems = tree.mismatches(new_stats, stats, found_name="new_stats", wanted_name="state")
    if problems:
        raise ValueError(f"loss_fn: new_stats do not fit the stats: {'; '.join(problems)}")
    return loss, (metrics, new_stats)


def connected(grads: Tree) -> Tree:
    """Returns `grads`. Raises ValueError with the paths at which there is no gradient."""
    missing = [path for path, g in tree.flatten(grads).items() if g is None]
    if missing:
        raise ValueError(f"no gradient reaches {', '.join(missing)}: the loss does not depend on it; freeze or use it")
    return grads


def all_reduce(values: Structure) -> Structure:
    """Returns the mean of each tensor over the replicas; with one replica, `values` itself."""
    return replicas.mean(values)


def _here(fn, *args):
    return fn(*args)


def train_loop(
    state: TrainState,
    block: Structure,
    count: Tensor,
    seed: Seed,
    *,
    loss_fn: LossFn,
    optimizer: Optimizer,
    metric_names: Sequence[str] = ("accuracy",),
    run: Callable[..., Any] = _here,
) -> dict[str, Tensor]:
    """Takes the first `count` steps of a block of batches, in one graph.

    Args:
      block: a structure of arrays [k, batch_size, ...]; step i takes row i.
      count: int32 scalar, at most k.
      metric_names: the scalars of `loss_fn` to sum up, beside "loss".
      run: (fn, *args) -> fn(*args), which may run it on several replicas: `distribution.Team.run`. Each takes its
        share of the rows of a batch.
    Returns: {name: sum over the steps}, float32; "gradient_norm" is that of the last step alone.
    """
    names = ("loss", *metric_names)

    def step(i, norm, batch):
        seen = []

        def update(weights, grads, slots, number):  # only the last step pays for the norm of its gradients
            last = functools.partial(tf.linalg.global_norm, tree.leaves(grads))
            seen.append(tf.cond(i + 1 < count, lambda: norm, lambda: tf.cast(last(), tf.float32)))
            optimizer.update(weights, grads, slots, number)

        batch = tf.nest.map_structure(replicas.own, batch)
        metrics = train_step(state, batch, seed, loss_fn=loss_fn, optimizer=Optimizer(optimizer.init, update))
        return metrics, seen[0]

    def steps(i, sums, norm):
        batch = tf.nest.map_structure(lambda rows: rows[i], block)
        metrics, norm = run(step, i, norm, batch)
        return i + 1, {name: sums[name] + tf.cast(metrics[name], tf.float32) for name in names}, norm

    start = 0, dict.fromkeys(names, 0.0), 0.0
    _, sums, norm = tf.while_loop(lambda i, *_: i < count, steps, start)
    return {**sums, "gradient_norm": norm}


def train_epochs(
    state: TrainState,
    source: Structure,
    epochs: Iterable[int],
    *,
    batch_size: int,
    loss_fn: LossFn,
    optimizer: Optimizer,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Trains on arrays in memory, each epoch in one call of a graph. Nothing is saved, shown or looked at: a run does.

    Args:
      source: (images, labels), or another structure of arrays [N, ...] as `loss_fn` takes batches of it.
      epochs: their numbers, such as range(10); the order of the examples is that of `batch_indices`.
    Returns: [{"loss" and the metrics of `loss_fn`: mean over the epoch's steps}], Python floats, one for each epoch.
    """
    source = tf.nest.map_structure(np.asarray, source)
    names = metric_names(loss_fn, state, tf.nest.map_structure(lambda a: a[:batch_size], source), seed)
    options: dict[str, Any] = {"loss_fn": loss_fn, "optimizer": optimizer, "metric_names": names}
    loop = tf.function(lambda block, count: train_loop(state, block, count, seed, **options), autograph=False)
    history = []
    for epoch in epochs:
        rows = batch_indices(seed, epoch, len(tf.nest.flatten(source)[0]), batch_size)
        block = tf.nest.map_structure(lambda a: tf.constant(a[rows]), source)  # noqa: B023
        sums = loop(block, tf.constant(len(rows)))
        history.append({name: float(sums[name]) / len(rows) for name in ("loss", *names)})
    return history


def metric_names(loss_fn: LossFn, state: TrainState, batch: Structure, seed: Seed) -> tuple[str, ...]:
    """Returns the names of the metrics of a `loss_fn`, without computing anything. batch: tf.TensorSpecs or arrays."""
    found = []

    def names(batch):
        found.extend(checked(loss_fn(state.weights, state.stats, batch, fold_in(seed, 0)), state.stats)[1][0])

    tf.function(names, autograph=False).get_concrete_function(batch)
    return tuple(name for name in found if name != "loss")


def all_finite(state: TrainState) -> Tensor:
    """True when all that a step changes is finite: trainable weights, slots and stats. A scalar bool tensor."""
    parts = {"weights": state.trainable, "slots": state.slots, "stats": state.stats}
    return tf.reduce_all([_finite(leaf) for leaf in tree.leaves(parts)])


def not_finite(state: TrainState) -> list[str]:
    """Returns the paths of what is not finite: ["weights/conv1/w", "slots/m/conv1/w", "stats/conv1/mean", ...]."""
    parts = {"weights": state.trainable, "slots": state.slots, "stats": state.stats}
    return [path for path, leaf in tree.flatten(parts).items() if not _finite(leaf)]


def averages(weights: Tree, slots: Tree) -> Tree:
    """Returns `weights`, with their averages in place of those that an optimizer keeps some of, in slots["average"]."""
    return tree.merge(weights, slots["average"]) if "average" in slots else weights


def _finite(leaf):
    return tf.reduce_all(tf.math.is_finite(leaf)) if leaf.dtype.is_floating else tf.constant(True)


def traced_once(fn: Callable[..., Any], *, jit: bool = False) -> Function:
    """Returns `fn` as a `tf.function` that may be traced once; `jit` compiles it with XLA.

    Raises, when called with other shapes, dtypes or Python values than at first:
      ValueError: it names the argument.
    """
    first: dict[str, str] = {}

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
    is_array = tf.is_tensor(arg) or isinstance(arg, np.ndarray | np.generic)
    return {"": " ".join(tree.describe(arg)) if is_array else repr(arg)}


def predict(
    forward: Inference,
    weights: Tree,
    stats: Tree,
    images: Array | Rows,
    *,
    batch_size: int = 500,
    preprocess: Callable[[Array], Tensor] = default_preprocess,
) -> np.ndarray:
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
    forward: Inference,
    weights: Tree,
    stats: Tree,
    source: tuple[Array | Rows, Array],
    *,
    loss: Loss | None = None,
    batch_size: int = 500,
    preprocess: Callable[[Array], Tensor] = default_preprocess,
) -> dict[str, float]:
    """Returns the exact mean loss and accuracy over the whole of a set, as Python floats.

    Args:
      forward, batch_size, preprocess: as in `predict`.
      source: (images, labels): [N, H, W, C] and [N].
      loss: (logits, labels) -> [N]; None takes the cross-entropy that fits the width of the logits.
    """
    images, labels = source
    logits = predict(forward, weights, stats, images, batch_size=batch_size, preprocess=preprocess)
    return summarize(logits, labels, loss=loss)


def summarize(logits: Array, labels: Array, *, loss: Loss | None = None) -> dict[str, float]:
    """Returns {"loss", "accuracy"} of logits [N, C] for labels [N]; `loss` as in `evaluate`."""
    if loss is None:
        loss = losses.sigmoid_cross_entropy if logits.shape[-1] == 1 else losses.softmax_cross_entropy
    return {
        "loss": float(np.mean(loss(logits, labels), dtype=np.float64)),
        "accuracy": float(np.mean(measures.predicted(logits).numpy() == np.ravel(labels), dtype=np.float64)),
    }
