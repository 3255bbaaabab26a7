"""Sizes and limits that are read from compressed images before they are decoded.

A decoder allocates memory and time for the size, scans and parts that the file itself states, not for those in a DICOM
header. `image_size` reads these sizes, and `check_container` rejects files that are small but take
minutes: thousands of scans, chunks or pages.
"""

import struct

from data.images.encode import PNG_START
from data.images.pixels import ImageRejected

MAX_PARTS, MAX_PAGES = 50_000, 100
"""Chunks of a PNG, segments of a JPEG header, values of a TIFF tag; and pages of a TIFF."""
MAX_SCANS, MAX_SCAN_PIXELS = 100, 600_000_000
"""Scans of a progressive JPEG (usual are 10), and scans times pixels; each scan visits all pixels."""
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start-of-frame markers of JPEG (ITU T.81, table B.1) and of JPEG-LS (ITU T.87)."""
_START_OF_SCAN = b"\xff\xda"
_END_OF_IMAGE = b"\xff\xd9"


def image_size(codestream: bytes) -> tuple[int, int, int]:
    """(width, height, components) of a JPEG, JPEG-LS or JPEG 2000 image.

    Raises:
        ValueError: it is another format.
    """
    if codestream[:2] == b"\xff\xd8":
        return _jpeg_frame(codestream)[:3]
    if codestream[4:8] == b"jP  ":  # JPEG 2000 in a file of boxes
        codestream = codestream[max(0, codestream.find(b"jp2c")) + 4 :]
    if codestream[:4] == b"\xff\x4f\xff\x51" and len(codestream) >= 42:
        right, bottom, left, top = struct.unpack(">4I", codestream[8:24])
        return right - left, bottom - top, struct.unpack(">H", codestream[40:42])[0]
    raise ValueError("no JPEG, JPEG-LS or JPEG 2000 image")


def has_end(codestream: bytes) -> bool:
    """Whether a JPEG, JPEG-LS or JPEG 2000 image has its end marker, which a file that was cut short lacks."""
    return codestream.rfind(_END_OF_IMAGE) > codestream.find(_START_OF_SCAN)


def check_container(content: bytes, *, name: str) -> None:
    """Check a PNG, JPEG, WebP or TIFF file.

    Raises:
        ImageRejected: it would take too much time or memory, or holds several pages.
        ValueError: it is damaged.
    """
    if content.startswith(PNG_START):
        _check_png(content, name=name)
    elif content.startswith(b"\xff\xd8"):
        check_scans(content, name=name)
    elif content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(content, name=name)


def check_scans(codestream: bytes, *, name: str) -> None:
    """Check a JPEG.

    Raises:
        ImageRejected: it has too many scans or segments.
        ValueError: it has no frame header.
    """
    width, height, components, position = _jpeg_frame(codestream, name=name)
    if components == 1 and codestream[position + 1] in (0xC0, 0xC1):
        return  # sequential gray has one scan; decoders read no further
    start = codestream.find(_START_OF_SCAN, position)
    num_scans = codestream.count(_START_OF_SCAN, max(start, 0))
    if num_scans > MAX_SCANS or (num_scans > 1 and num_scans * width * height > MAX_SCAN_PIXELS):
        raise ImageRejected(
            f"{name}: is a JPEG of {num_scans} scans and {width} x {height} pixels, which takes too long to decode; "
            "save it as baseline JPEG or PNG"
        )


def _jpeg_frame(codestream: bytes, *, name: str = "") -> tuple[int, int, int, int]:
    """(width, height, components) of a JPEG, and the position of its frame header."""
    position, num_segments = 2, 0
    while position + 10 <= len(codestream) and codestream[position] == 0xFF:
        num_segments += 1
        if num_segments > MAX_PARTS:
            raise ImageRejected(f"{name or 'the image'}: has more than {MAX_PARTS:,} JPEG segments; save it again")
        marker = codestream[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif marker in _JPEG_FRAMES:
            height, width, components = struct.unpack(">HHB", codestream[position + 5 : position + 10])
            return width, height, components, position
        else:
            position += 2 + struct.unpack(">H", codestream[position + 2 : position + 4])[0]
    raise ValueError("a JPEG image without a frame header")


def _check_png(content: bytes, *, name: str) -> None:
    position = len(PNG_START)
    for _ in range(MAX_PARTS):
        if position + 12 > len(content):
            break
        position += 12 + int.from_bytes(content[position : position + 4], "big")
    else:
        raise ImageRejected(f"{name}: has more than {MAX_PARTS:,} PNG chunks; save it again")


def _check_tiff(content: bytes, *, name: str) -> None:
    order, is_big = "<>"[content[:1] == b"M"], 43 in content[2:4]
    number, tag, offset = (f"{order}{kind}" for kind in (("Q", "HHQ8x", "Q") if is_big else ("H", "HHI4x", "I")))
    pages: set[int] = set()
    (page,) = struct.unpack_from(offset, content, 8 if is_big else 4)
    while page and page not in pages and len(pages) < MAX_PAGES:
        pages.add(page)
        (num_tags,) = struct.unpack_from(number, content, page)
        start = page + struct.calcsize(number)
        page = start + num_tags * struct.calcsize(tag)
        tags = struct.iter_unpack(tag, content[start : min(page, start + MAX_PARTS)])
        # Pillow unpacks every value that is a number; bytes and texts stay as they are.
        most = max((count for _, kind, count in tags if kind not in (1, 2, 6, 7)), default=0)
        if num_tags * struct.calcsize(tag) > MAX_PARTS or most > MAX_PARTS:
            raise ImageRejected(f"{name}: has TIFF tags of more than {MAX_PARTS:,} bytes or values; save it again")
        (page,) = struct.unpack_from(offset, content, page)
    if len(pages) > 1:
        count = f"{MAX_PAGES} or more" if len(pages) == MAX_PAGES else len(pages)
        raise ImageRejected(f"{name}: holds {count} images (animated or paged); export the one to be read")
