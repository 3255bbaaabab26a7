"""Zips from users: valid, damaged and malicious."""

import io
import struct
import zipfile

import pytest

from data.images.pixels import ImageRejected
from page.study.zip_archive import is_zip, open_zip, read_entry, zip_entries
from tests.helpers.zip_files import png, with_oversized_directory, with_second_directory, zipped


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
