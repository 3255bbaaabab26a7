"""PNG, JPEG, WebP and TIFF: orientation, damage that decoders repair, and files that would take minutes."""

import io
import itertools
import json
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from data.images.formats import DAMAGED, TURNED_BY_EXIF
from data.images.pixels import ImageRejected
from data.images.read import read_view, stored_bytes
from data.prepare import main

GRAY = np.clip(np.add.outer(np.arange(40) * 4, np.arange(56) * 2), 0, 255).astype(np.uint8)
UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.T,
    6: lambda pixels: pixels.T[:, ::-1],
    7: lambda pixels: pixels.T[::-1, ::-1],
    8: lambda pixels: pixels.T[::-1],
}
"""What the standard (EXIF 2.32, 4.6.4 A) says: which edge of the stored pixels is the upper, and which the left one."""


def encoded(pixels: np.ndarray, kind: str, orientation: int, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize("side", [40, 56])
@pytest.mark.parametrize("mode", ["gray", "color", "deep"])
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {}), ("TIFF", {})])
def test_stored_image_equals_the_upright_image_for_every_orientation(kind, options, mode, side):
    if mode == "deep" and kind in ("JPEG", "WEBP"):
        pytest.skip("8 bits only")
    pixels = GRAY[:, :side]
    source = {"gray": pixels, "color": np.dstack([pixels] * 3), "deep": pixels.astype(np.uint16) * 200}[mode]
    if kind == "WEBP":
        options = {"lossless": True}
        source = np.dstack([pixels] * 3)
    plain = np.asarray(read_view(encoded(source, kind, 1, **options), max_side=1024).image).astype(int)
    assert np.abs(plain - pixels).max() <= (3 if mode != "deep" else 80)
    for orientation, upright in UPRIGHT.items():
        view = read_view(encoded(source, kind, orientation, **options), max_side=1024)
        assert np.array_equal(np.asarray(view.image), upright(plain)), orientation
        assert view.notes == ((TURNED_BY_EXIF,) if orientation > 1 else ())
        for image_format in ("auto", "png"):
            stored = Image.open(io.BytesIO(stored_bytes(view.image, view, image_format)))
            assert stored.getexif() == {}
            difference = np.abs(np.asarray(stored).astype(int) - np.asarray(view.image)).max()
            exact = stored.format == "PNG" or view.bare is not None
            assert difference <= (0 if exact else 3), (orientation, image_format)


def test_prepare_stores_what_the_page_reads(tmp_path, capsys):
    rows = ["study_id,image,report,split"]
    for orientation in UPRIGHT:
        (tmp_path / f"{orientation}.png").write_bytes(encoded(GRAY, "PNG", orientation))
        rows.append(f"s{orientation},{orientation}.png,Clear lungs.,train")
    (tmp_path / "studies.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    main(["table", str(tmp_path / "studies.csv"), "--out", str(out), "--num-workers", "1"])
    warned = [json.loads(line)["warning"] for line in (out / "warnings.jsonl").read_text().splitlines()]
    assert warned.count(TURNED_BY_EXIF) == 7
    assert f"7 times: {TURNED_BY_EXIF}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_that_the_standard_does_not_know_turns_nothing(orientation):
    view = read_view(encoded(GRAY, "PNG", orientation), max_side=1024)
    assert np.array_equal(np.asarray(view.image), GRAY) and view.notes == ()


def damaged_variants(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    return {
        "ends too early": content[:middle] + b"\xff\xd9",
        "lacks a part": content[:middle] + content[middle + 200 :],
        "has a foreign marker": content[:middle] + b"\xff\xd0" + content[middle:],
    }


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("max_side", [64, 1024])
def test_jpeg_that_its_decoder_repairs_is_kept_with_a_warning(mode, max_side):
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 160), dtype=np.uint8), (5, 5), 0)
    file = io.BytesIO()
    Image.fromarray(noise).convert("RGB").convert(mode).save(file, "JPEG", quality=90)
    content = file.getvalue()
    assert read_view(content, max_side=max_side).notes == ()
    for damage, changed in damaged_variants(content).items():
        view = read_view(changed, max_side=max_side, allow_color=True)
        assert view.notes == (DAMAGED,), damage
        assert view.bare is None


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4"])
def test_fax_tiff_is_rejected_because_its_decoder_hides_damage(compression):
    file = io.BytesIO()
    Image.fromarray(GRAY > 90).save(file, "TIFF", compression=compression)
    with pytest.raises(ImageRejected, match=r"^x: is compressed as fax \(CCITT\), .*; save it in gray as PNG$"):
        read_view(file.getvalue(), max_side=1024, name="x")


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )


def png_header(width: int, height: int, bits: int, color_type: int) -> tuple[bytes, bytes]:
    return b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, color_type, 0, 0, 0])


def many_scans(num_scans: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(GRAY).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    scan = content[content.rindex(b"\xff\xda") : content.rindex(b"\xff\xd9")]
    return content[:-2] + scan * num_scans + b"\xff\xd9"


def many_pages(num_pages: int) -> bytes:
    page = b"\x01\x00" + b"\x00\x01\x03\x00\x01\x00\x00\x00\x20\x00\x00\x00"
    starts = [8 + number * (len(page) + 4) for number in range(num_pages + 1)]
    return (
        b"II*\0"
        + starts[0].to_bytes(4, "little")
        + b"".join(
            page + (after if number + 1 < num_pages else 0).to_bytes(4, "little")
            for number, after in enumerate(itertools.islice(starts, 1, None))
        )
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (many_scans(3000), r"x: is a JPEG of 30\d\d scans and 56 x 40 pixels, which takes too long"),
        (b"\xff\xd8" + b"\xff\xfe\x00\x02" * 60_000, r"x: has more than 50,000 JPEG segments"),
        (
            png_of([png_header(6400, 6200, 16, 6), (b"IDAT", b"")]),
            r"x: 6400 x 6200 pixels need 317440000 bytes",
        ),
        (png_of([png_header(40, 40, 8, 0)] + [(b"tEXt", b"")] * 60_000), r"x: has more than 50,000 PNG chunks"),
        (many_pages(60_000), r"x: holds 100 or more images \(animated or paged\)"),
        (many_pages(3), r"x: holds 3 images"),
        (b"II*\0\x08\0\0\0\x01\0\x11\x01\x04\0" + b"\xff\xff\xff\0" + bytes(8), r"x: has TIFF tags of more than"),
    ],
)
def test_file_that_would_take_minutes_is_rejected_before_it_is_decoded(content, reason):
    with pytest.raises(ImageRejected, match=reason):
        read_view(content, max_side=1024, name="x")


def test_usual_number_of_scans_is_read():
    assert read_view(many_scans(20), max_side=1024).image.size == (56, 40)
