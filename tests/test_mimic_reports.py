"""The reports of MIMIC-CXR: in their archive, in folders, damaged, absent."""

# ruff: noqa: F811 (fixtures are imported and then named as arguments)

import zipfile
from pathlib import Path

import pytest
from test_mimic import (
    REPORT,
    STUDIES,
    given,
    root,  # noqa: F401 (fixtures)
    states,
    study_folder,
    write_reports,
)

from data.mimic_reports import MAX_REPORT_BYTES, MimicReports
from vlm.findings import POSITIVE


def pack_reports(path: Path, prefix: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for subject, study, *_ in STUDIES:
            archive.writestr(f"{prefix}{study_folder(subject, study)}.txt", REPORT)


@pytest.mark.parametrize("prefix", ["", "mimic-cxr-reports/"])
def test_reports_are_read_from_the_archive_as_published(root, prefix):
    beside, *_ = given(root)
    for path in root.rglob("s*.txt"):
        path.unlink()
    pack_reports(root / "mimic-cxr-reports.zip", prefix)
    packed, *_ = given(root)
    assert packed == beside


def test_reports_may_lie_in_a_folder_of_their_own_or_one_that_is_named(root, tmp_path):
    beside, *_ = given(root)
    for path in root.rglob("s*.txt"):
        path.unlink()
    write_reports(root / "mimic-cxr-reports")
    assert given(root)[0] == beside
    (root / "mimic-cxr-reports").rename(tmp_path / "elsewhere")
    assert given(root, reports=tmp_path / "elsewhere")[0] == beside
    with pytest.raises(ValueError, match=r"--reports .*nowhere does not exist; name mimic-cxr-reports\.zip"):
        given(root, reports=tmp_path / "nowhere")


def test_a_report_that_cannot_be_read_refuses_its_study(root):
    paths = [root / f"{study_folder(subject, study)}.txt" for subject, study, *_ in STUDIES]
    paths[0].write_bytes("Höhe".encode("latin-1"))
    paths[1].write_bytes(b"a" * (MAX_REPORT_BYTES + 1))
    paths[2].unlink()
    paths[2].mkdir()
    paths[3].write_text(" \n")
    kept, refused, _ = given(root)
    assert "report p10/p10000032/s50414267.txt is not UTF-8 text" in refused["50414267"]
    assert "s53189527.txt has more than 1048576 bytes; is it a report?" in refused["53189527"]
    assert "s57375967.txt cannot be read" in refused["57375967"]
    assert (kept["50771383"].findings, states(kept["50771383"].labels)["Edema"]) == ("", POSITIVE)
    assert given(root, labels="report")[1]["50771383"] == "has neither a report nor labels"


def test_a_damaged_archive_of_reports_is_an_error(root):
    pack_reports(root / "mimic-cxr-reports.zip", "")
    content = (root / "mimic-cxr-reports.zip").read_bytes()
    (root / "mimic-cxr-reports.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"mimic-cxr-reports\.zip is damaged or cut short .*download it again"):
        given(root)


def test_a_damaged_member_of_the_archive_refuses_its_study_alone(tmp_path):
    archive = tmp_path / "mimic-cxr-reports.zip"
    pack_reports(archive, "")
    content = bytearray(archive.read_bytes())
    content[content.index(b"FINAL REPORT")] ^= 1
    archive.write_bytes(content)
    reports = MimicReports(tmp_path, None)
    with pytest.raises(ValueError, match=r"report p10/p10000032/s50414267\.txt cannot be read \(Bad CRC-32"):
        reports.text(10000032, 50414267)
    assert reports.text(10000898, 50771383) == REPORT
    assert reports.text(10000898, 1) == ""
