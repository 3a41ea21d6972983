"""Is it right? What can be asked of a layer, a loss, a network or a set before any time is spent on training.

Each check returns a `Finding`, or a list of them: whether it is good, and a sentence. What is found is not raised.
"""

from tfcore.check.finding import Finding
from tfcore.check.functions import forward, gradient
from tfcore.check.learning import first_loss, overfits
from tfcore.check.pictures import data

__all__ = ["Finding", "data", "first_loss", "forward", "gradient", "overfits"]
