"""ONNX: a network as one file for onnxruntime and what else reads it. Converted by tf2onnx."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfcore import files
from tfcore.formats.served import Served, probabilities
from tfcore.quiet import tf

OPSET = 18


def write(path: str | Path, served: Served) -> None:
    """Writes a `served.Served` to an .onnx file, durably: pictures [N, H, W, C] uint8 to probabilities [N, classes].

    Args:
      served: its forward computes in float32.
    """
    import tf2onnx

    spec = tf.TensorSpec([None, *served.image_shape], tf.uint8, name="pictures")
    function = tf.function(lambda pictures: {"probabilities": probabilities(served, pictures)}, autograph=False,
                           input_signature=[spec])  # fmt: skip
    model, _ = tf2onnx.convert.from_function(function, input_signature=[spec], opset=OPSET)
    with files.durable(path) as file:
        file.write(model.SerializeToString())


def predictor(path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns predict(images [N, H, W, C] uint8) -> probabilities [N, classes] of an .onnx file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"pictures": images})[0]
