"""Atomic writes: the new content is complete, or the old content stays and nothing unfinished is left."""

import errno
import json
from pathlib import Path

import pytest

from vlm.schema.atomic import atomic_file, atomic_folder, partial_path, write_atomically, write_json


class Interrupted(BaseException):
    """Stands for a KeyboardInterrupt: not an Exception."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("content, expected", [("Größe ≥ 5\n", "Größe ≥ 5\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_written_file_has_exactly_the_content(content, expected, durable, tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old and longer than the new content")
    write_atomically(path, content, durable=durable)
    assert path.read_bytes() == expected
    assert names(tmp_path) == ["file.txt"]


def test_json_file_is_indented_and_its_folder_is_created(tmp_path):
    path = tmp_path / "a" / "b" / "values.json"
    write_json(path, {"name": "x", "values": [1]})
    assert path.read_text() == '{\n  "name": "x",\n  "values": [\n    1\n  ]\n}\n'
    write_json(path, {"name": "y"}, indent=None)
    assert path.read_text() == '{"name": "y"}\n'
    assert names(path.parent) == ["values.json"]


def test_value_that_is_not_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "values.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert names(tmp_path) == ["values.json"]


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_exception_leaves_the_old_file_and_deletes_the_partial_one(error, tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_file(path) as partial:
        assert partial == partial_path(path) == tmp_path / "file.txt.partial"
        partial.write_text("new, but not finis")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_file_keeps_its_old_content_until_the_end(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_folder_is_replaced_with_all_its_files(tmp_path):
    folder = tmp_path / "parent" / "folder"
    with atomic_folder(folder) as partial:
        (partial / "first").write_text("1")
    with atomic_folder(folder) as partial:
        assert names(partial) == []
        assert (folder / "first").read_text() == "1"
        (partial / "second").write_text("2")
    assert names(folder) == ["second"]
    assert names(folder.parent) == ["folder"]


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_exception_leaves_the_old_folder_and_deletes_the_partial_one(error, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("1")
    with pytest.raises(error), atomic_folder(folder) as partial:
        (partial / "new").write_text("2")
        raise error
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_remains_of_a_killed_process_are_replaced(tmp_path):
    for name in ("folder.partial", "folder.old.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "remains").touch()
    with atomic_folder(tmp_path / "folder") as partial:
        (partial / "new").touch()
    assert names(tmp_path / "folder") == ["new"]
    assert names(tmp_path) == ["folder"]


def test_backup_of_the_user_beside_the_folder_is_kept(tmp_path):
    for name in ("folder", "folder.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").touch()
    with atomic_folder(tmp_path / "folder") as partial:
        (partial / "new").touch()
    assert names(tmp_path) == ["folder", "folder.old"]
    assert names(tmp_path / "folder.old") == ["weights"]


@pytest.mark.parametrize(("kind", "arguments"), [(OSError, (28, "full")), (RuntimeError, ("full (os error 28)",))])
@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
def test_full_disk_error_names_the_path(tmp_path, write, kind, arguments):
    with pytest.raises(OSError) as caught, write(tmp_path / "out"):
        raise kind(*arguments)
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "out"))
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs Linux's /dev/full")
def test_device_is_written_directly_and_a_full_one_is_named():
    with pytest.raises(OSError) as caught:
        write_json(Path("/dev/full"), {"a": 1})
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
    assert Path("/dev/full").is_char_device()
