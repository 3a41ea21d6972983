"""The order of the examples, and the one way from stored pixels to network input."""

import numpy as np

from tfcore.quiet import tf
from tfcore.types import Array, Tensor


class Rows:
    """Chosen rows of an array, read when they are asked for: Rows(array, rows)[i] is array[rows[i]].

    What makes a part of a memory-mapped array a part that is still on disk. A slice or an array of indices gives an
    array; so does `np.asarray`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    ndim: int

    def __init__(self, array: "np.ndarray | Rows", rows: np.ndarray) -> None:
        self._array, self._rows = array, np.asarray(rows)
        self.shape, self.dtype, self.ndim = (len(self._rows), *array.shape[1:]), array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        return np.asarray(self._array[self._rows[index]])

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)


def take(array: np.ndarray | Rows, rows: np.ndarray) -> np.ndarray | Rows:
    """Returns `array[rows]`; of what is on disk, and of `Rows`, without reading it."""
    return Rows(array, rows) if isinstance(array, np.memmap | Rows) else array[rows]


def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Returns a permutation of 0 .. n - 1, [n] int32: a pure function of (seed, epoch, n).

    It sorts n random 64-bit words of the Philox generator, whose stream is fixed by its paper (Salmon et al. 2011),
    so that the order is the same with every version of NumPy.
    """
    key = np.array([int(seed) & 0xFFFFFFFFFFFFFFFF, int(epoch)], np.uint64)
    words = np.random.Philox(key=key).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int32)


def batch_indices(seed: int, epoch: int, n: int, batch_size: int) -> np.ndarray:
    """Returns the batches of an epoch, [n // batch_size, batch_size] int32.

    What does not fill a batch is left out, other examples in each epoch.

    Raises:
      ValueError: n examples do not fill one batch.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size={batch_size} must be between 1 and the {n} training examples")
    steps = n // batch_size
    return epoch_order(seed, epoch, n)[: steps * batch_size].reshape(steps, batch_size)


def passes(epoch: int, n: int, batch_size: int, steps: int) -> range:
    """Returns the numbers of the passes over n examples that an epoch of so many steps takes; the last may be cut."""
    count = -(-steps // max(n // batch_size, 1))
    return range(epoch * count, (epoch + 1) * count)


def preprocess(images: Array, *, scale: float = 1 / 255, offset: float = 0.0, dtype: tf.DType = tf.float32) -> Tensor:
    """Stored pixels to network input: integers become x scale + offset; floating images are only cast.

    images: [N, H, W, C] uint8 in 0 .. 255, or floating. Returns the same shape in `dtype`.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype.is_floating:
        return tf.cast(images, dtype)
    x = tf.cast(images, tf.float32) * scale
    return tf.cast(x + offset if offset else x, dtype)
