"""LiteRT, once TensorFlow Lite: a network as one file for small machines, in float32 or in 8-bit integers."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfcore import files
from tfcore.formats.served import Served, concrete
from tfcore.quiet import tf, without_chatter


def write(path: str | Path, served: Served, *, calibration: np.ndarray | None = None) -> None:
    """Writes a `served.Served` to a .tflite file, durably: one picture of `image_shape`, uint8, to its probabilities.

    Args:
      served: its forward computes in float32.
      calibration: [N, H, W, C] uint8, training pictures: weights and activations become 8-bit integers, whose ranges
        are those that these pictures need. None keeps float32.
    Raises:
      ValueError: the converter does not take the network.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete(served, 1)], tf.Module())
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture[np.newaxis]] for picture in calibration)
    with warnings.catch_warnings(), without_chatter():
        warnings.simplefilter("ignore")  # that the statistics of whole numbers are not given
        try:
            model = converter.convert()
        except (RuntimeError, TypeError) as error:  # ConverterError is an Exception with a page of text
            raise ValueError(f"{path}: LiteRT does not take this network ({str(error).splitlines()[0]})") from None
    with files.durable(path) as file:
        file.write(model)


def predictor(path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns predict(images [N, H, W, C] uint8) -> probabilities [N, classes] of a .tflite file.

    Raises:
      ModuleNotFoundError: the interpreter is not installed.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def one(image):
        interpreter.set_tensor(taken["index"], image[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])[0]

    return lambda images: np.stack([one(image) for image in images])
