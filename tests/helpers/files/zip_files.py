"""Zip archives with images, good and damaged."""

import io
import struct
import zipfile

import numpy as np
from PIL import Image


def png(shade=0):
    content = io.BytesIO()
    Image.fromarray(np.full((40, 40), shade, dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


def zipped(path, entries, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def with_oversized_directory(content):
    end = content.rfind(b"PK\x05\x06")
    return content[: end + 12] + struct.pack("<L", 2**31) + content[end + 16 :]


def with_second_directory(content):
    end = content.rfind(b"PK\x05\x06")
    return content[:end] + b"PK\x06\x07" + bytes(16) + content[end:]
