"""One picture: from the bytes of a JPEG, PNG, GIF or BMP file to an array. Training and prediction both read here.

No picture takes more than 10 s or 512 MB: what would is refused by its header and by counting, before it is decoded.
"""

import contextlib
import io
import re
import threading
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
FORMATS = ("JPEG", "PNG", "GIF", "BMP")
RESIZES = ("stretch", "crop", "pad")
MAX_PIXELS = 1 << 26
MAX_SIDE = 65_535  # each line costs memory, however short
MAX_MEMORY = 440 << 20  # bytes of one picture; with what Python holds besides, 512 MB
MAX_PIECES = 1 << 20  # of a file: each is a step of Python code in Pillow, a microsecond or more
MAX_SCANS = 200  # of a JPEG; photographs have 1 to 20
MAX_SCANNED = 1 << 31  # pixels of all scans of a JPEG together; the slowest ones take 1.2 s for 2^30
MAX_METADATA = 1 << 24  # bytes of a JPEG before its first scan
MAX_SEGMENTS = 1000  # there
MAX_RUN_LENGTH = 1 << 22  # pixels of a BMP packed by run length, which Pillow unpacks one by one
LARGE_PIXELS = 1 << 23

_ONE_LARGE = threading.Lock()  # large pictures take turns, so that memory does not grow with the number of threads
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
_METADATA = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
_MODES = {1: "L", 3: "RGB"}
_JPEGS = ("JPEG", "MPO")  # MPO is a JPEG with further pictures behind it
_SCAN = b"\xff\xda"
_JPEG_MARKER = re.compile(rb"\xff[^\0\x01\xd0-\xd7\xff]")  # those that end entropy-coded data
_PIXEL_BYTES = {"1": 5, "L": 5, "P": 5, "RGB": 5}  # by mode, decoded and brought to ours
_MOST_BYTES = 12  # for any other mode, and where something is transparent
_UPRIGHT = {  # by EXIF orientation: what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, image_size: tuple[int, int], *, resize: str = "stretch", channels: int = 3) -> np.ndarray:
    """Decodes one picture and brings it to one size.

    A JPEG is scaled by 1/2, 1/4 or 1/8 while it is decoded, to no less than the wanted size; what remains is a box
    filter by whole numbers, then a triangle filter. EXIF rotation is applied. What is transparent shows white. Of an
    animation the first frame counts. 16-bit samples keep their upper 8 bits. Colour profiles are ignored.

    Args:
      data: the file's bytes.
      image_size: (height, width) of the result.
      resize: "stretch" changes the proportions, "crop" cuts off both ends of the longer side,
        "pad" adds black to both ends of the shorter one.
      channels: 3 (RGB) or 1 (gray, luma of ITU-R 601).
    Returns: [height, width, channels] uint8.
    Raises:
      ValueError: with a short reason: empty, not a picture, cut, damaged, more than MAX_PIXELS by its header, or one
        that would take more than 10 s or 512 MB.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what it makes do with
        _, image = examine(data, image_size, resize, channels)
    if isinstance(image, str):
        raise ValueError(image)
    return image


def examine(
    data: bytes, image_size: tuple[int, int], resize: str, channels: int
) -> tuple[tuple[int, int] | None, np.ndarray | str]:
    """Returns the size as stored, (width, height), and what `decode` returns, or as a text why there is no picture.

    The size is before any EXIF rotation; it is None where no header tells it.
    """
    check_options(image_size, resize, channels)
    size = None
    try:
        with _reasons(data):
            image = _open(data)
            size = image.size
            with _ONE_LARGE if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
                return size, _decode(image, data, image_size, resize, channels)
    except ValueError as error:
        return size, str(error)


def check_options(image_size: tuple[int, int], resize: str, channels: int = 3) -> None:
    """Raises ValueError when these are no options of `decode`."""
    height, width = image_size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"image_size={height}x{width} must be at least 1x1 and at most {MAX_PIXELS} pixels")
    if resize not in RESIZES:
        raise ValueError(f"resize={resize} is not one of {', '.join(RESIZES)}")
    if channels not in _MODES:
        raise ValueError(f"channels={channels} must be 1 or 3")


@contextlib.contextmanager
def _reasons(data):
    """Turns whatever a damaged file makes Pillow raise into a ValueError with a short reason."""
    try:
        yield
    except (MemoryError, _Refused):
        raise
    except UnidentifiedImageError:
        if not data:
            reason = "0 bytes"
        elif data.startswith(_SIGNATURES):
            reason = "the header is cut or damaged"
        else:
            reason = f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture"
        raise ValueError(reason) from None
    except Image.DecompressionBombError:
        raise ValueError(f"more than the {MAX_PIXELS} pixels allowed") from None
    except Exception as error:  # OSError, SyntaxError, struct.error, EOFError, IndexError, ...
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"cut or damaged ({first_line})") from None


class _Refused(ValueError):
    """A reason of ours, which needs no rewording."""


def _open(data):
    """Reads the header only; refuses by its size before a pixel is decoded.

    The size counts even where a JPEG would be decoded at 1/8: a progressive one is held whole, as coefficients.
    """
    if data.startswith(b"\xff\xd8"):
        _check_metadata(data)
    image = Image.open(_Pieces(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise _Refused(f"{image.width} x {image.height} are more than the {MAX_PIXELS} pixels allowed")
    if max(image.size) > MAX_SIDE:
        raise _Refused(f"{image.width} x {image.height}: a side is more than the {MAX_SIDE} pixels allowed")
    return image


class _Pieces(io.BytesIO):
    """A file in memory that is read in at most MAX_PIECES pieces."""

    pieces = 0

    def read(self, size=-1, /):
        self.pieces += 1
        if self.pieces > MAX_PIECES:
            raise _Refused(f"made of more than the {MAX_PIECES} pieces allowed")
        return super().read(size)


def _check_metadata(data):
    """Raises _Refused when a JPEG has more before its pixels than photographs have: Pillow would parse all of it."""
    position, segments = 2, 0
    while (marker := _JPEG_MARKER.search(data, position, MAX_METADATA)) and marker[0] != _SCAN:
        position, segments = marker.end() + _length(data, marker), segments + 1
        if segments > MAX_SEGMENTS:
            raise _Refused(f"more than the {MAX_SEGMENTS} segments of metadata allowed")
    if not marker and len(data) > MAX_METADATA:
        raise _Refused(f"more than the {MAX_METADATA} bytes of metadata allowed")


def _length(data, marker):
    return int.from_bytes(data[marker.end() : marker.end() + 2])


def _pixel_bytes(image):
    return _MOST_BYTES if image.has_transparency_data else _PIXEL_BYTES.get(image.mode, _MOST_BYTES)


def _scans(data):
    """Returns how many scans a JPEG has, up to MAX_SCANS + 1, and how often they go over its pixels: each scan once
    for each colour in it."""
    position, scans, passes = 2, 0, 0
    while scans <= MAX_SCANS and (marker := _JPEG_MARKER.search(data, position)) and marker[0] != b"\xff\xd9":
        if marker[0] == _SCAN:
            colours = data[marker.end() + 2 : marker.end() + 3]
            scans, passes = scans + 1, passes + min(int.from_bytes(colours), 4)
        position = marker.end() + _length(data, marker)
    return scans, passes


def _check_cost(image, data, stored):
    """Raises _Refused when it would take too much time or memory to load a picture.

    image: opened and drafted. stored: its (width, height) before.
    """
    width, height = stored
    size = f"{width} x {height}"
    need = len(data) + image.width * image.height * _pixel_bytes(image)
    if image.format in _JPEGS:
        scans, passes = _scans(data)
        if scans > MAX_SCANS:
            raise _Refused(f"more than the {MAX_SCANS} scans allowed")
        if width * height * passes > MAX_SCANNED:
            raise _Refused(f"{size} in {scans} scans are more than the {MAX_SCANNED} pixels allowed in all")
        if scans > 1:  # all coefficients are held, 2 bytes each, in blocks of up to 32 x 32
            need += 2 * image.layers * (width + 31) * (height + 31)
    elif image.tile and image.tile[0][0] == "bmp_rle" and width * height > MAX_RUN_LENGTH:
        raise _Refused(f"{size} are more than the {MAX_RUN_LENGTH} pixels allowed in a bitmap packed by run length")
    if need > MAX_MEMORY:
        raise _Refused(f"{size} would take {need >> 20} MB to decode, {MAX_MEMORY >> 20} MB are allowed")


def _decode(image, data, image_size, resize, channels):
    """Returns [height, width, channels] uint8. image: opened from `data`, not yet loaded."""
    height, width = image_size
    stored = image.size
    if image.format not in _JPEGS:
        _check_cost(image, data, stored)
        image.load()  # the orientation may stand behind the pixels
    orientation = _orientation(image)
    size = (height, width) if orientation >= 5 else (width, height)
    extent = _draft(image, size, resize, _MODES[channels])
    if image.format in _JPEGS:
        _check_cost(image, data, stored)
    image = _plain(image, _MODES[channels])
    size, box = _placement(extent, size, resize)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=1.0)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.size != (width, height):  # resize="pad"
        canvas = Image.new(image.mode, (width, height))
        canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
        image = canvas
    return np.frombuffer(bytearray(image.tobytes()), np.uint8).reshape(height, width, channels)


def _orientation(image):
    """Returns the EXIF orientation, 1 to 8; 1 when there is none or the EXIF data is damaged."""
    if not _METADATA & image.info.keys():
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata do not make the pixels unusable
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _draft(image, size, resize, mode):
    """Has a JPEG decoded at the smallest of 1, 1/2, 1/4, 1/8 that still has the pixels `size` asks for.

    Half a pixel may lack: 500 x 374 is decoded at 1/4 for 125 x 94.
    Returns: the (width, height) that the decoded picture covers, in its pixels; the last may be covered in part.
    """
    enough = any if resize == "pad" else all
    for scale in (8, 4, 2, 1):
        if enough(2 * have >= scale * (2 * want - 1) for have, want in zip(image.size, size)):
            break
    if scale > min(image.size):  # lines of pixels, where Pillow cannot express the scale
        scale = 1
    drafted = image.draft(mode, (image.width // scale, image.height // scale))
    return drafted[1][2:] if drafted else image.size


def _plain(image, mode):
    """Returns the picture in `mode`, "L" or "RGB", of any mode that Pillow reads; over white where transparent."""
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image)
        image = canvas
    elif image.mode == "CMYK" and "adobe" not in image.info:  # Pillow takes all for inverted, as Adobe's are
        image = ImageChops.invert(image)
    image.load()
    return image if image.mode == mode else image.convert(mode)


def _placement(extent, size, resize):
    """Returns what size to resize to and from which box. extent, size: (width, height).

    Boxes are of real numbers: the middle stays the middle whatever the rotation.
    """
    width, height = extent
    box = (0.0, 0.0, width, height)
    if resize == "crop":
        factor = min(width / size[0], height / size[1])
        x, y = (width - factor * size[0]) / 2, (height - factor * size[1]) / 2
        box = (max(x, 0.0), max(y, 0.0), min(width - x, width), min(height - y, height))
    if resize == "pad":
        factor = min(size[0] / width, size[1] / height)
        size = max(round(factor * width), 1), max(round(factor * height), 1)
    return size, box
