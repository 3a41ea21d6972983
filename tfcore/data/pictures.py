"""One picture: from the bytes of a JPEG, PNG, GIF or BMP file to an array. Training and prediction both read here."""

import contextlib
import io
import threading

import numpy as np
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
FORMATS = ("JPEG", "PNG", "GIF", "BMP")
RESIZES = ("stretch", "crop", "pad")
MAX_PIXELS = 1 << 26
LARGE_PIXELS = 1 << 23

_ONE_LARGE = threading.Lock()  # large pictures take turns, so that memory does not grow with the number of threads
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
_METADATA = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
_MODES = {1: "L", 3: "RGB"}
_UPRIGHT = {  # by EXIF orientation: what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data, image_size, *, resize="stretch", channels=3):
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
      ValueError: with a short reason: empty, not a picture, cut, damaged, or more than MAX_PIXELS by its header.
    """
    _, image = examine(data, image_size, resize, channels)
    if isinstance(image, str):
        raise ValueError(image)
    return image


def examine(data, image_size, resize, channels):
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
                return size, _decode(image, image_size, resize, channels)
    except ValueError as error:
        return size, str(error)


def check_options(image_size, resize, channels=3):
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
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise _Refused(f"{image.width} x {image.height} are more than the {MAX_PIXELS} pixels allowed")
    return image


def _decode(image, image_size, resize, channels):
    """Returns [height, width, channels] uint8. image: opened, not yet loaded."""
    height, width = image_size
    if image.format not in ("JPEG", "MPO"):  # MPO is a JPEG with further pictures behind it
        image.load()  # the orientation may stand behind the pixels
    orientation = _orientation(image)
    size = (height, width) if orientation >= 5 else (width, height)
    extent = _draft(image, size, resize, _MODES[channels])
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
