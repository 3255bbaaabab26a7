"""The journal keeps what was committed, and cuts off what was not committed or is damaged."""

import json

import pytest

from data.pipeline.shards import JOURNAL_FILE, Journal


@pytest.fixture
def folder(tmp_path):
    """Two commits to two files, then uncommitted data."""
    journal = Journal(tmp_path)
    for number, (rows, lines) in enumerate([(b"aaaa", b"x"), (b"bb", b"")], start=1):
        journal.append("rows/0", rows)
        if lines:
            journal.append("lines", lines)
        journal.commit({"num_done": number})
    journal.append("rows/0", b"never committed")
    journal.append("rows/1", b"neither")
    return tmp_path


def contents(folder):
    return {name: (folder / name).read_bytes() for name in ("rows/0", "lines")}


def test_reopening_cuts_back_to_the_last_commit(folder):
    journal = Journal(folder)
    assert journal.state == {"num_done": 2}
    assert contents(folder) == {"rows/0": b"aaaabb", "lines": b"x"}
    assert journal.lengths == {"rows/0": 6, "lines": 1}


def test_appending_after_reopening_continues_from_the_last_commit(folder):
    journal = Journal(folder)
    journal.append("rows/0", b"cc")
    journal.append("rows/1", b"new")
    journal.commit({"num_done": 3})
    assert Journal(folder).state == {"num_done": 3}
    assert (folder / "rows/0").read_bytes() == b"aaaabbcc"
    assert (folder / "rows/1").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "damaged", "num_done"),
    [
        ("rows/0", b"aaaabX", 1),
        ("rows/0", b"aaaab", 1),
        ("rows/0", b"aaXabb", None),
        ("rows/0", b"", None),
        ("lines", b"", None),
        ("lines", None, None),
    ],
)
def test_a_damaged_commit_and_all_later_ones_are_discarded(folder, name, damaged, num_done):
    (folder / name).unlink() if damaged is None else (folder / name).write_bytes(damaged)
    journal = Journal(folder)
    assert journal.state == (num_done and {"num_done": num_done})
    if num_done:
        assert contents(folder) == {"rows/0": b"aaaa", "lines": b"x"}
    journal.append("lines", b"again")
    journal.commit({"num_done": 9})
    assert Journal(folder).state == {"num_done": 9}


@pytest.mark.parametrize("length", range(1, 40, 7))
def test_an_incomplete_journal_line_is_discarded(folder, length):
    path = folder / JOURNAL_FILE
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:length])
    assert Journal(folder).state == {"num_done": 1}
    assert path.read_bytes() == first
    assert json.loads(first)["appended"]["rows/0"][0] == 4
