"""Small files that ask for much time or memory, made here byte by byte: {name: (bytes, words of the refusal)}."""

import struct
import zlib

import numpy as np


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, *, depth=8, colour=0, before=b"", after=b""):
    """All of one value; packed without ever holding the pixels. colour: 0 gray, 2 RGB, 3 palette, 6 RGBA."""
    bits = depth * {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    line = b"\0" + b"\x41" * -(-width * bits // 8)
    lines = max(1, (1 << 20) // len(line))
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(line * lines) for _ in range(-(-height // lines))) + packer.flush()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    palette = png_chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + header + palette + before + png_chunk(b"IDAT", packed) + after + png_chunk(b"IEND", b"")
    )


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def scan(first, last, high, low, data):
    return segment(0xDA, bytes([1, 1, 0, first, last, high << 4 | low])) + data


def jpeg(side, scans, *, metadata=b""):
    """A progressive gray JPEG whose scans say, in 75 bytes each, that nothing changes: each still visits all blocks."""
    run = np.packbits([int(bit) for bit in ("0" + "1" * 14) * 40]).tobytes().replace(b"\xff", b"\xff\0")
    head = b"\xff\xd8" + metadata + segment(0xDB, b"\0" + b"\1" * 64)
    head += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    head += segment(0xC4, b"\x00" + bytes([1] + [0] * 15) + b"\0")
    head += segment(0xC4, b"\x10" + bytes([1, 1] + [0] * 14) + b"\xe0\x01")
    body = [scan(0, 0, 0, 0, b""), scan(1, 63, 0, 1, run)] + [scan(1, 63, 1, 0, run)] * (scans - 2)
    return head + b"".join(body) + b"\xff\xd9"


def rle_bmp(side, body, bits=8):
    start = 54 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, bits, 1, len(body), 1, 1, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + bytes(range(256)) * 4 + body


def gif(body):
    return b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0) + body


PICTURES = {
    "3,000 scans": (lambda: jpeg(8192, 3000), "more than the 200 scans"),
    "40 scans of 67 million pixels": (lambda: jpeg(8192, 40), "8192 x 8192 in 40 scans are more than"),
    "a million scans": (lambda: jpeg(64, 1_000_000), "more than the 200 scans"),
    "many segments": (lambda: jpeg(8, 2, metadata=segment(0xE1, b"Exif\0\0x") * 1_400_000), "1000 segments"),
    "FF for ever": (lambda: b"\xff\xd8" + b"\xff" * 50_000_000, "bytes of metadata"),
    "zeros for ever": (lambda: b"\xff\xd8\xff" + bytes(50_000_000), "bytes of metadata"),
    "8192 x 8192 by run length": (lambda: rle_bmp(8192, (b"\xff\1" * 9) * 8192), "packed by run length"),
    "run lengths of nothing": (lambda: rle_bmp(2048, bytes(50_000_000)), "1048576 pieces"),
    "1 x 67,108,864": (lambda: png(1, 1 << 26), "a side is more than"),
    "67,108,864 x 1": (lambda: png(1 << 26, 1), "a side is more than"),
    "12000 x 12000": (lambda: png(12000, 12000), "12000 x 12000 are more than"),
    "67 million pixels of 16 bits": (lambda: png(8192, 8192, depth=16), "would take 768 MB"),
    "67 million pixels with alpha": (lambda: png(8192, 8192, colour=6), "would take 76. MB"),
    "chunks of nothing": (lambda: png(8, 8, before=png_chunk(b"abCd", b"") * 2_000_000), "1048576 pieces"),
    "data in chunks of nothing": (lambda: png(8, 8, before=png_chunk(b"IDAT", b"") * 2_000_000), "1048576 pieces"),
    "chunks of nothing at the end": (lambda: png(8, 8, after=png_chunk(b"abCd", b"") * 2_000_000), "pieces|None"),
    "no picture in a GIF": (lambda: gif(b"x" * 50_000_000), "1048576 pieces"),
    "extensions of a GIF": (lambda: gif(b"!\xfe\1x\0" * 10_000_000), "1048576 pieces"),
}
LARGE = {  # as much as is allowed
    "33 scans of 67 million pixels": lambda: jpeg(8192, 31),
    "200 scans": lambda: jpeg(3200, 200),
    "67 million pixels in colour": lambda: png(8192, 8192, colour=2),
    "67 million pixels of a palette": lambda: png(8192, 8192, colour=3),
    "36 million pixels with alpha": lambda: png(6000, 6000, colour=6),
    "4 million pixels by run length": lambda: rle_bmp(2048, b"\1\1\0\0" * 2048),
}
