"""Every supported format becomes 8-bit gray with the right values; all other files are rejected with a reason."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from data.images.pixels import MAX_FILE_BYTES, ImageRejected, fitted_size, pixels_of, stretch_to_8_bits
from data.images.read import read_image

PIXELS = np.random.default_rng(0).integers(0, 256, size=(24, 32), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header_only(width: int, height: int) -> bytes:
    """A PNG with this size in its header, and the start of a stream of zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(2**20)))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_gray_values_are_read_exactly_from_every_lossless_mode(kind, mode):
    image = read_image(encoded(Image.fromarray(PIXELS).convert(mode), kind))
    assert (image.mode, image.size) == ("L", (32, 24))
    assert np.array_equal(np.asarray(image), PIXELS)


def test_lossless_webp_is_read_exactly():
    content = encoded(Image.fromarray(PIXELS).convert("RGB"), "WEBP", lossless=True)
    assert np.array_equal(np.asarray(read_image(content)), PIXELS)


def test_cmyk_jpeg_and_one_bit_tiff_are_read():
    gradient = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1)))
    cmyk = read_image(encoded(gradient.convert("RGB").convert("CMYK"), "JPEG", quality=95))
    assert np.abs(np.asarray(cmyk).astype(int) - np.asarray(gradient)).max() <= 3
    bits = Image.fromarray(PIXELS > 128)
    assert np.array_equal(np.asarray(read_image(encoded(bits, "TIFF"))), np.where(PIXELS > 128, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_images_are_stretched_over_their_own_range(kind):
    deep = np.linspace(1000, 1400, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = np.asarray(read_image(encoded(Image.fromarray(deep), kind)))
    low, high = np.percentile(deep, [0.5, 99.5])
    expected = np.clip(np.rint((deep - low) * 255 / (high - low)), 0, 255)
    assert np.abs(image - expected).max() <= 1
    assert (image[0, 0], image[-1, -1]) == (0, 255)


def test_floating_point_tiff_is_read_and_one_with_nan_is_rejected():
    values = np.linspace(-3.0, 5.0, 40 * 40, dtype=np.float32).reshape(40, 40)
    image = np.asarray(read_image(encoded(Image.fromarray(values), "TIFF")))
    assert (image.min(), image.max()) == (0, 255)
    values[3, 3] = np.nan
    with pytest.raises(ImageRejected, match=r"odd\.tif: has pixels that are not numbers"):
        read_image(encoded(Image.fromarray(values), "TIFF"), name="odd.tif")


def test_an_empty_range_gives_black():
    assert stretch_to_8_bits(np.full((5, 5), 700, dtype=np.uint16), 700, 700).tolist() == [[0] * 5] * 5


def test_transparent_parts_become_black():
    rgba = Image.merge("RGBA", [Image.new("L", (20, 20), 200)] * 3 + [Image.linear_gradient("L").resize((20, 20))])
    alpha = np.asarray(rgba)[:, :, 3].astype(float)
    assert np.abs(np.asarray(read_image(encoded(rgba, "PNG"))) - 200 * alpha / 255).max() <= 1


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the image must be turned clockwise to stand upright
    gradient = Image.fromarray(np.tile(np.arange(0, 250, 5, dtype=np.uint8), (30, 1)))
    upright = np.asarray(read_image(encoded(gradient, "JPEG", quality=95, exif=exif)))
    assert upright.shape == (50, 30)
    assert np.abs(upright.astype(int) - np.rot90(np.asarray(gradient), -1)).max() <= 3


def test_metadata_is_removed():
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    image = read_image(encoded(Image.fromarray(PIXELS), "PNG", exif=exif))
    assert image.info == {} and b"Jane" not in encoded(image, "PNG")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_longest_side_is_limited_and_the_aspect_ratio_is_kept(kind):
    gradient = Image.linear_gradient("L").resize((600, 300))
    image = read_image(encoded(gradient, kind), max_side=100)
    assert image.size == (100, 50)
    expected = np.asarray(gradient.resize((100, 50), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(np.asarray(image) - expected).max() <= 3


def test_a_small_image_is_not_enlarged():
    assert read_image(encoded(Image.fromarray(PIXELS), "PNG"), max_side=500).size == (32, 24)
    assert fitted_size((3000, 10), 100) == (100, 1)


def test_the_format_is_detected_from_the_content(tmp_path):
    path = tmp_path / "really_a_jpeg.png"
    path.write_bytes(encoded(Image.new("L", (20, 20), 99), "JPEG"))
    assert np.asarray(read_image(path)).tolist() == [[99] * 20] * 20


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_a_truncated_image_is_rejected_by_name(tmp_path, kind, part):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, size=(200, 200), dtype=np.uint8))
    content = encoded(noise, kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ImageRejected, match=rf"cut\.{kind.lower()}: is damaged or cut short \(.+\); fetch or export"):
        read_image(path)


def test_an_empty_file_is_rejected(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageRejected, match=r"empty\.png: is empty \(0 bytes\)"):
        read_image(tmp_path / "empty.png")


def test_a_text_file_named_png_is_rejected_without_quoting_it(tmp_path):
    (tmp_path / "report.png").write_text("Jane Doe has a cough")
    with pytest.raises(
        ImageRejected, match=r"report\.png: its content is none of PNG, JPEG, WebP, TIFF and D"
    ) as caught:
        read_image(tmp_path / "report.png")
    assert "Jane" not in str(caught.value)


def test_a_zip_is_rejected_with_the_fix(tmp_path):
    (tmp_path / "study.zip").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ImageRejected, match=r"study\.zip: is a zip or an Office file and not an image; unpack it"):
        read_image(tmp_path / "study.zip")


@pytest.mark.filterwarnings("error")
def test_an_oversized_image_is_rejected_from_its_header():
    webp = bytearray(encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True))
    webp[21:25] = (16_382 | 16_382 << 14).to_bytes(4, "little")
    bombs = [png_header_only(20_000, 20_000), bytes(webp)]
    sizes = ["20000 x 20000", "16383 x 16383"]
    tracemalloc.start()
    for bomb, size in zip(bombs, sizes, strict=True):
        with pytest.raises(ImageRejected, match=rf"bomb: {size} pixels are more than the limit of 40,000,000"):
            read_image(bomb, name="bomb")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_a_tiff_with_a_giant_tile_is_rejected():
    # Pillow writes no tiles: two private tags are renamed to TileWidth and TileLength.
    content = encoded(Image.fromarray(PIXELS), "TIFF", tiffinfo={65_000: 20_000, 65_001: 20_000})
    for private, tile in ((65_000, 322), (65_001, 323)):
        content = content.replace(private.to_bytes(2, "little"), tile.to_bytes(2, "little"))
    with pytest.raises(ImageRejected, match=r"scan: has tiles of 20000 x 20000 pixels"):
        read_image(content, name="scan")


def test_an_oversized_file_is_rejected_without_reading_it(tmp_path):
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ImageRejected, match=rf"long\.png: has {MAX_FILE_BYTES + 1} bytes; the limit"):
        read_image(path)


def test_tiny_images_missing_files_and_folders_are_rejected(tmp_path):
    with pytest.raises(ImageRejected, match=r"dot: 8 x 3 pixels are too few to show a chest"):
        read_image(encoded(Image.new("L", (8, 3)), "PNG"), name="dot")
    with pytest.raises(ImageRejected, match=r"absent\.png: does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageRejected, match=r"is not a file"):
        read_image(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_animated_or_multi_page_image_is_rejected(kind):
    frames = [Image.fromarray(np.roll(PIXELS, shift)) for shift in range(3)]
    content = encoded(
        frames[0].convert("RGB"), kind, save_all=True, append_images=[f.convert("RGB") for f in frames[1:]]
    )
    with pytest.raises(ImageRejected, match=r"film: holds 3 images \(animated or paged\)"):
        read_image(content, name="film")


def test_a_color_image_is_rejected_unless_allowed():
    colors = np.random.default_rng(2).integers(0, 256, size=(40, 40, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(colors), "PNG")
    with pytest.raises(ImageRejected, match=r"cat\.png: is a color image, not a radiograph; if it is one, allow col"):
        read_image(content, name="cat.png")
    allowed = read_image(content, allow_color=True)
    assert np.array_equal(np.asarray(allowed), np.asarray(Image.fromarray(colors).convert("L")))


def test_a_radiograph_with_a_colored_arrow_is_accepted():
    rgb = np.repeat(PIXELS[:, :, None], 3, axis=2)
    rgb[2:6, 2:8] = (255, 0, 0)
    assert read_image(encoded(Image.fromarray(rgb), "PNG")).mode == "L"


def test_pixels_of_a_gray_image_are_not_copied_unless_pillow_holds_them_in_blocks():
    image = Image.fromarray(PIXELS).copy()
    pixels = pixels_of(image)
    image.putpixel((3, 2), 77)
    assert pixels[2, 3] == 77 and not pixels.flags.writeable
    del image
    assert pixels[2, 3] == 77 and (pixels != PIXELS).sum() <= 1

    assert (pixels_of(Image.fromarray(PIXELS)) == PIXELS).all()
    large = Image.new("L", (5000, 4000), 9)
    large.putpixel((4999, 3999), 8)
    assert pixels_of(large)[-1, -2:].tolist() == [9, 8]
    assert pixels_of(Image.new("RGB", (3, 2), "red"))[1, 2].tolist() == [255, 0, 0]
