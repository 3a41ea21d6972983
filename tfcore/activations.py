"""What every layer of a network gives, of a forward pass that was not written to tell it."""

from collections.abc import Callable

import numpy as np

from tfcore.data.order import preprocess as default_preprocess
from tfcore.quiet import tf
from tfcore.types import Array, Inference, Tensor, Tree


def recorded(forward: Inference) -> Callable[..., tuple[dict[str, Tensor], Tree]]:
    """Returns layers(weights, stats, x, *, training) -> {layer: its output, [N, ...]}, new_stats; for a `tf.function`.

    A layer is an outermost name scope, such as "conv1" of the models here, or of any layer of tfcore.layers that is
    called with a name; its output is the last floating tensor with a row for each example that is made inside it.
    A forward pass that is a `tf.function` already shows no layers.

    forward: (weights, stats, x, *, training) -> logits, new_stats; a model's `forward` with its config bound.
    """

    def layers(weights, stats, x, *, training):
        x = tf.convert_to_tensor(x)
        logits, new_stats = forward(weights, stats, x, training=training)
        found = {}
        for op in logits.graph.get_operations():
            layer, _, inside = op.name.partition("/")
            for y in op.outputs if inside else ():
                if y.dtype.is_floating and y.shape.rank and y.shape[0] == x.shape[0]:
                    found.pop(layer, None)  # layers stand in the order in which they end
                    found[layer] = y
        return found, new_stats

    return layers


def activations(
    forward: Inference,
    weights: Tree,
    stats: Tree,
    images: Array,
    *,
    preprocess: Callable[[Array], Tensor] = default_preprocess,
) -> dict[str, np.ndarray]:
    """Returns {layer: its output, [N, ...] float32 in NumPy}, in the order in which they are computed.

    Args:
      forward: as in `recorded`.
      images: [N, H, W, C] uint8 or floating, N at least 1.
      preprocess: images -> x.
    """
    found, _ = tf.function(recorded(forward), autograph=False)(weights, stats, preprocess(images), training=False)
    return {layer: tf.cast(y, tf.float32).numpy() for layer, y in found.items()}
