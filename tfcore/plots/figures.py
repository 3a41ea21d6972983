"""Matplotlib's figures without a window: made, and written as files."""

import contextlib
import functools
import io
import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tfcore.files import durable
from tfcore.showing import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENLARGED = 1.25  # letters and lines, so that a picture can be read at half its size
SCRIPTS = ("Noto Sans", "IPA", "WenQuanYi", "Droid Sans Fallback", "Unifont", "Arial Unicode")  # names of fonts
LONGEST = 30  # letters of a class name


def figure(
    width: float,
    height: float,
    *,
    layout: Literal["constrained", "compressed", "tight"] | None = "constrained",
    **options: Any,
) -> tuple["Figure", Any]:
    """Returns a figure and its axes, without a window and without touching Matplotlib's global state.

    In Jupyter a figure shows itself.

    Args:
      width, height: in hundreds of pixels.
      layout: Matplotlib's; None is much quicker, for who places the axes.
      options: of `Figure.subplots`.
    """
    with _any_backend():
        from matplotlib.figure import Figure

    class Drawing(Figure):
        """A figure that Jupyter shows where a cell ends in it."""

        def _repr_png_(self):
            return png(self)

    drawing = Drawing(figsize=(width / ENLARGED, height / ENLARGED), layout=layout, dpi=100 * ENLARGED)
    return drawing, drawing.subplots(**options)


def titled(drawing: "Figure", title: str) -> "Figure":
    """Returns the figure with a title above all of it, such as which run, set and part it shows."""
    drawing.suptitle(readable(title), fontsize=9)
    return drawing


def png(drawing: "Figure") -> bytes:
    """Returns the bytes of a figure's PNG file."""
    file = io.BytesIO()
    with _as_written(drawing):
        drawing.savefig(file, format="png")
    return file.getvalue()


def jpeg(drawing: "Figure") -> bytes:
    """Returns the bytes of a figure's JPEG file, which is small where it has many photographs."""
    file = io.BytesIO()
    with _as_written(drawing):
        drawing.savefig(file, format="jpeg", pil_kwargs={"quality": 80})
    return file.getvalue()


def save(directory: str | Path, drawings: "Mapping[str, Figure | bytes]") -> None:
    """Writes each of {name: figure, or the bytes of its PNG file} as `directory`/name.png."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings.items():
        with durable(directory / f"{name}.png") as file:
            file.write(drawing if isinstance(drawing, bytes) else png(drawing))


def drawable(class_names: Iterable[str]) -> list[str]:
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


@functools.cache
def _families():
    """Returns Matplotlib's own font, and behind it those that this machine has for scripts which that one lacks."""
    from matplotlib.font_manager import fontManager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # of a font without bold letters it tells each
    return ["DejaVu Sans", *sorted({font.name for font in fontManager.ttflist if font.name.startswith(SCRIPTS)})]


@contextlib.contextmanager
def _as_written(drawing):
    """Makes all texts of a figure what they say, not formulas; what the font lacks is a box, and no line on stderr."""
    from matplotlib.text import Text

    for text in drawing.findobj(Text):
        text.set_parse_math(False)
        text.set_fontfamily(_families())
    # Not in catch_warnings, which is of the whole process: this runs beside the training.
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from", category=UserWarning)
    yield
