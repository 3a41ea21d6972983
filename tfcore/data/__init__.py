"""Data: from files to uint8 arrays, and the order in which training reads them."""

from tfcore.data.batching import batch_indices, epoch_order, preprocess
from tfcore.data.datasets import Arrays, Splits, load

__all__ = ["Arrays", "Splits", "batch_indices", "epoch_order", "load", "preprocess"]
