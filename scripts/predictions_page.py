"""The page that predict.py writes with --report: each picture, what the run says of it, and what is least certain."""

import contextlib
import io
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfcore import files
from tfcore.data import pictures
from tfcore.plots import page

SIDE = 200  # pixels of a thumbnail's longer side, at most
LARGE = 10_000  # bytes: a thumbnail above it becomes a JPEG
FEW = 12  # pictures that can be looked through; of more the least certain so many come first


class Predicted(NamedTuple):
    """name: as it is shown; thumbnail: bytes of a PNG or JPEG file; top: (class, probability), the likeliest first."""

    name: str
    thumbnail: bytes
    top: list[tuple[str, float]]


@contextlib.contextmanager
def opened(path):
    """Opens the page for writing bytes before anything is predicted; without a path it is None. It appears at the end.

    Raises:
      ValueError: it cannot be written there.
    """
    if not path:
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            if Path(path).is_dir():
                raise IsADirectoryError(0, "it is a folder")
            file = stack.enter_context(files.durable(path))
        except OSError as error:
            raise ValueError(f"report={path} cannot be written ({error.strerror}): name another file") from None
        yield file


def shown_name(path, named):
    """Returns how the page calls a picture: as it was typed, or from a folder on that was typed as a whole path.

    path: the picture; named: the argument of the command line that it is, or that it is in.
    """
    path, named = Path(path), Path(named)
    if not named.is_absolute() and ".." not in named.parts:
        return str(path)
    return path.name if path == named else str(path.relative_to(named))


def thumbnail(data):
    """Returns a picture at its own proportions, upright, as the bytes of a PNG or JPEG file.

    data: of a picture file.
    Raises:
      ValueError: as `pictures.decode`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as `decode` does
        size, image = pictures.examine(data, (SIDE, SIDE), "pad", 3)
    if isinstance(image, str):
        raise ValueError(image)
    width, height = size
    side = min(SIDE, max(width, height))
    if side < SIDE:  # nothing is enlarged
        image = pictures.decode(data, (side, side), resize="pad")
    kept = Image.fromarray(_without_bars(image, width, height))
    png, jpeg = io.BytesIO(), io.BytesIO()
    kept.save(png, "png")
    if png.tell() <= LARGE:
        return png.getvalue()
    kept.save(jpeg, "jpeg", quality=85)
    return jpeg.getvalue()


def _without_bars(image, width, height):
    """Cuts off what "pad" added. image: [S, S, 3]; width, height: as stored, which a rotation exchanges."""
    side = len(image)
    short = max(round(min(width, height) * side / max(width, height)), 1)
    start = (side - short) // 2
    inside = slice(start, start + short)
    outside = np.delete(image, np.r_[inside], axis=0)
    return image[:, inside] if outside.any() else image[inside]


def html(title, predicted, unusable):
    """Returns the page.

    Args:
      title: of what run the predictions are.
      predicted: a list of `Predicted`, in the order in which they are to be shown.
      unusable: (name, reason) of each picture that could not be read.
    """
    tiles = [page.picture(one.thumbnail, one.name, page.bars(one.top)) for one in predicted]
    counts = Counter(one.top[0][0] for one in predicted)
    summary = [page.paragraph(f"Pictures classified: {len(predicted):,}; not usable: {len(unusable):,}.")]
    if predicted:
        summary.append(page.table(counts.most_common(), head=("class", "pictures")))
    least = np.argsort([one.top[0][1] for one in predicted], kind="stable")[:FEW]
    sections = [
        ("Summary", summary),
        ("The least certain", [page.tiles([tiles[i] for i in least])] if len(predicted) > FEW else []),
        ("All pictures", [page.tiles(tiles)] if predicted else []),
        ("Not usable", [page.table(unusable, head=("picture", "reason"))] if unusable else []),
    ]
    return page.page(title, sections)
