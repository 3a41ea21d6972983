"""The limit of a training step: a loop of nothing but its products and convolutions, forward and backward."""

import functools

import numpy as np

from tfcore.quiet import tf


def epoch_of(job, shape):
    """Returns an epoch of the kernels of the job's network, as many steps in a call as the recipe takes.

    A perceptron's loop is compiled by XLA, as its run is. What a step gives is kept to the end of the loop, so that
    none is left out.

    Args:
      job: of a work that trains; its recipe says batch size, steps in a call, precision and compiler.
      shape: (H, W, C) of a picture.
    Returns: () -> {}, which takes job["steps"] steps.
    """
    recipe, steps = job["recipe"], job["steps"]
    k = min(recipe["steps_per_loop"], steps)
    layers = sizes(job["network"], (recipe["batch_size"], *shape))
    dtype = tf.as_dtype(recipe["precision"])
    weights = [tf.cast(tf.random.stateless_normal(w, [0, i]) / np.prod(w[:-1]) ** 0.5, dtype) for i, (_, w) in
               enumerate(layers)]  # fmt: skip
    inputs = [tf.cast(tf.random.stateless_normal(x, [1, i]), dtype) for i, (x, _) in enumerate(layers)]

    @functools.partial(tf.function, jit_compile=recipe["jit"], autograph=False)
    def loop(count, inputs, weights):
        def step(i, inputs, weights, *_):
            outputs, *gradients = one_step(inputs, weights)
            moved = [changed(*layer) for layer in zip(inputs, weights, outputs, gradients[0])]
            return i + 1, *map(list, zip(*moved)), outputs, *gradients

        kept = tf.nest.map_structure(lambda value: tf.zeros(value.shape, dtype), one_step(inputs, weights))
        return tf.while_loop(lambda i, *_: i < count, step, [0, list(inputs), list(weights), *kept])

    def epoch():
        for start in range(0, steps, k):
            *_, last = loop(tf.constant(min(k, steps - start)), inputs, weights)
        last[-1].numpy()  # waits for all of them
        return {}

    return epoch


def sizes(network, shape):
    """Returns (shape of the input, shape of the weights) of each convolution and dense layer.

    Args:
      network: layers as `ours.network` describes them; convolutions are 3 x 3, "VALID", pools 2 x 2.
      shape: (N, H, W, C) of a batch.
    """
    found, (n, height, width, channels) = [], shape
    for kind, *options in network:
        if kind == "conv":
            found.append(((n, height, width, channels), (3, 3, channels, options[0])))
            height, width, channels = height - 2, width - 2, options[0]
        elif kind == "pool":
            height, width = height // 2, width // 2
        elif kind == "flatten":
            channels *= height * width
        else:
            found.append(((n, channels), (channels, options[0])))
            channels = options[0]
    return found


def changed(x, w, y, dw):
    """Returns input and weights of the next step: one of them depends on this step, so that no step is left out.

    It is the smaller one, and its values stay as they are: a pass over memory that is not a kernel's.
    """
    small = tf.constant(1e-9, x.dtype)
    return (x, w + small * dw) if len(x.shape) == 4 else (x + small * tf.reduce_mean(y), w)


def one_step(inputs, weights):
    """Returns the outputs of the layers, the gradients of their weights, and of their inputs but the first.

    Each layer reads its own input, and takes its output for the gradient of it: the kernels' time is the same.
    """
    outputs = [tf.nn.conv2d(x, w, 1, "VALID") if len(x.shape) == 4 else x @ w for x, w in zip(inputs, weights)]
    by_weights, by_inputs = [], []
    for i, (x, w, dy) in enumerate(zip(inputs, weights, outputs)):
        if len(x.shape) == 4:
            by_weights.append(tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=w.shape, out_backprop=dy, strides=[1] * 4, padding="VALID"
            ))  # fmt: skip
            by_inputs += [tf.nn.conv2d_transpose(dy, w, x.shape, 1, "VALID")] if i else []
        else:
            by_weights.append(tf.matmul(x, dy, transpose_a=True))
            by_inputs += [tf.matmul(dy, w, transpose_b=True)] if i else []
    return outputs, by_weights, by_inputs
