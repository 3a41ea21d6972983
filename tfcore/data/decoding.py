"""One picture in a graph: the pixels that `pictures.decode` makes of a JPEG or PNG file, computed by TensorFlow.

For exports and for programs that have no Pillow. The arithmetic is Pillow's, in whole numbers, so that the pixels are
the same; EXIF orientation is applied. Read `resized` first.
"""

from tfcore.quiet import tf
from tfcore.types import Array, Tensor

ONE = 2.0**22  # a weight of the triangle filter is a whole number of these parts, as in Pillow
ORIENTATION = 274  # its number among the tags of EXIF


def decode(data: Tensor, image_size: tuple[int, int], *, resize: str = "stretch", channels: int = 3) -> Tensor:
    """Decodes one picture and brings it to one size, as `pictures.decode` does. For a `tf.function`.

    Args:
      data: a scalar string, the bytes of a JPEG or PNG file.
      image_size, resize, channels: as there.
    Returns: [height, width, channels] uint8.
    """
    height, width = image_size
    is_jpeg = tf.io.is_jpeg(data)
    orientation = tf.cond(is_jpeg, lambda: _orientation(data), lambda: 1)
    size = tf.where(orientation >= 5, [width, height], [height, width])
    read = lambda: _jpeg(data, size, resize, channels)  # noqa: E731
    image, extent = tf.cond(is_jpeg, read, lambda: _whole(_png(data, channels)))
    image = _placed(image[tf.newaxis], extent, size, resize)[0]
    return tf.ensure_shape(_upright(image, orientation), [height, width, channels])


def fitted(images: Array, image_size: tuple[int, int], *, resize: str = "stretch") -> Tensor:
    """Brings pictures to one size, as `pictures.decode` does. images: [N, H, W, C] uint8 -> [N, height, width, C]."""
    size = tf.constant(image_size)
    extent = tf.cast(tf.shape(images)[1:3], tf.float64)
    fitted = _placed(images, extent, size, resize)
    return tf.ensure_shape(fitted, [None, *image_size, images.shape[-1]])


def resized(images: Tensor, extent: Tensor, size: Tensor) -> Tensor:
    """Resizes with a box filter by whole numbers, then a triangle filter, as Pillow's BILINEAR with reducing_gap=1.

    Args:
      images: [N, H, W, C] uint8.
      extent: [2, 2] float64, the first and last row of the box to look at, then its columns, in pixels.
      size: [2] int32, (height, width) of the result.
    Returns: [N, height, width, C] uint8.
    """
    factor = tf.maximum(tf.cast((extent[:, 1] - extent[:, 0]) / tf.cast(size, tf.float64), tf.int32), 1)
    sides, zero = tf.shape(images)[1:3], tf.zeros([2], tf.int32)
    low, high = tf.cond(tf.reduce_any(factor > 1), lambda: _safe(extent, size, sides), lambda: (zero, sides))
    images = images[:, low[0] : high[0], low[1] : high[1]]
    extent = (extent - tf.cast(low, tf.float64)[:, tf.newaxis]) / tf.cast(factor, tf.float64)[:, tf.newaxis]
    x = tf.cast(_reduced(images, factor), tf.float64)
    swapped = lambda x: tf.transpose(x, [0, 2, 1, 3])  # noqa: E731
    rows = lambda x: _filtered(x, extent[0], size[0])  # noqa: E731
    columns = lambda x: swapped(_filtered(swapped(x), extent[1], size[1]))  # noqa: E731
    fewer = tf.shape(x)[1:3] - size
    rows_first = fewer[0] > 2 * tf.maximum(fewer[1], 0)  # so does Pillow 13; each pass rounds
    return tf.cast(tf.cond(rows_first, lambda: columns(rows(x)), lambda: rows(columns(x))), tf.uint8)


def _safe(extent, size, sides):
    """Returns the first pixel and the one behind the last that the box needs, [2] int32 each."""
    reach = 0.5 * (extent[:, 1] - extent[:, 0]) / tf.cast(size, tf.float64)
    low = tf.maximum(tf.cast(extent[:, 0] - reach, tf.int32), 0)
    return low, tf.minimum(tf.cast(tf.math.ceil(extent[:, 1] + reach), tf.int32), sides)


def _reduced(images, factor):
    """The rounded mean of each box of factor[0] x factor[1] pixels; boxes at the far edges may be smaller."""
    rows, columns = (tf.range(tf.shape(images)[axis]) // factor[axis - 1] for axis in (1, 2))
    x = tf.transpose(tf.cast(images, tf.int64), [1, 2, 0, 3])
    x = tf.transpose(tf.math.segment_sum(x, rows), [1, 0, 2, 3])
    x = tf.transpose(tf.math.segment_sum(x, columns), [2, 1, 0, 3])  # [N, H', W', C]
    heights, widths = (tf.math.segment_sum(tf.ones_like(ids, tf.int64), ids) for ids in (rows, columns))
    count = (heights[:, tf.newaxis] * widths)[..., tf.newaxis]
    return ((x + count // 2) * (2**24 // count)) // 2**24


def _filtered(x, extent, size):
    """The triangle filter along axis 1, rounded. x: [N, H, W, C] float64 whole numbers -> [N, size, W, C]."""
    side = tf.shape(x)[1]
    narrow = tf.cast(extent, tf.float32)  # as Pillow keeps its boxes
    scale = tf.cast(narrow[1] - narrow[0], tf.float64) / tf.cast(size, tf.float64)
    reach = tf.maximum(scale, 1.0)
    centre = tf.cast(narrow[0], tf.float64) + (tf.range(tf.cast(size, tf.float64), dtype=tf.float64) + 0.5) * scale
    pixel = tf.range(tf.cast(side, tf.float64), dtype=tf.float64)
    first = tf.maximum(tf.floor(centre - reach + 0.5), 0.0)[:, tf.newaxis]
    last = tf.floor(centre + reach + 0.5)[:, tf.newaxis]
    weight = tf.maximum(1 - tf.abs(pixel + 0.5 - centre[:, tf.newaxis]) / reach, 0.0)  # [size, H]
    weight = tf.where((pixel >= first) & (pixel < last), weight, 0.0)
    weight = tf.floor(0.5 + ONE * weight / tf.reduce_sum(weight, axis=1, keepdims=True))
    shape = tf.shape(x)
    flat = tf.reshape(x, [shape[0], side, -1])
    y = tf.floor((tf.matmul(weight, flat) + ONE / 2) / ONE)  # sums of whole numbers: exact in any order
    return tf.reshape(y, [shape[0], size, shape[2], shape[3]])


def _placed(images, extent, size, resize):
    """Brings pictures to a size by "stretch", "crop" or "pad". extent: [2] float64, the sides that they cover."""
    wanted = tf.cast(size, tf.float64)
    inner, margin = size, tf.zeros([2], tf.float64)
    if resize == "crop":
        margin = tf.maximum((extent - tf.reduce_min(extent / wanted) * wanted) / 2, 0.0)
    if resize == "pad":
        inner = tf.maximum(tf.cast(tf.round(tf.reduce_min(wanted / extent) * extent), tf.int32), 1)
    box = tf.stack([margin, tf.minimum(extent - margin, extent)], axis=1)
    as_it_is = tf.reduce_all(tf.shape(images)[1:3] == inner)  # also where the last line is covered in part
    images = tf.cond(as_it_is, lambda: images, lambda: resized(images, box, inner))
    before = (size - inner) // 2
    after = size - inner - before
    zero = tf.zeros([2], tf.int32)
    return tf.pad(images, tf.stack([zero, tf.stack([before[0], after[0]]), tf.stack([before[1], after[1]]), zero]))


def _whole(image):
    return image, tf.cast(tf.shape(image)[:2], tf.float64)


def _jpeg(data, size, resize, channels):
    """Decodes at the smallest of 1, 1/2, 1/4, 1/8 that still has the pixels `size` asks for; half a pixel may lack."""
    stored = tf.io.extract_jpeg_shape(data)[:2]
    scales = tf.constant([8, 4, 2, 1])
    enough = 2 * stored >= scales[:, tf.newaxis] * (2 * size - 1)
    enough = tf.reduce_any(enough, axis=1) if resize == "pad" else tf.reduce_all(enough, axis=1)
    number = tf.where(tf.reduce_any(enough), tf.argmax(enough, output_type=tf.int32), 3)
    number = tf.where(scales[number] > tf.reduce_min(stored), 3, number)  # lines of pixels

    def at(ratio):
        return lambda: tf.io.decode_jpeg(data, channels=channels, ratio=ratio, dct_method="INTEGER_ACCURATE")

    image = tf.switch_case(number, [at(8), at(4), at(2), at(1)])
    return image, tf.cast(stored, tf.float64) / tf.cast(scales[number], tf.float64)


def _png(data, channels):
    """Decodes a PNG; what is transparent shows white."""
    image = tf.cast(tf.io.decode_png(data, channels=4), tf.int32)
    colours, alpha = image[..., :3], image[..., 3:]
    mixed = colours * alpha + 255 * (255 - alpha) + 128
    colours = (mixed // 256 + mixed) // 256  # mixed / 255, rounded
    if channels == 1:
        colours = (tf.reduce_sum(colours * [19595, 38470, 7471], axis=-1, keepdims=True) + 32768) // 65536
    return tf.cast(colours, tf.uint8)


def _upright(image, orientation):
    """Turns the stored picture upright. orientation: 1 to 8, as EXIF has it."""
    swapped = lambda: tf.transpose(image, [1, 0, 2])  # noqa: E731
    turned = [  # 1 is as it is, and so is 0, which there is not
        lambda: image,
        lambda: image,
        lambda: image[:, ::-1],
        lambda: image[::-1, ::-1],
        lambda: image[::-1],
        swapped,
        lambda: swapped()[:, ::-1],
        lambda: swapped()[::-1, ::-1],
        lambda: swapped()[::-1],
    ]
    return tf.switch_case(orientation, turned)


def _orientation(data):
    """Returns the orientation in a JPEG's EXIF data, 1 to 8; 1 where there is none."""
    head = tf.strings.substr(data, 0, 1 << 16)
    tiff = tf.strings.split(head, b"Exif\0\0")
    tiff = tf.cond(tf.size(tiff) > 1, lambda: tiff[1], lambda: "")
    swapped = tf.strings.substr(tiff, 0, 1) == "M"  # the high byte first
    data = tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int32)
    data = tf.pad(data, [[0, 16]])  # so that what is cut is read as nothing

    def number(offset, size):
        parts = tf.gather(data, tf.clip_by_value(offset + tf.range(size), 0, tf.size(data) - 1))
        parts = tf.where(swapped, parts[::-1], parts)
        return tf.reduce_sum(parts * 256 ** tf.range(size))

    start = number(4, 4)
    tags = start + 2 + 12 * tf.range(tf.minimum(number(start, 2), 64))
    found = tf.map_fn(lambda tag: tf.where(number(tag, 2) == ORIENTATION, number(tag + 8, 2), 0), tags)
    value = tf.reduce_max(tf.concat([found, [1]], axis=0))
    return tf.where(value > 8, 1, value)
