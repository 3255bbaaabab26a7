"""Tables of rows: every cut is repaired, and no other file is touched."""

import csv

import pytest

from page.export.table import StudyTable
from page.study.row import COLUMNS, READ, REJECTED, StudyRow

MODEL = 'best, "new" [0123]'
ROWS = [
    StudyRow(study="a/1", files=("a/1/x.png", "a/1/y.png"), state=READ, report="Findings:\nLungs\nClear.", model=MODEL),
    StudyRow(study="=b", files=("=b",), state=REJECTED, reason='says "no", é', model=MODEL),
    StudyRow(study="c", files=("c",), state=READ, exports=("s.txt", "s.json"), ood_distance=0.5, model=MODEL),
]
SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".CSV"])


def written(path, rows=ROWS, model=MODEL):
    with StudyTable(path, model=model) as table:
        for row in rows:
            if row.study not in table.rows:
                table.add(row)
        return table.rows


@SUFFIXES
def test_table_is_the_same_after_a_cut_at_any_byte(tmp_path, suffix):
    written(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for position in (*range(0, len(whole), 13), len(whole) - 1, len(whole)):
        cut.write_bytes(whole[:position])
        written(cut)
        assert cut.read_bytes() == whole, position
    assert not list(tmp_path.glob(".*"))  # no lock is left


@SUFFIXES
def test_rows_that_are_there_are_known(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    written(path)
    rows = written(path, rows=[])
    assert list(rows) == ["a/1", "=b", "c"]
    assert rows["a/1"].files == "a/1/x.png; a/1/y.png"
    assert rows["=b"].files == "=b"
    assert (rows["c"].exports, rows["c"].state) == (("s.txt", "s.json"), READ)


@SUFFIXES
@pytest.mark.parametrize("studies", [{"a/1"}, {"=b"}, {"c"}, {"a/1", "c"}, set()])
def test_rows_are_removed_and_the_others_keep_their_bytes(tmp_path, suffix, studies):
    path, expected = tmp_path / f"t{suffix}", tmp_path / f"expected{suffix}"
    written(path)
    with StudyTable(path, model=MODEL) as table:
        table.remove(studies)
        kept = [row for row in ROWS if row.study not in studies]
        assert list(table.rows) == [row.study for row in kept]
        written(expected, rows=kept)
        assert path.read_bytes() == expected.read_bytes()
        for row in ROWS:
            if row.study in studies:
                table.add(row)
    assert written(path, rows=[]).keys() == {row.study for row in ROWS}


def test_csv_has_all_columns(tmp_path):
    written(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["study"] for row in rows] == ["a/1", "'=b", "c"]
    assert (rows[0]["report"], rows[2]["ood_distance"]) == ("Findings:\nLungs\nClear.", "0.5")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", b"hello", "has other columns than this version writes"),
        ("t.csv", b"a,b\r\n1,2\r\n", "has other columns than this version writes"),
        ("t.jsonl", b"hello", "has other columns than this version writes"),
        ("t.jsonl", b'{"study": "a"}\n', "row 1: .*has other columns than this version writes"),
        ("t.jsonl", b'{"study": "a\n', "row 1: is damaged"),
        ("t.txt", b"", "is no table; give a name that ends in .csv or .jsonl"),
    ],
)
def test_file_that_is_no_table_is_named_and_kept(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        written(tmp_path / name)
    assert (tmp_path / name).read_bytes() == content


def test_damage_before_other_rows_is_named_and_nothing_is_removed(tmp_path):
    path = tmp_path / "t.csv"
    written(path)
    damaged = path.read_bytes().replace(b"a/1,", b'"a/1,', 1)
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="is damaged after row 0; repair it"):
        written(path)
    assert path.read_bytes() == damaged


@SUFFIXES
def test_rows_of_another_model_or_twice_are_rejected(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    written(path)
    with pytest.raises(ValueError, match=r"has rows of the model .*, and this is 'other \[1\]'; give another --output"):
        written(path, model="other [1]")
    twice = path.read_bytes()
    path.write_bytes(twice + twice.splitlines(keepends=True)[-1])
    with pytest.raises(ValueError, match="has two rows of the study 'c'"):
        written(path)


def test_two_programs_cannot_write_the_same_table(tmp_path):
    with StudyTable(tmp_path / "t.csv", model=MODEL), pytest.raises(ValueError, match="another program writes to"):
        written(tmp_path / "t.csv")
