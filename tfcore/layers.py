"""The layers: pure functions over `tf.nn`. Weights first, then statistics, then data; options by keyword.

`x_init` draws the weights of layer `x` as a dictionary of variables. Layers take variables, tensors or arrays alike,
return new values and assign nothing. `name` is the name scope of the operations: a box in TensorBoard's graph, inside
the scopes around it, and the place that an error message begins with.
"""

from tfcore import replicas
from tfcore.init import as_seed, bias as init_bias, fold_in, weight as init_weight
from tfcore.quiet import tf
from tfcore.types import Array, Seed, Size, Tensor, Tree


def dense_init(seed: Seed, in_dim: int, out_dim: int, *, init: str = "he_normal") -> Tree:
    """Draws the weights of `dense`: {"w": [I, O], "b": [O]}, float32 variables; `init` is a name in tfcore.init."""
    return {
        "w": tf.Variable(init_weight(init, fold_in(seed, "w"), [in_dim, out_dim])),
        "b": tf.Variable(init_bias(init, fold_in(seed, "b"), out_dim)),
    }


def dense(weights: Tree, x: Array, *, name: str = "dense") -> Tensor:
    """x w + b.

    Args:
      weights: {"w": [I, O], "b": [O]}; without "b" nothing is added.
      x: [N, I], of the weights' dtype.
    Returns: [N, O].
    Raises:
      ValueError: `x` is not a matrix, or its width is not I, or it is of another dtype.
    """
    with tf.name_scope(name):
        x = tf.convert_to_tensor(x)
        w = weights["w"]
        _check(x.shape.rank == 2, f"x has shape {_shape(x)}, dense wants [N, {w.shape[0]}]: flatten it first")
        _check(_fits(x.shape[1], w.shape[0]), f"x has {x.shape[1]} columns, w {_shape(w)} wants {w.shape[0]}")
        _check_dtype(x, w)
        y = tf.matmul(x, w)
        return tf.nn.bias_add(y, weights["b"]) if "b" in weights else y


def conv2d_init(
    seed: Seed,
    kernel: Size,
    in_channels: int,
    out_channels: int,
    *,
    bias: bool = True,
    init: str = "he_normal",
) -> Tree:
    """Draws the weights of `conv2d`: {"w": [kh, kw, I, O], "b": [O]}, float32 variables.

    `kernel` is a size or a pair (kh, kw); without `bias` there is no "b".
    """
    kh, kw = _pair(kernel)
    weights = {"w": tf.Variable(init_weight(init, fold_in(seed, "w"), [kh, kw, in_channels, out_channels]))}
    if bias:
        weights["b"] = tf.Variable(init_bias(init, fold_in(seed, "b"), out_channels))
    return weights


def conv2d(weights: Tree, x: Array, *, stride: Size = 1, padding: str = "SAME", name: str = "conv2d") -> Tensor:
    """The cross-correlation of x with w, plus b: y[n, i, j, o] = sum over a, b, c of x[n, i+a, j+b, c] w[a, b, c, o].

    Args:
      weights: {"w": [kh, kw, I, O], "b": [O]}; without "b" nothing is added.
      x: [N, H, W, I], of the weights' dtype.
      stride: a size or a pair (height, width).
      padding: "SAME" (zeros, H' = ceil(H / stride)) or "VALID" (none, H' = ceil((H - kh + 1) / stride)).
    Returns: [N, H', W', O].
    Raises:
      ValueError: `x` is not a batch of images, has other channels than I, is smaller than a "VALID" kernel or of
        another dtype; or `padding` is another word.
    """
    with tf.name_scope(name):
        x = tf.convert_to_tensor(x)
        w = weights["w"]
        channels = w.shape[2]
        _check(x.shape.rank == 4, f"x has shape {_shape(x)}, conv2d wants [N, H, W, {channels}]")
        _check(_fits(x.shape[3], channels), f"x has {x.shape[3]} channels, w {_shape(w)} wants {channels}")
        _check_dtype(x, w)
        _check_window(x, w.shape[:2], padding)
        y = tf.nn.conv2d(x, w, _pair(stride), padding)
        return tf.nn.bias_add(y, weights["b"]) if "b" in weights else y


def max_pool(
    x: Array,
    *,
    size: Size = 2,
    stride: Size = 2,
    padding: str = "VALID",
    name: str = "max_pool",
) -> Tensor:
    """The largest value in each window. x: [N, H, W, C] -> [N, H', W', C]; `size` and `stride` as in `conv2d`."""
    return _pool(tf.nn.max_pool2d, x, size, stride, padding, name)


def avg_pool(
    x: Array,
    *,
    size: Size = 2,
    stride: Size = 2,
    padding: str = "VALID",
    name: str = "avg_pool",
) -> Tensor:
    """The mean of each window, padding not counted. x: [N, H, W, C] -> [N, H', W', C]."""
    return _pool(tf.nn.avg_pool2d, x, size, stride, padding, name)


def _pool(pool, x, size, stride, padding, name):
    with tf.name_scope(name):
        x = tf.convert_to_tensor(x)
        _check(x.shape.rank == 4, f"x has shape {_shape(x)}, a pool wants [N, H, W, C]")
        _check_window(x, _pair(size), padding)
        return pool(x, _pair(size), _pair(stride), padding)


def global_avg_pool(x: Array, *, name: str = "global_avg_pool") -> Tensor:
    """The mean over height and width. x: [N, H, W, C] -> [N, C]."""
    with tf.name_scope(name):
        x = tf.convert_to_tensor(x)
        _check(x.shape.rank == 4, f"x has shape {_shape(x)}, a pool wants [N, H, W, C]")
        _check_floating(x)  # a mean of integers would be an integer
        return tf.reduce_mean(x, [1, 2])


def flatten(x: Array) -> Tensor:
    """All axes after the first as one. x: [N, ...] -> [N, D]."""
    x = tf.convert_to_tensor(x)
    columns = x.shape[1:].num_elements()
    if columns is None:
        return tf.reshape(x, [tf.shape(x)[0], -1])
    return tf.reshape(x, [-1 if x.shape[0] is None else x.shape[0], columns])


def batch_norm_init(channels: int, *, scale: bool = True) -> tuple[Tree, Tree]:
    """Returns weights {"scale": [C], "offset": [C]} and stats {"mean": [C], "variance": [C]}, float32 variables."""
    weights = {"scale": tf.Variable(tf.ones([channels]))} if scale else {}
    weights["offset"] = tf.Variable(tf.zeros([channels]))
    stats = {
        "mean": tf.Variable(tf.zeros([channels]), trainable=False),
        "variance": tf.Variable(tf.ones([channels]), trainable=False),
    }
    return weights, stats


def batch_norm(
    weights: Tree,
    stats: Tree,
    x: Array,
    *,
    training: bool,
    decay: float = 0.99,
    epsilon: float = 1e-3,
    name: str = "batch_norm",
) -> tuple[Tensor, Tree]:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, per channel (Ioffe & Szegedy, arXiv:1502.03167).

    Args:
      weights: {"scale": [C], "offset": [C]}; without "scale" it is 1.
      stats: {"mean": [C], "variance": [C]}, the moving averages.
      x: [..., C], of the weights' dtype or a narrower one; of bfloat16 the moments are still taken in float32.
      training: True takes the batch's own mean and (biased) variance and moves the averages; False takes `stats`.
        Replicas that share a batch take the moments of the whole of it.
      decay: the fraction of the moving averages that is kept.
    Returns: y, shaped like x, and new_stats: the moved averages, or `stats` itself when not training.
    Raises:
      ValueError: `x` has other channels than the weights, or is not floating, or wider than they are.
    """
    with tf.name_scope(name):
        x = tf.convert_to_tensor(x)
        offset = weights["offset"]
        _check(
            x.shape.rank and _fits(x.shape[-1], offset.shape[0]),
            f"x has shape {_shape(x)}, offset {_shape(offset)} wants {offset.shape[0]} channels",
        )
        narrower = x.dtype.is_floating and x.dtype.size < tf.as_dtype(offset.dtype).size
        if not narrower:
            _check_dtype(x, offset, "offset")
        if training:
            y, mean, variance = _normalized(weights, x, epsilon)
            return y, {
                "mean": _moved(stats["mean"], mean, decay),
                "variance": _moved(stats["variance"], variance, decay),
            }
        mean, variance = stats["mean"], stats["variance"]
        gain, shift = _gain_and_shift(weights, mean, variance, epsilon)
        return tf.cast(tf.cast(x, gain.dtype) * gain + shift, x.dtype), stats


def _normalized(weights, x, epsilon):
    """Returns x normalized by its own moments, scaled and moved, and these moments, [C]; the variance is biased."""
    one_kernel = x.shape.rank == 4 and x.dtype in (tf.float32, tf.bfloat16)  # takes a third of the time
    if one_kernel and not replicas.several():
        offset = tf.cast(weights["offset"], tf.float32)
        scale = tf.cast(weights["scale"], tf.float32) if "scale" in weights else tf.ones_like(offset)
        empty = tf.zeros([0])
        y, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=empty, variance=empty, epsilon=epsilon, is_training=True
        )
        count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
        return y, mean, unbiased * ((count - 1) / count)
    wide = tf.cast(x, tf.float32) if x.dtype.size < 4 else x
    mean, variance = _moments(wide)
    gain, shift = _gain_and_shift(weights, mean, variance, epsilon)
    return tf.cast(wide * gain + shift, x.dtype), mean, variance


def _moments(x):
    """Returns mean and biased variance of each channel, [C]; over the whole batch where replicas share it."""
    axes = list(range(x.shape.rank - 1))
    if not replicas.several():
        return tuple(tf.nn.moments(x, axes))
    mean = replicas.mean(tf.reduce_mean(x, axes))
    return mean, replicas.mean(tf.reduce_mean(tf.math.squared_difference(x, mean), axes))


def _gain_and_shift(weights, mean, variance, epsilon):
    """Returns a, b of the normalization as x a + b, in the moments' dtype."""
    gain = tf.math.rsqrt(tf.cast(variance, mean.dtype) + epsilon)
    if "scale" in weights:
        gain = gain * tf.cast(weights["scale"], gain.dtype)
    return gain, tf.cast(weights["offset"], gain.dtype) - mean * gain


def _moved(average, value, decay):
    return average * decay + tf.cast(value, average.dtype) * (1 - decay)


def dropout(x: Array, *, rate: float, seed: Seed | None, name: str = "dropout") -> Tensor:
    """Zeroes a fraction `rate` of x and divides the rest by 1 - rate (Srivastava et al., JMLR 15, 2014).

    Args:
      x: any shape, floating.
      rate: the probability of a zero, in [0, 1).
      seed: the mask is a function of it and of x's shape; None returns x as it is. The first axis is the batch:
        replicas that share one take their rows of its mask.
    Raises:
      ValueError: `rate` is outside [0, 1), or `x` is not floating.
    """
    with tf.name_scope(name):
        x = tf.convert_to_tensor(x)
        _check(0 <= rate < 1, f"rate is {rate}, a drop probability is in [0, 1)")
        _check_floating(x)
        if seed is None or rate == 0:
            return x
        if not replicas.several():
            return tf.nn.experimental.stateless_dropout(x, rate, as_seed(seed))

        def uniform(shape, dtype):
            return replicas.drawn(lambda s: tf.random.stateless_uniform(s, as_seed(seed), dtype=dtype), shape)

        return tf.nn.experimental.general_dropout(x, rate, uniform)


def _pair(size):
    """Returns (height, width) of an integer or a pair."""
    return (size, size) if isinstance(size, int) else tuple(size)


def _shape(x):
    return list(x.shape)


def _fits(size, wanted):
    """True when the static sizes are equal or one of them is not known before the graph runs."""
    return size is None or wanted is None or size == wanted


def _check(condition, message):
    """Raises ValueError, which begins with the layer's name scope, unless the condition holds."""
    if not condition:
        raise ValueError(f"{tf.get_current_name_scope()}: {message}")


def _check_dtype(x, w, w_name="w"):
    """Raises ValueError when `x` is of another dtype than the weight."""
    wanted = tf.as_dtype(w.dtype)
    cure = "they must be alike" if x.dtype.is_floating else "preprocess(images) makes it floating"
    _check(x.dtype == wanted, f"x is {x.dtype.name}, {w_name} is {wanted.name}: {cure}")


def _check_floating(x):
    _check(x.dtype.is_floating, f"x is {x.dtype.name}: preprocess(images) makes it floating")


def _check_window(x, window, padding):
    """Raises ValueError when `padding` is another word, or a "VALID" window does not fit into the image."""
    _check(padding in ("SAME", "VALID"), f"padding={padding!r} is not one of SAME, VALID")
    small = [size is not None and size < side for size, side in zip(x.shape[1:3], window)]
    _check(
        padding != "VALID" or not any(small),
        f"x is {x.shape[1]}x{x.shape[2]}, smaller than the {window[0]}x{window[1]} window (padding VALID)",
    )
