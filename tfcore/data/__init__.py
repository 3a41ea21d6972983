"""Data: from files to uint8 arrays, and the order in which training reads them."""

from tfcore.data.datasets import load
from tfcore.data.order import batch_indices, epoch_order, preprocess
from tfcore.data.sources import first_at_hand
from tfcore.data.splits import Arrays, Splits, check_splits, content

__all__ = [
    "Arrays",
    "Splits",
    "batch_indices",
    "check_splits",
    "content",
    "epoch_order",
    "first_at_hand",
    "load",
    "preprocess",
]
