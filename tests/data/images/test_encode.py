"""Stored images have unchanged pixels where possible, and no metadata."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from data.images.encode import bare_file, encode_jpeg
from data.images.read import View, read_view, stored_bytes

GRAY = np.random.default_rng(0).integers(0, 256, size=(40, 32), dtype=np.uint8)
NAME = "Quackenbush"


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(image: Image.Image) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", NAME)
    return file_of(image, "PNG", pnginfo=text)


def jpeg(image: Image.Image, **options) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = NAME
    return file_of(image, "JPEG", exif=exif, comment=NAME.encode(), dpi=(300, 300), quality=80, **options)


@pytest.mark.parametrize("write", [png, jpeg])
def test_a_bare_file_has_the_same_pixels_and_no_metadata(write):
    content = write(Image.fromarray(GRAY))
    assert NAME.encode() in content
    bare = bare_file(content)
    assert NAME.encode() not in bare and len(bare) < len(content)
    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(bare)) as after:
        assert np.array_equal(np.asarray(before), np.asarray(after))
        assert not after.getexif() and not {"comment", "Patient", "dpi"} & set(after.info)


def test_data_after_the_end_of_the_image_is_removed():
    for content in (png(Image.fromarray(GRAY)), jpeg(Image.fromarray(GRAY))):
        assert bare_file(content + NAME.encode()) == bare_file(content)


@pytest.mark.parametrize(
    "content",
    [
        png(Image.fromarray(GRAY).convert("RGB")),
        png(Image.fromarray(GRAY.astype(np.uint16) * 256)),
        jpeg(Image.fromarray(GRAY).convert("RGB")),
        jpeg(Image.fromarray(GRAY), progressive=True),
        jpeg(Image.fromarray(GRAY))[:-2],
        file_of(Image.fromarray(GRAY), "WEBP"),
    ],
)
def test_images_that_are_not_plain_gray_have_no_bare_file(content):
    assert bare_file(content) is None


def view_of(tmp_path, content: bytes, max_side: int = 1024) -> View:
    (tmp_path / "image").write_bytes(content)
    return read_view(tmp_path / "image", max_side=max_side)


def test_a_lossless_image_stays_lossless_and_a_gray_jpeg_keeps_its_own_bytes(tmp_path):
    rgb = view_of(tmp_path, png(Image.fromarray(GRAY).convert("RGB")))
    stored = stored_bytes(rgb.image, rgb, "auto")
    assert stored.startswith(b"\x89PNG") and np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), GRAY)
    content = jpeg(Image.fromarray(GRAY))
    view = view_of(tmp_path, content)
    assert stored_bytes(view.image, view, "auto") == bare_file(content)
    assert stored_bytes(view.image, view, "png").startswith(b"\x89PNG")


def test_a_resized_or_changed_image_is_encoded_again(tmp_path):
    content = png(Image.fromarray(GRAY))
    shrunk = view_of(tmp_path, content, max_side=32)
    assert stored_bytes(shrunk.image, shrunk, "auto") == encode_jpeg(shrunk.image)
    view = view_of(tmp_path, content)
    inverted = Image.fromarray(255 - GRAY)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored_bytes(inverted, view, "auto")))), 255 - GRAY)


def test_resizing_averages_the_pixels_of_an_area(tmp_path):
    view = view_of(tmp_path, png(Image.fromarray(GRAY)), max_side=20)
    expected = GRAY.reshape(20, 2, 16, 2).mean(axis=(1, 3))
    assert np.abs(np.asarray(view.image) - expected).max() <= 0.5
