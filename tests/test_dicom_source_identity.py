"""Pseudonyms of a DICOM archive, and that no identity gets out of it."""

import re

import pydicom
import pytest
from test_dicom_source import PIXELS, lines, prepare, rows_of, save_dicom, save_table


def test_pseudonyms_are_stable_with_a_key_and_differ_without(tmp_path):
    root = tmp_path / "archive"
    save_dicom(root / "1")
    (tmp_path / "key").write_bytes(b"k" * 32)
    ids = []
    for out, options in (
        ("a", ["--pseudonym-key", str(tmp_path / "key")]),
        ("b", ["--pseudonym-key", str(tmp_path / "key")]),
        ("c", []),
        ("d", []),
    ):
        prepare(root, tmp_path / out, *options)
        ids.append(rows_of(tmp_path / out)[0]["study_id"])
    assert ids[0] == ids[1] and len(set(ids)) == 3
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"key has 5 bytes; a key has 16 to 4096, by chance: head -c 32 /dev/urandom"):
        prepare(root, tmp_path / "e", "--pseudonym-key", str(tmp_path / "key"))


def test_the_link_file_tells_who_is_who_to_its_owner_alone(tmp_path):
    root = tmp_path / "archive"
    save_dicom(root / "DOE" / "1", study="1.1", PatientID="MRN-1", AccessionNumber="A1")
    links = tmp_path / "links.jsonl"
    prepare(root, tmp_path / "out", "--link-file", str(links))
    (link,), (row,) = lines(links), rows_of(tmp_path / "out")
    assert link == {
        "study_id": row["study_id"],
        "subject_id": row["subject_id"],
        "study_instance_uid": "1.1",
        "accession_numbers": ["A1"],
        "patient_ids": ["MRN-1"],
        "files": {"file-0000001": "DOE/1"},
    }
    assert links.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match=r"--link-file .* lies in the data set; keep it apart"):
        prepare(root, tmp_path / "other", "--link-file", str(tmp_path / "other" / "links.jsonl"))
    with pytest.raises(ValueError, match=r"--link-file .*links.jsonl exists; .* name another file"):
        prepare(root, tmp_path / "other", "--link-file", str(links))


IDENTITIES = (
    *("Zebulon", "Quackenbush", "ZQ-998877", "19510203", "1951", "ACC5566771", "Thaddeus", "Featherstone"),
    *("Mercywood", "Ignatius", "Wolfeschlegel", "555-0182", "0182", "Hildegard", "1.2.840.99.777", "20240229"),
)


@pytest.fixture
def archive_of_identities(tmp_path):
    root = tmp_path / "archive" / "QUACKENBUSH_ZEBULON"
    private = {
        "PatientName": "Quackenbush^Zebulon^^Mr",
        "PatientID": "ZQ-998877",
        "PatientBirthDate": "19510203",
        "StudyDate": "20240229",
        "AccessionNumber": "ACC5566771",
        "ReferringPhysicianName": "Featherstone^Thaddeus^^Dr",
        "OperatorsName": "Wolfeschlegel^Ignatius",
        "InstitutionName": "Mercywood Infirmary",
        "StudyDescription": "CXR of Zebulon Quackenbush",
        "SeriesDescription": "Quackenbush PA",
        "BodyPartExamined": "CHEST",
        "PatientComments": "call Hildegard 555-0182",
    }
    for name, pixels in (("Zebulon_1.dcm", PIXELS), ("Zebulon_2.dcm", PIXELS[:, ::-1].copy())):
        path = save_dicom(root / name, study="1.2.840.99.777", pixels=pixels, **private)
        header = pydicom.dcmread(path)
        header.private_block(0x0011, "Quackenbush Inc", create=True).add_new(1, "LO", "Zebulon 555-0182")
        header.save_as(path)
    broken = save_dicom(root / "Zebulon_broken.dcm", study="1.2.840.99.777", **private)
    broken.write_bytes(broken.read_bytes()[:-500])
    save_dicom(root / "Zebulon_ct.dcm", study="1.2.840.99.777.8", **private | {"Modality": "CT"})
    save_dicom(root / "Zebulon_none.dcm", study="", **private)
    (root / "Quackenbush_cut.dcm").write_bytes(broken.read_bytes()[:300])
    (root / "Quackenbush_empty.dcm").touch()
    text = (
        "INDICATION: Mr. Zebulon Quackenbush, born 02/03/1951, MRN ZQ-998877, cough.\n"
        "FINDINGS: Compared with nothing. QUACKENBUSH has a large left pleural effusion. Seen 02/29/2024 at "
        "Mercywood Infirmary.\nIMPRESSION: Effusion. Discussed with Dr. Thaddeus Featherstone, phone 555-0182, "
        "accession ACC5566771. Dictated by Ignatius Wolfeschlegel."
    )
    rows = [
        {"accession_number": "ACC5566771", "report": text},
        {"accession_number": "ACC-of-Hildegard", "report": "Hildegard 555-0182"},
        {"accession_number": "", "report": "Hildegard 555-0182"},
    ]
    return tmp_path / "archive", save_table(tmp_path / "reports.csv", rows)


@pytest.mark.parametrize("num_workers", ["1", "2"])
def test_no_identity_reaches_any_file_line_or_message(tmp_path, archive_of_identities, capfd, caplog, num_workers):
    caplog.set_level("DEBUG")
    root, table = archive_of_identities
    out = tmp_path / "out"
    prepare(root, out, "--reports", str(table), "--num-workers", num_workers)
    said = "".join(capfd.readouterr()) + caplog.text
    assert "given 5 = kept 1 + refused 4" in said
    (row,) = rows_of(out)
    assert "large left pleural effusion" in row["findings"] and row["labels"][9] == 1
    assert row["view_positions"] == ["PA", "PA"]
    stored = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert "preparation.json" in stored and "refused.jsonl" in stored
    for name, content in {**stored, "what was said": said.encode()}.items():
        for identity in IDENTITIES:
            assert identity.lower().encode() not in content.lower(), f"{identity} in {name}"
    for entry in lines(out / "refused.jsonl"):
        assert all(re.fullmatch(r"file-\d{7}", file) for file in entry["files"])
    assert all(image.info == {} for image in row["images"])


def test_what_makes_a_run_fail_names_nobody(tmp_path, archive_of_identities, capfd):
    root, table = archive_of_identities
    for path in root.rglob("Zebulon_[12].dcm"):
        path.unlink()
    with pytest.raises(ValueError, match="no study was kept of 5") as caught:
        prepare(root, tmp_path / "out", "--reports", str(table))
    said = str(caught.value) + "".join(capfd.readouterr())
    assert not [identity for identity in IDENTITIES if identity.lower() in said.replace(str(tmp_path), "").lower()]
