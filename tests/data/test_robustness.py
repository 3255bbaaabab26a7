"""Values, paths and disks that `data.prepare` meets in practice: one line names the place, and the rest goes on."""

import json
from datetime import datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from data import cli
from data.audit.__main__ import main as audit
from data.prepare import main
from data.study import load_studies
from tests.helpers.sources.tables import csv_of

ROWS = [{"image": f"{number}.png", "findings": f"Clear lungs {number}."} for number in range(4)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "views").mkdir()
    for number in range(4):
        for place in (tmp_path, tmp_path / "views"):
            Image.new("L", (64, 64), 30 + 20 * number).save(place / f"{number}.png")
    return tmp_path


def prepare(table: Path, out: Path, *options: str) -> int:
    return main(["table", str(table), "--out", str(out), "--num-workers", "1", *options])


def rejected(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["us", "ms", "s"])
def test_a_row_with_a_date_that_python_cannot_hold_is_rejected_by_name(folder, kind):
    dates = pyarrow.array([0, 2**62 if kind == "us" else 2**50, 5, 6], pyarrow.timestamp(kind))
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    pyarrow.parquet.write_table(pyarrow.table(columns | {"taken": dates}), folder / "t.parquet")
    assert prepare(folder / "t.parquet", folder / "out") == 0
    [entry] = rejected(folder / "out")
    assert entry["reason"].startswith("row 2 of t.parquet: the value of 'taken' is out of range (")
    studies = load_studies(folder / "out")
    assert sorted(name for split in studies.values() for name in split["study_id"]) == ["0.png", "2.png", "3.png"]


def test_a_number_too_large_for_a_label_is_rejected_by_row(folder):
    lines = [json.dumps(row | {"Edema": 10**400 if number == 1 else 1}) for number, row in enumerate(ROWS)]
    (folder / "t.jsonl").write_text("\n".join(lines))
    prepare(folder / "t.jsonl", folder / "out")
    [entry] = rejected(folder / "out")
    assert (entry["study_id"], entry["reason"][:14]) == ("1.png", "Edema is 10000")


def test_paths_with_backslashes_are_found(folder):
    rows = [row | {"image": f"views\\{row['image']}"} for row in ROWS]
    assert prepare(csv_of(folder, rows), folder / "out") == 0
    assert rejected(folder / "out") == []


def test_a_file_whose_name_has_a_backslash_is_found_by_that_name(folder):
    Image.new("L", (64, 64), 200).save(folder / "views\\0.png", "PNG")
    prepare(csv_of(folder, [ROWS[0] | {"image": "views\\0.png"}]), folder / "out", "--split-fractions", "1", "0", "0")
    assert load_studies(folder / "out")["train"][0]["images"][0].getpixel((0, 0)) == 200


def test_rejections_are_grouped_by_reason_with_a_count_and_an_example(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")  # paths are not wrapped
    rows = [*ROWS, *({"image": f"none{number}.png", "findings": "Clear."} for number in range(5))]
    rows += [{"image": "", "findings": "Clear."}, ROWS[1] | {"findings": ""}]
    prepare(csv_of(folder, rows), folder / "out")
    printed = " ".join(capsys.readouterr().out.split())
    assert "given 11 = kept 4 + rejected 7" in printed
    assert f"rejected none0.png: {folder / 'none0.png'}: does not exist (the first of 5) rejected" in printed
    assert "rejected row 10: row 10 names no image rejected 1.png: has neither a report nor labels All" in printed
    assert "none1" not in printed


@pytest.mark.parametrize(("limit", "status"), [("3", 1), ("4", 0), ("0.49", 1), ("0.5", 0), ("0", 1)])
def test_more_rejections_than_allowed_give_an_exit_status_and_all_is_written(folder, capsys, limit, status):
    rows = [*ROWS, *({"image": f"none{number}.png", "findings": "Clear."} for number in range(4))]
    assert prepare(csv_of(folder, rows), folder / "out", "--max-rejected", limit) == status
    assert sum(map(len, load_studies(folder / "out").values())) == 4
    message = f"error: 4 of 8 studies were rejected, and --max-rejected allows {limit}; the reasons are in"
    assert (message in capsys.readouterr().err) == bool(status)


@pytest.mark.parametrize("limit", ["-1", "1.5"])
def test_a_limit_of_rejections_that_is_none_is_an_error(folder, limit):
    with pytest.raises((ValueError, SystemExit)):
        prepare(csv_of(folder, ROWS), folder / "out", "--max-rejected", limit)


def test_an_audit_that_could_not_be_written_is_an_error_before_the_work(folder, monkeypatch):
    prepare(csv_of(folder, ROWS), folder / "out")
    monkeypatch.setattr(cli.os, "access", lambda path, mode: False)
    with pytest.raises(
        ValueError, match=r"^--output-dir \S+_audit cannot be written \(\S+ is read-only\); name another"
    ):
        audit([str(folder / "out"), "--num-workers", "1"])


def test_a_read_only_folder_for_the_data_set_is_an_error_before_the_work(folder, monkeypatch):
    monkeypatch.setattr(cli.os, "access", lambda path, mode: path != folder)
    with pytest.raises(ValueError, match=r"^--out \S+ cannot be written \(\S+ is read-only\); name another folder$"):
        prepare(csv_of(folder, ROWS), folder / "out")
    assert not list(folder.glob("out*"))


def test_a_date_in_range_is_an_id_as_text(folder):
    dates = [datetime(2020, 1, day) for day in (1, 2, 3, 4)]
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    pyarrow.parquet.write_table(pyarrow.table(columns | {"study_id": dates}), folder / "t.parquet")
    prepare(folder / "t.parquet", folder / "out")
    assert rejected(folder / "out") == []
