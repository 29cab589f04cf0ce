"""Pictures as clients send them: files of every kind, honest and not, in `data:` URLs."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image


def noise(seed: int = 1, width: int = 9, height: int = 5) -> Image.Image:
    shape = (height, width, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def url(data: bytes, media: str = "image/png") -> str:
    return f"data:{media};base64,{b64encode(data).decode()}"


def picture_url(seed: int = 1, width: int = 40, height: int = 32) -> str:
    return url(encoded(noise(seed, width, height)))


def part(url: str) -> dict[str, Any]:
    """As a message of OpenAI's API holds it."""
    return {"type": "image_url", "image_url": {"url": url}}


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header says what it likes; its pixels are those of a small one."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + _block(b"IHDR", header) + _block(b"IDAT", pixels) + _block(b"IEND")
    )


def _block(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
