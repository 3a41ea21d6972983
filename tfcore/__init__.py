"""Image classification in plain TensorFlow: dictionaries of weights, pure functions, one visible training step."""

__version__ = "0.1.0"
