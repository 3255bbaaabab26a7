"""The size that a compressed picture inside DICOM claims for itself, read from its first bytes.

A decoder makes room for this size, not for the one in DICOM's header: it must be known before decoding.
"""

import struct

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start-of-frame markers of JPEG (ITU T.81, table B.1) and of JPEG-LS (ITU T.87)."""


def picture_size(codestream: bytes) -> tuple[int, int, int]:
    """(width, height, components) of a JPEG, JPEG-LS or JPEG 2000 picture.

    Raises:
        ValueError: it is none of these.
    """
    if codestream[:2] == b"\xff\xd8":
        return _jpeg_size(codestream)
    if codestream[4:8] == b"jP  ":  # JPEG 2000 in a file of boxes
        codestream = codestream[max(0, codestream.find(b"jp2c")) + 4 :]
    if codestream[:4] == b"\xff\x4f\xff\x51" and len(codestream) >= 42:
        right, bottom, left, top = struct.unpack(">4I", codestream[8:24])
        return right - left, bottom - top, struct.unpack(">H", codestream[40:42])[0]
    raise ValueError("no JPEG, JPEG-LS or JPEG 2000 picture")


def rle_sizes(frame: bytes) -> list[int]:
    """How many bytes each segment of an RLE frame expands to (DICOM PS3.5, annex G)."""
    if len(frame) < 64:
        raise ValueError("the RLE header is cut short")
    num_segments, *offsets = struct.unpack("<16I", frame[:64])
    starts = offsets[: min(num_segments, 15)]
    return [_expanded(frame[start:end]) for start, end in zip(starts, [*starts[1:], len(frame)], strict=True)]


def _jpeg_size(codestream: bytes) -> tuple[int, int, int]:
    position = 2
    while position + 10 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif marker in _JPEG_FRAMES:
            height, width, components = struct.unpack(">HHB", codestream[position + 5 : position + 10])
            return width, height, components
        else:
            position += 2 + struct.unpack(">H", codestream[position + 2 : position + 4])[0]
    raise ValueError("a JPEG picture without a frame header")


def _expanded(segment: bytes) -> int:
    position = size = 0
    while position < len(segment):
        header = segment[position]
        if header < 128:
            size += header + 1
            position += header + 2
        elif header > 128:
            size += 257 - header
            position += 2
        else:
            position += 1
    return size
