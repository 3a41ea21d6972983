"""What every layer of a network gives, of a forward pass that was not written to tell it."""

from tfcore.quiet import tf


def activations(forward, weights, stats, images, *, preprocess=tf.identity):
    """Returns {layer: its output, [N, ...] float32 in NumPy}, in the order in which they are computed.

    A layer is an outermost name scope, such as "conv1" of the models here, or of any layer of tfcore.layers that is
    called with a name; its output is the last tensor with a row for each image that is made inside it. A forward pass
    that is a `tf.function` already shows no layers.

    Args:
      forward: (weights, stats, x, *, training) -> logits, new_stats; a model's `forward` with its config bound.
      images: [N, ...], N at least 1.
      preprocess: images -> x.
    """
    images = tf.convert_to_tensor(images)

    def layers(images):
        logits, _ = forward(weights, stats, preprocess(images), training=False)
        found = {}
        for op in logits.graph.get_operations():
            layer, _, inside = op.name.partition("/")
            for y in op.outputs if inside else ():
                if y.dtype.is_floating and y.shape.rank and y.shape[0] == images.shape[0]:
                    found.pop(layer, None)
                    found[layer] = tf.cast(y, tf.float32)
        return found

    found = tf.function(layers, autograph=False)(images)
    return {layer: y.numpy() for layer, y in found.items()}
