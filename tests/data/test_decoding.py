"""Pictures decoded in a graph have the pixels of `pictures.decode`, which are Pillow's."""

import io

import numpy as np
import pytest
from PIL import Image

from tfcore.data import decoding, pictures
from tfcore.quiet import tf

SIZES = ((28, 28), (37, 90), (101, 56), (64, 300), (201, 140))


def drawn(rng, height, width, channels):
    """A picture with structure and noise, [H, W, C] uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 60 * np.sin(x / (3 + i) + y / 7) + rng.normal(0, 30, x.shape) for i in range(channels)]
    return np.stack(waves, axis=-1).clip(0, 255).astype(np.uint8)


def file_of(image, kind, **options):
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, kind, **options)
    return file.getvalue()


def decoder(size, **options):
    spec = tf.TensorSpec([], tf.string)
    return tf.function(lambda data: decoding.decode(data, size, **options), autograph=False, input_signature=[spec])


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("size", "channels"), [((28, 28), 1), ((50, 37), 3)])
def test_files_have_the_pixels_that_pillow_makes(size, channels, resize, rng):
    decode = decoder(size, resize=resize, channels=channels)
    for height, width in SIZES:
        for stored in (1, 3, 4):
            image = drawn(rng, height, width, stored)
            for kind in ("png", "jpeg")[: 1 if stored == 4 else 2]:
                data = file_of(image, kind)
                wanted = pictures.decode(data, size, resize=resize, channels=channels)
                np.testing.assert_array_equal(decode(data), wanted, f"{kind} {image.shape}")


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_arrays_are_fitted_as_files_are(resize, rng):
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    fitted = tf.function(lambda x: decoding.fitted(x, (50, 37), resize=resize), input_signature=[spec], autograph=False)
    for height, width in (*SIZES, (50, 37)):
        images = np.stack([drawn(rng, height, width, 3) for _ in range(2)])
        wanted = [pictures.decode(file_of(image, "png"), (50, 37), resize=resize) for image in images]
        np.testing.assert_array_equal(fitted(images), wanted)


def test_photographs_stand_upright(rng):
    decode, exif = decoder((40, 30)), Image.Exif()
    for orientation in range(1, 9):
        exif[0x010F], exif[0x0112] = "a maker", orientation
        data = file_of(drawn(rng, 60, 110, 3), "jpeg", exif=exif)
        np.testing.assert_array_equal(decode(data), pictures.decode(data, (40, 30)), str(orientation))


def test_damaged_metadata_do_not_turn_a_picture(rng):
    decode, image = decoder((40, 30)), drawn(rng, 60, 110, 3)
    for tail in (b"", b"MM", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"):
        data = file_of(image, "jpeg")
        data = data[:2] + b"\xff\xe1" + (8 + len(tail)).to_bytes(2) + b"Exif\0\0" + tail + data[2:]
        np.testing.assert_array_equal(decode(data), pictures.decode(data, (40, 30)))
