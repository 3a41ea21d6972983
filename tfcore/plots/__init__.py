"""Drawings, with Matplotlib and without a window: functions of arrays that return figures. They know no run."""

from tfcore.plots.classes import confusion_matrix
from tfcore.plots.compared import compared
from tfcore.plots.curves import curves
from tfcore.plots.figures import figure, jpeg, png, save, titled
from tfcore.plots.networks import filters, layers
from tfcore.plots.pictures import gallery, predictions, survey
from tfcore.plots.two_classes import overview

__all__ = [
    "compared", "confusion_matrix", "curves", "figure", "filters", "gallery", "jpeg", "layers",
    "overview", "png", "predictions", "save", "survey", "titled",
]  # fmt: skip
