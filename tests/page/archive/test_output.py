"""The folder of an archive run: one row a study, whatever is written twice or killed."""

import json
from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest

from page.archive.output import RUN_FILE, SCHEMA, ReportFolder, RunRecord, rows_table
from page.study.row import READ, REJECTED, StudyRow

RECORD = RunRecord(
    model="best [0123]",
    program_version="0.3.0",
    max_new_tokens=160,
    write_anyway=False,
    include_identity=False,
    structured=False,
)


def table(*studies, state=READ):
    return rows_table(StudyRow(study=study, files=(study,), state=state, model="best [0123]") for study in studies)


def test_rows_are_written_in_files_and_each_study_once(tmp_path):
    with ReportFolder(tmp_path / "out", RECORD, rows_per_file=3) as reports:
        assert reports.add(table("a", "b", "a")) == 2
        assert not list(reports.folder.glob("*.parquet"))
        assert reports.add(table("b", "c", state=REJECTED)) == 1
        assert len(list(reports.folder.glob("*.parquet"))) == 1
        reports.add(table("d"))
    with ReportFolder(tmp_path / "out", RECORD, rows_per_file=3) as reports:
        assert reports.done == {"a", "b", "c", "d"}
        assert reports.add(table("a", "e")) == 1
    assert reports.counts(["a", "b", "c", "e"]) == {READ: 3, REJECTED: 1}
    stored = pyarrow.parquet.read_table(tmp_path / "out")
    assert sorted(stored["study"].to_pylist()) == ["a", "b", "c", "d", "e"]
    assert stored.schema.equals(SCHEMA)


def test_rows_are_kept_when_the_run_fails_and_unfinished_files_are_removed(tmp_path):
    with pytest.raises(RuntimeError), ReportFolder(tmp_path, RECORD, rows_per_file=100) as reports:
        reports.add(table("a"))
        raise RuntimeError
    (tmp_path / "part-000002.parquet.partial").write_bytes(b"PAR1")
    with ReportFolder(tmp_path, RECORD, rows_per_file=100) as reports:
        assert reports.done == {"a"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == [RUN_FILE, "part-000001.parquet"]


def test_lost_and_doubled_studies_are_found(tmp_path):
    with ReportFolder(tmp_path, RECORD, rows_per_file=1) as reports:
        reports.add(table("a"))
    with pytest.raises(RuntimeError, match="2 studies have 1 rows"):
        reports.counts(["a", "b"])
    pyarrow.parquet.write_table(table("a"), tmp_path / "copy.parquet")
    with pytest.raises(RuntimeError, match="1 studies have 2 rows"):
        reports.counts(["a"])


def test_folder_of_another_run_is_rejected(tmp_path):
    with ReportFolder(tmp_path, RECORD, rows_per_file=1), pytest.raises(ValueError, match="another program writes"):
        ReportFolder(tmp_path, RECORD, rows_per_file=1)
    with pytest.raises(ValueError, match=r"holds another run: model best \[0123\] \(requested: best \[4567\]\)"):
        ReportFolder(tmp_path, replace(RECORD, model="best [4567]"), rows_per_file=1)
    (tmp_path / RUN_FILE).unlink()
    pyarrow.parquet.write_table(table("a"), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=f"has Parquet files but no {RUN_FILE}"):
        ReportFolder(tmp_path, RECORD, rows_per_file=1)


def test_folder_of_a_version_without_candidates_is_continued(tmp_path):
    with ReportFolder(tmp_path, RECORD, rows_per_file=1) as reports:
        reports.add(table("a"))
    saved = json.loads((tmp_path / RUN_FILE).read_text())
    del saved["num_candidates"]
    (tmp_path / RUN_FILE).write_text(json.dumps(saved))
    with ReportFolder(tmp_path, RECORD, rows_per_file=1) as reports:
        assert reports.done == {"a"}
    with pytest.raises(ValueError, match=r"holds another run: num_candidates 1 \(requested: 8\)"):
        ReportFolder(tmp_path, replace(RECORD, num_candidates=8), rows_per_file=1)


def test_damaged_file_is_named(tmp_path):
    with ReportFolder(tmp_path, RECORD, rows_per_file=1) as reports:
        reports.add(table("a"))
    part = tmp_path / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"part-000001\.parquet is damaged .*; delete it"):
        ReportFolder(tmp_path, RECORD, rows_per_file=1)
