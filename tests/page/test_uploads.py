"""Uploads: removed some time after reading, unless the same content was sent again; one or many."""

import time

import pytest
from gradio.data_classes import FileData

from page.uploads import OneOrMoreFiles, remove_later

FILE = {"path": "/tmp/chest.png", "meta": {"_type": "gradio.FileData"}}


def wait_until_gone(path, seconds=5):
    end = time.monotonic() + seconds
    while path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return not path.exists()


def test_upload_is_removed_after_a_delay(tmp_path):
    path = tmp_path / "chest.png"
    path.write_bytes(b"x")
    remove_later([str(path), tmp_path / "gone before"], 0.2)
    assert path.exists()
    assert wait_until_gone(path)


def test_upload_that_was_sent_again_stays(tmp_path):
    path = tmp_path / "chest.png"
    path.write_bytes(b"x")
    remove_later([path], 0.4)
    time.sleep(0.2)
    path.touch()
    time.sleep(0.4)
    assert path.exists()
    remove_later([path], 0.1)
    assert wait_until_gone(path)


@pytest.mark.parametrize("sent", [FILE, [FILE]])
def test_single_file_becomes_a_list(sent):
    [file] = OneOrMoreFiles.model_validate(sent).root
    assert isinstance(file, FileData)
    assert file.path == "/tmp/chest.png"
