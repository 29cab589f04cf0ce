"""Pictures in requests: what is read, what is refused, and that nothing breaks the reader."""

from __future__ import annotations

import tracemalloc
from base64 import b64encode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rbee.errors import BadRequest, TooLarge
from rbee.worker import images
from rbee.worker.engine.span import Picture
from tests.worker.pictures import encoded, noise, png_of, url

PATH = "$.messages[0].content[1]"
ORIENTATION = 0x0112


def read(url: str) -> Picture:
    [found] = images.read([(PATH, url)])
    return found


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_the_pixels_are_those_of_the_file(kind: str) -> None:
    found = read(url(encoded(noise(), kind, **({"lossless": True} if kind == "WEBP" else {}))))
    assert (found.width, found.height) == (9, 5)
    assert found.rgb == noise().tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossy_files_and_grey_ones(kind: str, mode: str) -> None:
    found = read(url(encoded(noise().convert(mode), kind)))
    assert len(found.rgb) == 3 * 9 * 5


def test_what_is_transparent_is_white() -> None:
    clear, half, full = (255, 0, 0, 0), (255, 0, 0, 128), (255, 0, 0, 255)
    image = Image.new("RGBA", (3, 1))
    for at, colour in enumerate((clear, half, full)):
        image.putpixel((at, 0), colour)
    found = np.frombuffer(read(url(encoded(image))).rgb, np.uint8).reshape(3, 3)
    assert found.tolist() == [[255, 255, 255], [255, 127, 127], [255, 0, 0]]
    palette = Image.new("P", (1, 1), 0)
    assert read(url(encoded(palette, "GIF", transparency=0))).rgb == b"\xff\xff\xff"


def test_sixteen_bits_a_pixel_keep_their_shades() -> None:
    shades = np.array([[0, 0x3000, 0x8000, 0xFFFF]], np.uint16)
    found = read(url(encoded(Image.fromarray(shades))))
    assert list(found.rgb[::3]) == [0, 0x30, 0x80, 0xFF]


def test_a_photograph_stands_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    found = read(url(encoded(noise(), "JPEG", exif=exif, quality=100)))
    assert (found.width, found.height) == (5, 9)


def test_a_film_is_its_first_frame() -> None:
    black, white = Image.new("L", (2, 2), 0), Image.new("L", (2, 2), 255)
    film = encoded(black, "GIF", save_all=True, append_images=[white])
    assert read(url(film)).rgb == bytes(12)


def test_the_same_file_is_the_same_picture() -> None:
    one, same, other = (read(url(encoded(noise(seed)))) for seed in (1, 1, 2))
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "http://127.0.0.1:9/picture.png",
        "https://127.0.0.1/picture.png",
        "file:///etc/passwd",
        "data:",
        "data:image/png;base64",
        "data:image/png,abc",
        "data:image/png;base64;charset=utf-8,QUJD",
        "data:text/plain;base64,QUJD",
        "data:image/png;base64,",
        "data:image/png;base64,QUJD",
        "data:image/png;base64,QU JD",
        "data:image/png;base64,QUJ",
        "data:image/png;base64,QUJD====",
        "data:image/png;base64,_-_-",
        "data:image/png;base64,\ud800",
        "data:image/png;base64,ÄÄÄÄ",
        url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        url(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"),
        url(encoded(noise(), "TIFF")),
        url(encoded(noise())[:60]),
        url(encoded(noise(1, 300, 300), "JPEG")[:2_000]),
        url(encoded(Image.new("L", (1, 101)))),
    ],
)
def test_what_is_no_picture_is_refused(bad: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(bad)
    assert refused.value.path == PATH and PATH in refused.value.message
    assert "0x" not in refused.value.message


@pytest.mark.parametrize(
    "size", [(20_000, 20_000), (12_000, 12_000), (8_193, 1_000), (5_000, 5_000)]
)
def test_a_huge_picture_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    tracemalloc.start()
    with pytest.raises(TooLarge, match="too many pixels"):
        read(url(png_of(*size)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_small_file_of_a_huge_picture_is_refused() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG", optimize=True)
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge):
        read(url(bomb))


def test_a_header_that_lies_is_found_out() -> None:
    with pytest.raises(BadRequest):
        read(url(png_of(100, 100)))


def test_a_huge_text_is_refused_unread() -> None:
    with pytest.raises(TooLarge, match="bytes"):
        read("data:image/png;base64," + "A" * (images.MAX_FILE_BYTES // 3 * 4 + 8))


def test_all_pictures_of_a_request_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    small = url(encoded(noise()))
    with pytest.raises(BadRequest, match="not more"):
        images.read([(PATH, small)] * (images.MAX_IMAGES + 1))
    monkeypatch.setattr(images, "MAX_PIXELS_TOGETHER", 2 * 9 * 5)
    assert len(images.read([(PATH, small)] * 2)) == 2
    with pytest.raises(TooLarge, match="together"):
        images.read([(PATH, small)] * 3)


@given(st.text(max_size=60))
def test_any_text_is_refused_clearly(text: str) -> None:
    for source in (text, "data:" + text, "data:image/png;base64," + text):
        with pytest.raises(BadRequest):
            read(source)


@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]))
    raw = bytearray(encoded(noise(1, 17, 13), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        found = read(f"data:image/x;base64,{b64encode(raw[:cut]).decode()}")
    except (BadRequest, TooLarge):
        return
    assert len(found.rgb) == 3 * found.width * found.height
