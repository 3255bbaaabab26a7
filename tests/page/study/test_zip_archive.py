"""Zips from users: valid, damaged and malicious."""

import io
import struct
import zipfile

import pytest

from data.images.pixels import ImageRejected
from page.study.zip_archive import is_zip, open_zip, read_entry, zip_entries
from tests.helpers.files.zip_files import png, with_oversized_directory, with_second_directory, zipped


def opened(content, *, max_files=10):
    return open_zip(io.BytesIO(content), name="x.zip", max_files=max_files, too_many="more than allowed")


def test_entries_are_sorted_by_name_without_side_files(tmp_path):
    names = ["b/2.png", "a/1.png", "__MACOSX/a/._1.png", "b/", "DICOMDIR", ".DS_Store", "Thumbs.db"]
    with opened(zipped(tmp_path / "x.zip", dict.fromkeys(names, b"content")).read_bytes()) as archive:
        entries = zip_entries(archive, name="x.zip")
        assert [entry.filename for entry in entries] == ["a/1.png", "b/2.png"]
        assert read_entry(archive, entries[0], name="x.zip") == b"content"


@pytest.mark.parametrize("trick", [with_oversized_directory, with_second_directory])
def test_oversized_zip_directory_is_not_opened(tmp_path, monkeypatch, trick):
    content = trick(zipped(tmp_path / "x.zip", {"a.png": png()}).read_bytes())
    monkeypatch.setattr(zipfile, "ZipFile", None)  # would raise another error
    with pytest.raises(ImageRejected, match=r"x\.zip: holds more than allowed"):
        opened(content)


def test_files_are_counted_if_the_zip_declares_fewer(tmp_path):
    content = bytearray(zipped(tmp_path / "x.zip", {f"{number}.png": b"" for number in range(4)}).read_bytes())
    end = content.rfind(b"PK\x05\x06")
    content[end + 8 : end + 12] = struct.pack("<HH", 1, 1)
    with pytest.raises(ImageRejected, match="more than allowed"):
        opened(bytes(content), max_files=3)


def test_file_without_a_name_is_skipped():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("x.png", b"")
    nameless = content.getvalue().replace(b"x.png", bytes(5))
    with opened(nameless) as archive, pytest.raises(ImageRejected, match=r"x\.zip: holds no file"):
        zip_entries(archive, name="x.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_with_any_wrong_byte_is_read_or_rejected(tmp_path, method):
    whole = zipped(tmp_path / "x.zip", {"a.png": bytes(range(40))}, method).read_bytes()
    for place in range(len(whole)):
        content = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        try:
            with opened(content) as archive:
                for entry in zip_entries(archive, name="x.zip"):
                    read_entry(archive, entry, name="x.zip")
        except ImageRejected as rejected:
            assert "x.zip" in str(rejected)


def test_zip_is_recognized_by_its_content():
    assert is_zip(b"PK\x03\x04...")
    assert is_zip(b"PK\x05\x06...")
    assert not is_zip(b"PK")


def with_directory_field(content: bytes, entry: int, start: int, value: int) -> bytes:
    """The zip with a number of 4 bytes in one of its directory entries changed."""
    place = -1
    for _ in range(entry + 1):
        place = content.index(b"PK\x01\x02", place + 1)
    return content[: place + start] + struct.pack("<L", value) + content[place + start + 4 :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_overlapping_files_are_rejected(tmp_path, method):
    noise = bytes(range(256)) * 4
    content = zipped(tmp_path / "x.zip", {"a.png": noise, "b.png": noise, "c.png": noise}, method).read_bytes()
    header_offset = 42
    for number, offset in ((1, 0), (2, 40), (2, 0)):
        with pytest.raises(ImageRejected, match=r"x\.zip: its files overlap inside the zip"):
            opened(with_directory_field(content, number, header_offset, offset))


def test_zip_that_unpacks_to_far_more_than_its_size_is_rejected(tmp_path):
    content = zipped(tmp_path / "x.zip", {f"{number}.png": b"x" for number in range(5)}).read_bytes()
    file_size = 24
    for number in range(5):
        content = with_directory_field(content, number, file_size, 2**26)
    message = rf"x\.zip: has {len(content)} bytes and unpacks to {5 * 2**26}; the limit is {2**28}"
    with pytest.raises(ImageRejected, match=message):
        opened(content)


def test_declared_size_limits_what_is_unpacked(tmp_path):
    packed = zipped(tmp_path / "x.zip", {"a.png": bytes(10_000)}, zipfile.ZIP_DEFLATED).read_bytes()
    with opened(with_directory_field(packed, 0, 24, 10)) as archive:
        (entry,) = zip_entries(archive, name="x.zip")
        with pytest.raises(ImageRejected, match="is damaged inside its zip"):
            read_entry(archive, entry, name="x.zip")


def test_small_zip_of_blank_images_is_read(tmp_path):
    blank = bytes(2**20)
    content = zipped(tmp_path / "x.zip", {f"{number}.dcm": blank for number in range(6)}, zipfile.ZIP_DEFLATED)
    with opened(content.read_bytes()) as archive:
        assert [read_entry(archive, entry, name="x.zip") for entry in zip_entries(archive, name="x.zip")] == [blank] * 6
