"""Drawings, with Matplotlib and without a window: functions of arrays that return figures. They know no run."""

from tfcore.plots.classes import confusion_matrix
from tfcore.plots.compared import compared
from tfcore.plots.curves import curves
from tfcore.plots.figures import figure, save, to_pixels
from tfcore.plots.pictures import contact_sheet, most_wrong, survey
from tfcore.plots.two_classes import overview

__all__ = [
    "compared", "confusion_matrix", "contact_sheet", "curves", "figure", "most_wrong", "overview", "save", "survey",
    "to_pixels",
]  # fmt: skip
