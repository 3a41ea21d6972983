"""Matplotlib's figures without a window: made, rendered, and written as PNG files."""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np

from tfcore.files import durable
from tfcore.showing import readable

LONGEST = 30  # letters of a class name


def figure(width, height, **options):
    """Returns a figure and its axes, without a window and without touching Matplotlib's global state."""
    with _any_backend():
        from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained", dpi=100)
    return drawing, drawing.subplots(**options)


def save(directory, drawings):
    """Writes each of {name: Matplotlib figure} as `directory`/name.png."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings.items():
        with durable(directory / f"{name}.png") as file, _as_written(drawing):
            drawing.savefig(file, format="png")


def to_pixels(drawing):
    """Renders a figure. -> [H, W, 3] uint8, of its size in inches times its dpi."""
    with _any_backend():
        from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(drawing)
    with _as_written(drawing):
        canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def drawable(class_names):
    """Returns names as they can be drawn, long ones cut."""
    names = [readable(name) for name in class_names]
    return [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in names]


@contextlib.contextmanager
def _any_backend():
    """Hides MPLBACKEND, which may name a backend that is not installed: no window is ever opened here."""
    named = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named


@contextlib.contextmanager
def _as_written(drawing):
    """Makes all texts of a figure what they say, not formulas; what the font lacks is a box, and no line on stderr."""
    from matplotlib.text import Text

    for text in drawing.findobj(Text):
        text.set_parse_math(False)
    # Not in catch_warnings, which is of the whole process: this runs beside the training.
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from", category=UserWarning)
    yield
