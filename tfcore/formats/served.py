"""What an export is made of, and what it computes: pictures in, probabilities out."""

from typing import Any, NamedTuple

from tfcore import metrics
from tfcore.quiet import tf
from tfcore.types import Array, Function, Inference, Tensor, Tree


class Served(NamedTuple):
    """A trained network and all that is needed to use it.

    forward: (weights, stats, images, *, training) -> logits, stats; images are uint8, [N, H, W, C].
    weights, stats: trees of arrays.
    image_shape: (H, W, C) of the pictures that `forward` takes.
    class_names: of the classes, as their numbers go.
    resize: how pictures of other proportions are fitted: "stretch", "crop" or "pad".
    facts: JSON values that an export keeps, so that a run can start from it.
    """

    forward: Inference
    weights: Tree
    stats: Tree
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    resize: str
    facts: dict[str, Any]


def probabilities(served: Served, images: Array) -> Tensor:
    """The probability of each class. images: [N, H, W, C] uint8, of `served.image_shape` -> [N, classes] float32."""
    logits, _ = served.forward(served.weights, served.stats, images, training=False)
    return metrics.probabilities(logits)


def concrete(served: Served, batch: int | None) -> Function:
    """Returns the traced function {"pictures": [batch, H, W, C] uint8} -> {"probabilities": [batch, classes]}.

    Weights are constants of its graph. batch: how many pictures, None for any number.
    """
    spec = tf.TensorSpec([batch, *served.image_shape], tf.uint8, name="pictures")
    function = tf.function(lambda pictures: {"probabilities": probabilities(served, pictures)}, autograph=False)
    return function.get_concrete_function(spec)
