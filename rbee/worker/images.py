"""Pictures out of requests: a `data:` URL becomes RGB pixels, or a `BadRequest` that says why not.

1. Nothing is ever fetched: the picture stands in the URL itself, in strict base64.
2. A file's own words come first: all headers are read, and all sizes judged, before one pixel is
   decoded. A small file can claim gigabytes.
3. Only formats that cameras, screens and browsers make are opened, each by Pillow's own decoder.
   Whatever those raise for a broken file is the file's fault, and said as such.
4. What models were trained on: upright, in RGB, without transparency, the first frame of a film.

It knows no model: how many tokens a picture is, and what it looks like to one, is the projector's
business.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError, WebPImagePlugin

from rbee.errors import BadRequest, TooLarge
from rbee.worker.engine.span import Picture

MAX_FILE_BYTES = 20 * 2**20
MAX_SIDE = 8_192
MAX_PIXELS = 16 * 2**20
MAX_PIXELS_TOGETHER = 64 * 2**20
"""All pictures of a request: they are in memory at the same time, three bytes a pixel."""
MAX_IMAGES = 64
MAX_STRETCH = 100
"""How many times as long as wide: projectors cut pictures into squares."""
MAX_MEDIA_TYPE = 256
FORMATS = ("PNG", "JPEG", WebPImagePlugin.WebPImageFile.format, "GIF", "BMP")
_HINT = "send the picture itself: data:image/png;base64,..."


def read(sources: Sequence[tuple[str, str]]) -> list[Picture]:
    """The pictures of (JSON path, URL) pairs, in their order. Takes a while: some hundred
    milliseconds for a photograph; never call it in the event loop."""
    if len(sources) > MAX_IMAGES:
        path = sources[MAX_IMAGES][0]
        raise BadRequest(f"A request may hold {MAX_IMAGES} images, not more.", path=path)
    with ExitStack() as opened:
        files = []
        pixels = 0
        for path, url in sources:
            data = _bytes_of(url, path)
            image = opened.enter_context(_open(data, path))
            pixels += image.width * image.height
            if pixels > MAX_PIXELS_TOGETHER:
                raise _too_large(
                    f"All images together have over {MAX_PIXELS_TOGETHER} pixels", path
                )
            files.append((image, data, path))
        return [_decoded(*file) for file in files]


def _bytes_of(url: str, path: str) -> bytes:
    """The file inside a `data:` URL."""
    scheme, colon, rest = url[:MAX_MEDIA_TYPE].partition(":")
    if not colon or scheme.lower() != "data":
        what = "fetched from the network" if scheme.lower() in ("http", "https") else "opened"
        raise BadRequest(
            f"{path} is no data: URL, and images are never {what}.", hint=_HINT, path=path
        )
    kind, comma, _ = rest.partition(",")
    media, *parameters = [part.strip().lower() for part in kind.split(";")]
    if not comma or not media.startswith("image/") or parameters[-1:] != ["base64"]:
        raise BadRequest(
            f"{path} does not begin with data:image/...;base64, and a comma.", hint=_HINT, path=path
        )
    if media == "image/svg+xml":
        raise BadRequest(f"{path} is an SVG, which has no pixels; send it as PNG.", path=path)
    text = url[len(scheme) + 1 + len(kind) + 1 :]
    if len(text) // 4 * 3 > MAX_FILE_BYTES:
        raise _too_large(f"{path} is a file of more than {MAX_FILE_BYTES} bytes", path)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as exc:  # binascii.Error, or a character past ASCII
        raise BadRequest(f"{path} is not base64: {exc}.", path=path) from exc


def _open(data: bytes, path: str) -> Image.Image:
    """The file with its header read. Its size is judged; no pixel of it is decoded."""
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise _too_many_pixels(path) from exc
    except Exception as exc:  # a decoder may raise anything at all on bytes that somebody made up
        raise _unreadable(path, exc) from exc
    if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
        image.close()
        raise _too_many_pixels(path, f" ({image.width} x {image.height})")
    if max(image.size) > min(image.size) * MAX_STRETCH or not min(image.size):
        image.close()
        raise BadRequest(
            f"{path} has {image.width} x {image.height} pixels; an image may be at most"
            f" {MAX_STRETCH} times as long as it is wide.",
            path=path,
        )
    return image


def _decoded(image: Image.Image, data: bytes, path: str) -> Picture:
    declared = image.size
    try:
        image.load()
        if image.size != declared:
            raise ValueError(f"it declares {declared} pixels and has {image.size}")
        ImageOps.exif_transpose(image, in_place=True)
        pixels = _rgb(image)
    except Exception as exc:  # as in `_open`
        raise _unreadable(path, exc) from exc
    finally:
        image.close()  # its pixels too, before the next one's are decoded
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return Picture(pixels.width, pixels.height, pixels.tobytes(), digest)


def _rgb(image: Image.Image) -> Image.Image:
    """In RGB; what is transparent becomes white, as on a page."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    page = Image.new("RGB", layered.size, "white")
    page.paste(layered, mask=layered.getchannel("A"))
    return page


def _too_many_pixels(path: str, found: str = "") -> TooLarge:
    return _too_large(
        f"{path} has too many pixels{found}: {MAX_SIDE} a side and {MAX_PIXELS} together are the"
        " most",
        path,
    )


def _too_large(what: str, path: str) -> TooLarge:
    return TooLarge(f"{what}.", hint="make it smaller: models see less than that anyway", path=path)


def _unreadable(path: str, why: Exception) -> BadRequest:
    if isinstance(why, UnidentifiedImageError):  # its text is the name of a Python object
        reason = f"it is none of {', '.join(FORMATS)}"
    else:
        reason = f"{type(why).__name__}: {str(why)[:200]}"
    return BadRequest(
        f"{path} is no image that can be read: {reason}.",
        hint="the file may be cut off",
        path=path,
    )
