"""Data: from files to uint8 arrays, and the order in which training reads them."""

from tfcore.data.datasets import Arrays, Splits, load
from tfcore.data.order import batch_indices, epoch_order, preprocess

__all__ = ["Arrays", "Splits", "batch_indices", "epoch_order", "load", "preprocess"]
