"""Seeds and initializers: every random number is a pure function of a seed.

A seed is a Python integer or two integers (an int32 or int64 tensor of shape [2]).
"""

import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from tfcore import settings
from tfcore.quiet import tf
from tfcore.types import Seed, Tensor


def as_seed(seed: Seed) -> Tensor:
    """Returns `seed` as two 32-bit integers, [2] int32: the form that TensorFlow's stateless ops take.

    Raises:
      ValueError: `seed` is neither an integer nor of shape [2].
    """
    if isinstance(seed, (int, np.integer)):
        words = np.array([(int(seed) >> 32) & 0xFFFFFFFF, int(seed) & 0xFFFFFFFF], np.uint32)
        return tf.constant(words.view(np.int32))
    seed = tf.convert_to_tensor(seed)
    if seed.shape == [] and seed.dtype.is_integer:
        return tf.bitcast(tf.cast(seed, tf.int64), tf.int32)[::-1]  # the high word first, as above
    if seed.shape != [2] or seed.dtype not in (tf.int32, tf.int64):
        raise ValueError(f"a seed is an integer or two integers, not {seed.dtype.name}{seed.shape.as_list()}")
    return seed


def fold_in(seed: Seed, data: str | int | Tensor) -> Tensor:
    """Returns a new seed that depends on `seed` and `data`, a string or an integer (a number or a tensor)."""
    if isinstance(data, str):
        data = zlib.crc32(data.encode()) & 0x7FFFFFFF
    return tf.random.experimental.stateless_fold_in(as_seed(seed), tf.cast(data, tf.int64))


def _normal(seed, shape, stddev):
    """Draws from a normal cut at two standard deviations, widened so that `stddev` is that of the result."""
    return tf.random.stateless_truncated_normal(shape, seed, stddev=stddev / 0.87962566103423978)


def _uniform(seed, shape, stddev):
    limit = stddev * math.sqrt(3)
    return tf.random.stateless_uniform(shape, seed, -limit, limit)


INITIALIZERS: dict[str, Callable[[Tensor, Sequence[int], int, int], Tensor]] = {
    "he_normal": lambda seed, shape, i, o: _normal(seed, shape, math.sqrt(2 / i)),  # arXiv:1502.01852
    "he_uniform": lambda seed, shape, i, o: _uniform(seed, shape, math.sqrt(2 / i)),
    "glorot_normal": lambda seed, shape, i, o: _normal(seed, shape, math.sqrt(2 / (i + o))),  # Glorot & Bengio 2010
    "glorot_uniform": lambda seed, shape, i, o: _uniform(seed, shape, math.sqrt(2 / (i + o))),
    "lecun_normal": lambda seed, shape, i, o: _normal(seed, shape, math.sqrt(1 / i)),  # LeCun et al. 1998
    "lecun_uniform": lambda seed, shape, i, o: _uniform(seed, shape, math.sqrt(1 / i)),
    "normal": lambda seed, shape, i, o: tf.random.stateless_normal(shape, seed),
    "zeros": lambda seed, shape, i, o: tf.zeros(shape),
}


def weight(init: str, seed: Seed, shape: Sequence[int]) -> Tensor:
    """Draws an initial weight of `shape` [..., I, O], float32; the leading axes are the receptive field of a kernel.

    Raises:
      ValueError: no initializer is called `init`.
    """
    settings.one_of("init", init, INITIALIZERS)
    field = math.prod(shape[:-2])
    return INITIALIZERS[init](as_seed(seed), shape, field * shape[-2], field * shape[-1])


def bias(init: str, seed: Seed, size: int) -> Tensor:
    """Returns zeros [size], float32; with `init` "normal" N(0, 1), as the MNIST post draws its biases."""
    return tf.random.stateless_normal([size], as_seed(seed)) if init == "normal" else tf.zeros([size])
