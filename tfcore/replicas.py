"""Replicas: what a step asks of the other devices that take it at the same time. One replica pays nothing for it.

Replicas take equal shares of the rows of a batch, in the order of their numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tfcore.quiet import tf
from tfcore.types import Structure, Tensor


def _context():
    """Returns the context of a function that several replicas run, None where there is one replica."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def mean(values: Structure) -> Structure:
    """Returns the mean of each tensor over the replicas; with one replica, `values` itself.

    Tensors of one dtype travel as one flat tensor: a reduction costs its time even where it is small.
    """
    context = _context()
    if context is None:
        return values
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(values)]
    reduced: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):
        alike = [i for i, leaf in enumerate(leaves) if leaf.dtype == dtype]
        flat = tf.concat([tf.reshape(leaves[i], [-1]) for i in alike], axis=0)
        flat = context.all_reduce(tf.distribute.ReduceOp.MEAN, flat)
        parts = tf.split(flat, [leaves[i].shape.num_elements() for i in alike])
        reduced |= {i: tf.reshape(part, leaves[i].shape) for i, part in zip(alike, parts)}
    return tf.nest.pack_sequence_as(values, [reduced[i] for i in range(len(leaves))])


def own(rows: Tensor) -> Tensor:
    """Returns this replica's share of the rows that the replicas of this process have. [B, ...] -> [B / n, ...]."""
    context = _context()
    here = len(context.strategy.extended.worker_devices) if context else 1
    if here == 1:
        return rows
    size = rows.shape[0] // here
    return tf.slice(rows, *_share(rows.shape, size, context.replica_id_in_sync_group % here))


def drawn(draw: Callable[[Any], Tensor], shape: Sequence[int] | Tensor) -> Tensor:
    """Returns draw(shape), [N, ...]; with several replicas this one's rows of the whole batch's.

    So what is random belongs to an example's place in the batch, however many replicas share that.
    """
    context = _context()
    if context is None:
        return draw(shape)
    shape = tf.convert_to_tensor(shape)
    whole = tf.concat([shape[:1] * context.num_replicas_in_sync, shape[1:]], axis=0)
    return tf.slice(draw(whole), *_share(shape, shape[0], context.replica_id_in_sync_group))


def several() -> bool:
    """True inside of a function that several replicas run."""
    return _context() is not None


def _share(shape, size, index):
    """Returns begin and size of rows index * size to (index + 1) * size, for tf.slice."""
    rest = tf.convert_to_tensor(shape, tf.int32)[1:]
    begin = tf.concat([[tf.cast(index, tf.int32) * size], tf.zeros_like(rest)], axis=0)
    return begin, tf.concat([[size], rest], axis=0)
