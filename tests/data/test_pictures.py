"""Pictures made by Pillow and NumPy, whose pixels are known without our code."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from tfcore.data import pictures

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width=64, height=48):
    """A smooth picture, [height, width, 3] uint8: red grows to the right, green downwards, blue is a hill."""
    y, x = np.mgrid[0:height, 0:width] / (max(height, width) - 1)
    hill = np.exp(-8 * ((x - 0.5) ** 2 + (y - 0.4) ** 2))
    return (np.stack([x, y, hill], axis=-1) * 255).round().astype(np.uint8)


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def huge_png(width=12000, height=12000):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 100)) + png_chunk(b"IEND", b"")


def huge_jpeg(width, height, *, progressive=False):
    """A small JPEG whose header is edited to announce other sides."""
    data = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG", progressive=progressive))
    start = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("RGB", (20, 10), (10, 200, 30)), "PNG", (10, 200, 30)),
        (Image.new("RGB", (20, 10), (10, 200, 30)), "BMP", (10, 200, 30)),
        (Image.new("L", (20, 10), 77), "PNG", (77, 77, 77)),
        (Image.new("L", (20, 10), 77), "JPEG", (77, 77, 77)),
        (Image.new("1", (20, 10), 1), "PNG", (255, 255, 255)),
        (Image.new("1", (20, 10), 1), "BMP", (255, 255, 255)),
        (Image.fromarray(np.full((10, 20), 0xABCD, np.uint16)), "PNG", (0xAB, 0xAB, 0xAB)),
        (Image.fromarray(np.full((10, 20), 0xFFFF, np.uint16)), "PNG", (255, 255, 255)),
        (Image.new("RGB", (20, 10), RED).quantize(4), "PNG", RED),
        (Image.new("RGB", (20, 10), RED).quantize(4), "GIF", RED),
        (Image.new("RGB", (20, 10), RED).quantize(4), "BMP", RED),
        (Image.new("RGBA", (20, 10), (*BLUE, 255)), "PNG", BLUE),
        (Image.new("RGBA", (20, 10), (*BLUE, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (20, 10), (0, 0, 0, 51)), "PNG", (204, 204, 204)),
        (Image.new("LA", (20, 10), (0, 51)), "PNG", (204, 204, 204)),
    ],
)
def test_every_mode_becomes_the_right_rgb(image, kind, expected):
    found = pictures.decode(encoded(image, kind), (5, 8))
    assert found.shape == (5, 8, 3) and found.dtype == np.uint8
    assert (found == expected).all()


def test_16_bit_colour_keeps_the_upper_bits():
    row = b"\0" + np.array([0x1234, 0xABCD, 0xFFFF] * 4, ">u2").tobytes()
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    data += png_chunk(b"IDAT", zlib.compress(row * 4)) + png_chunk(b"IEND", b"")
    assert (pictures.decode(data, (4, 4)) == (0x12, 0xAB, 0xFF)).all()


def test_transparent_palette_shows_white():
    image = Image.new("P", (4, 2), 0)
    image.putpalette([*RED, *GREEN])
    image.paste(1, (0, 0, 2, 2))
    for kind in ("PNG", "GIF"):
        found = pictures.decode(encoded(image, kind, transparency=0), (2, 4))
        assert (found[:, :2] == GREEN).all() and (found[:, 2:] == 255).all()


def test_cmyk_with_and_without_adobe_inversion():
    """Pillow writes an Adobe marker and inverted values; without the marker the same values mean the opposite."""
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    data = encoded(cmyk, "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(pictures.decode(data, (4, 4)).astype(int) - RED).max() <= 4
    start = data.index(b"\xff\xee")
    plain = data[:start] + data[start + 2 + struct.unpack(">H", data[start + 2 : start + 4])[0] :]
    assert np.abs(pictures.decode(plain, (4, 4)).astype(int) - (0, 0, 0)).max() <= 4  # cyan and black


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_of_an_animation_the_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=10)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (pictures.decode(data, (8, 8)) == RED).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("resize", pictures.RESIZES)
def test_exif_orientation(orientation, kind, resize):
    """All eight, and two that do not exist; the reference is Pillow's own exif_transpose."""
    stored = Image.fromarray(photo())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **({"quality": 98, "subsampling": 0} if kind == "JPEG" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = pictures.decode(encoded(upright), (24, 20), resize=resize)
    found = pictures.decode(data, (24, 20), resize=resize)
    assert np.abs(found.astype(int) - expected).mean() < 2


def test_png_orientation_behind_the_pixels():
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded(Image.fromarray(photo()))
    end = data.index(b"IEND") - 4
    data = data[:end] + png_chunk(b"eXIf", exif.tobytes()[6:]) + data[end:]
    np.testing.assert_array_equal(pictures.decode(data, (48, 64)), photo()[::-1, ::-1])


def test_damaged_exif_is_no_reason_to_refuse():
    data = encoded(Image.fromarray(photo()), "JPEG")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", 12) + b"Exif\0\0II\xff\xff" + data[2:]
    assert pictures.decode(data, (48, 64)).shape == (48, 64, 3)


@pytest.mark.parametrize("size", [(94, 125), (125, 94), (47, 63), (12, 9), (375, 500), (400, 600)])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_scaled_while_decoding_looks_like_the_full_one(size, progressive):
    original = Image.fromarray(photo(500, 374))
    data = encoded(original, "JPEG", quality=95, progressive=progressive)
    expected = original.resize(size[::-1], Image.Resampling.BILINEAR)
    difference = np.abs(pictures.decode(data, size).astype(int) - np.asarray(expected))
    assert difference.mean() < 2.5, difference.mean()


def test_sharp_detail_is_averaged_not_picked():
    stripes = np.zeros((240, 320, 3), np.uint8)
    stripes[:, ::2] = 255
    for kind in ("PNG", "BMP"):
        found = pictures.decode(encoded(Image.fromarray(stripes), kind), (30, 40)).astype(int)
        assert np.abs(found - 127.5).max() <= 2


def test_same_size_is_unchanged():
    for kind in ("PNG", "BMP"):
        np.testing.assert_array_equal(pictures.decode(encoded(Image.fromarray(photo()), kind), (48, 64)), photo())


def thirds(wide):
    """Red, green, blue thirds, 90 x 30 or 30 x 90."""
    stripe = np.repeat(np.array([RED, GREEN, BLUE], np.uint8), 30, axis=0)[None].repeat(30, axis=0)
    return stripe if wide else stripe.swapaxes(0, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("wide", [True, False])
def test_crop_keeps_the_middle(wide, kind):
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    found = pictures.decode(encoded(Image.fromarray(thirds(wide)), kind, **options), (30, 30), resize="crop")
    assert np.abs(found.astype(int) - GREEN).max() <= (60 if kind == "JPEG" else 0)
    assert np.abs(found.astype(int) - GREEN).mean() <= 4


@pytest.mark.parametrize("wide", [True, False])
def test_pad_keeps_all_and_adds_black(wide):
    found = pictures.decode(encoded(Image.fromarray(thirds(wide))), (30, 30), resize="pad")
    found = found if wide else found.swapaxes(0, 1)
    assert (found[:10] == 0).all() and (found[20:] == 0).all()
    assert (found[10:20, 1:9] == RED).all() and (found[10:20, 11:19] == GREEN).all()
    assert (found[10:20, 21:29] == BLUE).all()


def test_pad_and_crop_of_extreme_proportions():
    line = encoded(Image.new("RGB", (3000, 1), RED), "JPEG", quality=95)
    for resize in pictures.RESIZES:
        assert pictures.decode(line, (7, 9), resize=resize).shape == (7, 9, 3)


def test_one_channel_is_luma():
    for kind, tolerance in (("PNG", 1), ("JPEG", 2)):
        found = pictures.decode(encoded(Image.new("RGB", (16, 16), (200, 100, 50)), kind), (8, 8), channels=1)
        assert found.shape == (8, 8, 1)
        assert np.abs(found - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)).max() <= tolerance


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"this is no picture, just text\n" * 20, "not a JPEG, PNG, GIF or BMP"),
        (b"<!DOCTYPE html><html>", "not a JPEG, PNG, GIF or BMP"),
        (encoded(Image.new("RGB", (8, 8)), "TIFF"), "not a JPEG, PNG, GIF or BMP"),
        (encoded(Image.fromarray(photo()), "JPEG")[:100], "cut or damaged"),
        (encoded(Image.fromarray(photo()), "JPEG")[:-200], "cut or damaged.*truncated"),
        (encoded(Image.fromarray(photo()), "JPEG", progressive=True)[:-200], "cut or damaged.*truncated"),
        (encoded(Image.fromarray(photo()), "PNG")[:-200], "cut or damaged"),
        (encoded(Image.fromarray(photo()), "BMP")[:-200], "cut or damaged"),
        (encoded(Image.fromarray(photo()), "PNG")[:20], "cut or damaged"),
        (huge_png(), "12000 x 12000 are more than"),
        (huge_png(60000, 60000), "more than"),
        (huge_jpeg(12000, 12000), "12000 x 12000 are more than"),
        (huge_jpeg(65000, 65000, progressive=True), "more than"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unusable_data_gives_a_short_reason(data, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        pictures.decode(data, (10, 10))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 150 and "0x" not in str(raised.value)


@pytest.mark.parametrize("options", [{"resize": "squeeze"}, {"channels": 4}, {"image_size": (0, 4)}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=r"must be|not one of"):
        pictures.decode(encoded(Image.fromarray(photo())), **{"image_size": (8, 8), **options})


def test_damage_gives_a_picture_or_a_reason_never_another_error():
    random = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        good = np.frombuffer(encoded(Image.fromarray(photo()), kind), np.uint8)
        for _ in range(150):
            data = good.copy()
            data[random.integers(0, len(data), 3)] = random.integers(0, 256, 3)
            try:
                assert pictures.decode(data.tobytes(), (10, 12)).shape == (10, 12, 3)
            except ValueError as error:
                assert "\n" not in str(error)


@pytest.mark.filterwarnings("error")
def test_what_pillow_warns_of_is_not_shown():
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(huge_png()))
    with pytest.raises(ValueError, match="12000 x 12000 are more than"):
        pictures.decode(huge_png(), (10, 10))


def test_huge_claims_cost_no_memory():
    """Under 600 MB of address space beyond the interpreter's, 12000 x 12000 (432 MB) is refused from its header."""
    program = f"""
import importlib.util, resource, sys, warnings
warnings.simplefilter("ignore")
spec = importlib.util.spec_from_file_location("pictures", {pictures.__file__!r})
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))
for data in ({huge_jpeg(12000, 12000)!r}, {huge_jpeg(12000, 12000, progressive=True)!r}, {huge_png()!r}):
    try:
        pictures.decode(data, (10, 10))
    except ValueError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    lines = out.stdout.splitlines()
    assert len(lines) == 4 and all("more than" in line for line in lines[:3]) and lines[3] == "True", out.stderr


@pytest.mark.filterwarnings("ignore:Image size")
def test_examine_tells_the_size_also_of_a_picture_that_is_cut():
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        data = encoded(Image.fromarray(photo()), kind)
        size, image = pictures.examine(data, (6, 8), "stretch", 3)
        np.testing.assert_array_equal(image, pictures.decode(data, (6, 8)))
        cut = pictures.examine(data[: max(900, len(data) // 2)], (6, 8), "stretch", 3)
        assert size == cut[0] == (64, 48) and cut[1].startswith("cut or damaged")
    assert pictures.examine(b"", (6, 8), "stretch", 3) == (None, "0 bytes")
    assert pictures.examine(huge_png(), (6, 8), "stretch", 3)[0] is None
