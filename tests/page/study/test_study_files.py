"""The files of a study: images and zips of them, valid, damaged and malicious."""

import numpy as np
import pytest

import page.study.zip_archive
from data.images.pixels import ImageRejected
from page.study.upload import MAX_VIEWS, read_study_files
from tests.helpers.files.zip_files import png, with_oversized_directory, with_second_directory, zipped


def test_zip_gives_its_images_by_name_without_side_files(tmp_path):
    entries = {"b/side.png": png(5), "a/front.png": png(), "__MACOSX/a/._front.png": b"x", "b/": b"", "DICOMDIR": b"x"}
    images = read_study_files([zipped(tmp_path / "study.zip", entries)])
    assert [image.name for image in images] == ["front.png", "side.png"]
    assert np.asarray(images[1].image).max() == 5


def test_images_next_to_a_zip_keep_their_order(tmp_path):
    (tmp_path / "z.png").write_bytes(png())
    paths = [tmp_path / "z.png", zipped(tmp_path / "a.zip", {"a.png": png()})]
    assert [image.name for image in read_study_files(paths)] == ["z.png", "a.png"]


def test_path_traversal_in_a_zip_has_no_effect(tmp_path):
    [image] = read_study_files([zipped(tmp_path / "study.zip", {"../../etc/chest.png": png()})])
    assert image.name == "chest.png"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["study.zip"]


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({}, "study.zip: holds no file"),
        (
            {f"{number}.png": png() for number in range(MAX_VIEWS + 1)},
            "study.zip: holds 7 files, which are more",
        ),
        (
            {f"{number}.txt": b"" for number in range(201)},
            "study.zip: holds more than the 200 files that the zip of one study may have",
        ),
        ({"notes.txt": b"no image"}, "notes.txt: its content is none of PNG"),
        ({"inner.zip": b"PK\x03\x04"}, "inner.zip in study.zip: is a zip within a zip; unpack it first"),
        ({"bomb.png": bytes(3000)}, "bomb.png in study.zip: has 3000 bytes; the limit is 2000"),
    ],
)
def test_unusable_zips_are_rejected_by_name(tmp_path, monkeypatch, entries, problem):
    monkeypatch.setattr(page.study.zip_archive, "MAX_FILE_BYTES", 2000)
    with pytest.raises(ImageRejected) as rejected:
        read_study_files([zipped(tmp_path / "study.zip", entries)])
    assert str(rejected.value).startswith(problem)


def test_zip_with_false_sizes_is_rejected(tmp_path, monkeypatch):
    path = zipped(tmp_path / "study.zip", {"bomb.png": bytes(50_000)})
    content = path.read_bytes()
    path.write_bytes(content.replace((50_000).to_bytes(4, "little"), (900).to_bytes(4, "little")))
    with pytest.raises(ImageRejected, match=r"bomb\.png|study\.zip"):
        read_study_files([path])


def test_encrypted_zip_gives_instructions(tmp_path):
    path = zipped(tmp_path / "study.zip", {"chest.png": png()})
    content = bytearray(path.read_bytes())
    for start, offset in ((content.find(b"PK\x03\x04"), 6), (content.find(b"PK\x01\x02"), 8)):
        content[start + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(ImageRejected, match=r"chest\.png in study\.zip: is encrypted; unpack it"):
        read_study_files([path])


@pytest.mark.parametrize("damage", [lambda content: content[:60], lambda content: content[:4] + bytes(100)])
def test_error_names_a_damaged_zip(tmp_path, damage):
    path = zipped(tmp_path / "study.zip", {"chest.png": png()})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ImageRejected, match=r"study\.zip: is a damaged zip"):
        read_study_files([path])


@pytest.mark.parametrize("trick", [with_oversized_directory, with_second_directory])
def test_oversized_zip_directory_is_not_opened(tmp_path, monkeypatch, trick):
    path = zipped(tmp_path / "study.zip", {"chest.png": png()})
    path.write_bytes(trick(path.read_bytes()))
    monkeypatch.setattr(page.study.zip_archive.zipfile, "ZipFile", None)  # would raise another error
    with pytest.raises(ImageRejected, match=r"study\.zip: holds more than the 200 files"):
        read_study_files([path])


def test_too_many_files_are_rejected(tmp_path):
    (tmp_path / "chest.png").write_bytes(png())
    with pytest.raises(ImageRejected, match="more images than the 6 that one study may have"):
        read_study_files([tmp_path / "chest.png"] * 7)
