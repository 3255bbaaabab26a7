"""Hostile uploads: each is rejected soon with its reason, and other users of the page do not notice."""

import io
import struct
import threading
import time
import zipfile
import zlib

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app import AppOptions, build_app, serve
from page.study.upload import read_study_files
from tests.helpers.web.server import NUM_TOKENS, clean_up_after_gradio, free_port, pytestmark  # noqa: F401 (work by name)
from vlm.generator import ReportGenerator

MAX_SECONDS = 2.0
SLOW_MACHINE = 10
"""Other programs may use the processor at the same time, so waiting is allowed to take this much longer."""


def png_of(width, height, rows=b""):
    """A PNG that declares this size and holds these rows."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg():
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
    Image.fromarray(noise).save(content, "JPEG", progressive=True)
    return content.getvalue()


def jpeg_of_many_scans():
    """A progressive JPEG whose last scan is repeated thousands of times."""
    content = jpeg()
    start, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    return content[:end] + content[start:end] * 20_000 + b"\xff\xd9"


def dicom_of(*elements):
    """A DICOM file of these elements, in explicit little endian."""
    syntax = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
    meta = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(syntax)) + syntax
    return bytes(128) + b"DICM" + meta + b"".join(elements)


def dicom_of_many_items():
    """A sequence of 100,000 empty items, and no image."""
    items = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 100_000
    return dicom_of(b"\x08\x00\x40\x11SQ\x00\x00" + struct.pack("<I", len(items)) + items)


def dicom_of_deep_sequences():
    """Sequences within sequences, 2,000 deep."""
    opened = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return dicom_of(opened * 2_000)


def zip_of(entries, method=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, part in entries:
            archive.writestr(name, part)
    return content.getvalue()


def zip_with_false_size():
    """An entry of 200 MB that declares to have 10 bytes."""
    content = bytearray(zip_of([("a.png", bytes(200_000_000))]))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = content.index(signature) + offset
        content[place : place + 4] = struct.pack("<I", 10)
    return bytes(content)


HOSTILE = {
    "empty.dcm": bytes,
    "noise.png": lambda: b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(1_000_000),
    "huge.png": lambda: png_of(60_000, 60_000),
    "bomb.png": lambda: png_of(9_000, 9_000, bytes(9_001 * 9_000)),
    "cut.jpg": lambda: jpeg()[:5_000],
    "scans.jpg": jpeg_of_many_scans,
    "items.dcm": dicom_of_many_items,
    "deep.dcm": dicom_of_deep_sequences,
    "inner.zip": lambda: zip_of([("b.zip", zip_of([("a.png", b"x")]))]),
    "many.zip": lambda: zip_of([(f"{number}.png", b"") for number in range(9_999)]),
    "size.zip": zip_with_false_size,
    "outside.zip": lambda: zip_of([("../../etc/passwd", b"root:x:0:0"), ("/etc/shadow", b"root")]),
}

NAMED = {"outside.zip": "passwd"}
"""What the message names, if it is not the file itself: the first of the sorted entries of a zip, without its path."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in HOSTILE.items():
        (folder / name).write_bytes(content())
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_rejected_soon_with_its_name_and_reason(hostile, name):
    start, used = time.monotonic(), time.process_time()
    with pytest.raises(ValueError, match=NAMED.get(name, name).replace(".", r"\.")) as rejected:
        read_study_files([hostile / name])
    assert len(str(rejected.value)) > len(name) + 15
    assert time.process_time() - used < MAX_SECONDS
    assert time.monotonic() - start < MAX_SECONDS * SLOW_MACHINE


def test_other_users_get_their_reports_while_one_uploads_hostile_files(
    hostile, tiny_checkpoint, tmp_path, tmp_path_factory
):
    options = AppOptions(checkpoint=str(tiny_checkpoint), port=free_port(), max_new_tokens=NUM_TOKENS)
    page = build_app(ReportGenerator.from_pretrained(tiny_checkpoint), options, tmp_path_factory.mktemp("examples"))
    serve(page, options)
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5), dtype=np.uint8)
    Image.fromarray(pixels).resize((50, 60)).save(tmp_path / "chest.png")
    answers, finished = [], threading.Event()

    def attack():
        attacker = Client(page.local_url, verbose=False)
        for name in HOSTILE:
            try:
                answers.append(attacker.predict([handle_file(hostile / name)], api_name="/read"))
            except AppError as error:
                answers.append(str(error))
        finished.set()

    try:
        user = Client(page.local_url, verbose=False)
        alone = user.predict([handle_file(tmp_path / "chest.png")], api_name="/read")
        attacking = threading.Thread(target=attack)
        attacking.start()
        waits = []
        while not finished.is_set():
            start = time.monotonic()
            answer = user.predict([handle_file(tmp_path / "chest.png")], api_name="/read")
            waits.append(time.monotonic() - start)
            assert answer["report"] == alone["report"]
        attacking.join()
    finally:
        page.close(verbose=False)
    assert waits
    assert max(waits) < MAX_SECONDS * SLOW_MACHINE
    assert len(answers) == len(HOSTILE)
    for name, answer in zip(HOSTILE, answers, strict=True):
        assert isinstance(answer, str), name
        assert NAMED.get(name, name) in answer
