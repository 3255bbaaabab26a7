"""Source `open_i` with unpacked files, Kaggle's tables, R2Gen's split and broken XML."""

import csv
import re
from pathlib import Path

import pytest

from data.sources.open_i_archives import image_key
from data.sources.open_i_reports import parse_report, view_position
from tests.helpers.sources.open_i import annotation, given, image_bytes, pack, packed, report, unpacked

SAMPLES = Path(__file__).parents[3] / "../shared/data/openi_samples"


def table(path: Path, rows: list[dict]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def kaggle(root: Path) -> Path:
    (root / "images" / "images_normalized").mkdir(parents=True)
    text = {"MeSH": "Opacity/lung/base;Spine/degenerative", "image": "PA and lateral chest", "indication": "Cough."}
    text |= {"comparison": "", "findings": "Clear.", "impression": ""}
    table(root / "indiana_reports.csv", [{"uid": 1, **text}, {"uid": 2, **text}])
    files = ["1_IM-0001-4001.dcm.png", "1_IM-0001-3001.dcm.png"]
    views = ["Frontal", "Lateral"]
    rows = [{"uid": 1, "filename": file, "projection": view} for file, view in zip(files, views, strict=True)]
    table(root / "indiana_projections.csv", rows)
    for file in files:
        (root / "images" / "images_normalized" / file).write_bytes(image_bytes())
    return root


def test_kaggle_files_have_views_and_mesh_terms(tmp_path):
    kept, rejected, _ = given(kaggle(tmp_path / "root"))
    raw_study = kept["CXR1"]
    assert raw_study.files == ("1_IM-0001-4001.dcm.png", "1_IM-0001-3001.dcm.png")
    assert raw_study.view_positions == ("PA", "LATERAL")
    assert raw_study.mesh_terms == ("Opacity/lung/base", "Spine/degenerative")
    assert (raw_study.indication, raw_study.findings) == ("Cough.", "Clear.")
    assert rejected == {"CXR2": "indiana_reports.csv row 2 names no image"}


def test_kaggle_projections_give_views_for_xml_reports(tmp_path):
    root = unpacked(
        tmp_path / "root", {"1.xml": report(1, images=("CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"), caption="AP")}
    )
    rows = [
        {"uid": 1, "filename": "1_IM-0001-3001.dcm.png", "projection": "Lateral"},
        {"uid": 1, "filename": "1_IM-0001-4001.dcm.png", "projection": "Frontal"},
    ]
    table(root / "indiana_projections.csv", rows)
    assert given(root)[0]["CXR1"].view_positions == ("LATERAL", "AP")


@pytest.mark.parametrize(
    ("projection", "caption", "expected"),
    [
        ("FRONTAL", "Xray Chest PA and Lateral", "PA"),
        ("FRONTAL", "AP chest", "AP"),
        ("FRONTAL", "AP and PA views", "FRONTAL"),
        ("FRONTAL", "2 views of the chest, CAPS", "FRONTAL"),
        ("LATERAL", "PA and lateral", "LATERAL"),
        ("", "PA", ""),
    ],
)
def test_frontal_view_is_pa_or_ap_if_the_caption_names_one(projection, caption, expected):
    assert view_position(projection, caption) == expected


def test_annotation_split_is_used_and_unlisted_studies_are_rejected_or_trained_on(tmp_path):
    root = packed(tmp_path / "root", (1, 2, 3, 4))
    listed = annotation(tmp_path / "a.json", train=["CXR1_IM-01"], val=["CXR2_IM-02"], test=["CXR3_IM-03"])
    kept, rejected, notes = given(root, annotation=listed)
    assert [raw_study.split for raw_study in kept.values()] == ["train", "validation", "test"]
    assert list(rejected) == ["CXR4"] and "is not in" in rejected["CXR4"]
    assert f"split of {listed}; 1 studies are not in it (--unlisted reject)." in notes
    kept, rejected, _ = given(root, annotation=listed, unlisted="train")
    assert (kept["CXR4"].split, rejected) == ("train", {})


def test_r2gen_images_and_texts_are_used_if_there_are_no_others(tmp_path):
    root = tmp_path / "root"
    (root / "images" / "CXR1_IM-01").mkdir(parents=True)
    (root / "images" / "CXR1_IM-01" / "0.png").write_bytes(image_bytes())
    listed = annotation(tmp_path / "a.json", train=["CXR1_IM-01"], test=["CXR2_IM-02"])
    kept, rejected, _ = given(root, annotation=listed)
    assert (kept["CXR1"].files, kept["CXR1"].findings) == (("CXR1_IM-01/0.png",), "Clear.")
    assert rejected == {"CXR2": "a.json names no image, and CXR2_IM-02/0.png does not exist"}
    unpacked(root / "text", {"1.xml": report(1)})
    for path in root.glob("text/*.png"):
        path.unlink()
    rows = [{"uid": 1, "filename": f"1_IM-01-{name}.dcm.png", "projection": "Frontal"} for name in ("1001", "2001")]
    table(root / "indiana_projections.csv", rows)
    raw_study = given(root, annotation=listed)[0]["CXR1"]
    assert (raw_study.files, raw_study.view_positions) == (("CXR1_IM-01/0.png",), ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (report(1)[:-40].encode(), r"^1\.xml is damaged or cut short \(.*\); download it again$"),
        (report(1, FINDINGS="H\xf6he").encode("latin-1"), r"^1\.xml is damaged or cut short \(not well-formed"),
        (b"", r"^1\.xml is damaged or cut short"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', r"^1\.xml is damaged or cut short"),
        (b"<eCitation/>", r"^1\.xml has no uId such as CXR12; is it a report of Open-i\?$"),
        (b"<!DOCTYPE a [<!ENTITY b 'x'>]><a>&b;</a>", r"^1\.xml has a document type or entities"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', r"^1\.xml has a document type or entities"),
        (b" " * (2**20 + 1), r"^1\.xml has more than 1048576 bytes; is it a report\?$"),
        (b"<a>" * 50_000, r"^1\.xml is damaged or cut short"),
    ],
)
def test_invalid_xml_report_is_rejected_with_the_reason(content, message):
    parsed = parse_report(content, origin="1.xml")
    assert parsed.study_id == "CXR1"
    assert re.search(message, parsed.error)


def test_deeply_nested_sections_are_parsed_fast():
    num_sections = 20_000
    nested = '<AbstractText Label="FINDINGS">' * num_sections + "Clear." + "</AbstractText>" * num_sections
    parsed = parse_report(f'<a><uId id="CXR1"/><Abstract>{nested}</Abstract></a>'.encode(), origin="1.xml")
    assert parsed.findings == "Clear."


def test_every_report_is_kept_or_rejected(tmp_path):
    texts = {
        "1.xml": report(1),
        "2.xml": report(2)[:200],
        "3.xml": report(3, FINDINGS="", IMPRESSION=" "),
        "4.xml": report(4, images=()),
        "5.xml": report(5),
        "7.xml": report(7),
        "8.xml": report(7, FINDINGS="Another text."),
    }
    root = unpacked(tmp_path / "root", texts)
    (root / "CXR5_IM-05-2001.png").unlink()
    (root / "CXR6_IM-06-1001.png").write_bytes(image_bytes())
    kept, rejected, _ = given(root)
    assert list(kept) == ["CXR1"]
    assert "2.xml is damaged or cut short" in rejected["CXR2"]
    assert rejected["CXR3"] == "3.xml has neither findings nor impression"
    assert rejected["CXR4"] == "4.xml names no image"
    assert rejected["CXR5"] == f"image 5_IM-05-2001 of 5.xml is not in {root}"
    assert rejected["CXR6"] == "has images, but no report of it was found"
    assert rejected["CXR7"] == "occurs with different texts in 7.xml, 8.xml; keep one"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CXR1_1_IM-0001-3001.png", "1_IM-0001-3001"),
        ("1_IM-0001-3001.dcm.png", "1_IM-0001-3001"),
        ("NLMCXR_dcm/1/1_IM-0001-3001.dcm", "1_IM-0001-3001"),
        ("CXR21_IM-0729-1001-0001", "21_IM-0729-1001-0001"),
        ("IM-0001.png", ""),
        ("CXR1_IM-0001-3001.png.part", ""),
    ],
)
def test_image_has_one_key_for_all_its_names(name, key):
    assert image_key(name) == key


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no reports of Open-i: neither NLMCXR_reports\.tgz nor its XML files, nor Kaggle's"),
        ({"NLMCXR_reports.tgz": b"<html>not found</html>"}, r"NLMCXR_reports\.tgz ends early or is damaged after 0"),
        ({"indiana_reports.csv": b"uid,findings\n1,a\n"}, r"needs indiana_projections\.csv, which names the images"),
        (
            {"indiana_projections.csv": b"uid,filename\n", "indiana_reports.csv": b"uid\n1\n"},
            r"indiana_projections\.csv lacks the column projection; it has uid, filename; download it again",
        ),
        (
            {"indiana_projections.csv": "uid,filename,projection\n".encode("utf-16")},
            r"indiana_projections\.csv is UTF-16 text; save it as UTF-8",
        ),
        (
            {
                "indiana_projections.csv": b"uid,filename,projection\n1,1_IM-0001-1001.dcm.png,Frontal\n",
                "indiana_reports.csv": b"uid,findings,impression\n1,H\xf6he,\n",
            },
            r"indiana_reports\.csv is not UTF-8 text",
        ),
        ({"a.json": b"[]"}, r"a\.json must be an object with the splits train, val and test"),
        ({"a.json": b'{"train": [{"id": "12"}]}'}, r"a\.json: entry 0 of train: '12' is not a study of Open-i"),
        ({"a.json": b'{"train": [{"id": "CXR1"}]}'}, r"a\.json: entry 0 of train: lacks 'image_path'"),
        ({"a.json": b'{"train": '}, r"a\.json is not JSON"),
    ],
)
def test_unreadable_file_is_named_in_the_error(tmp_path, files, message):
    (tmp_path / "root").mkdir()
    for name, content in files.items():
        (tmp_path / "root" / name).write_bytes(content)
    listed = tmp_path / "root" / "a.json" if "a.json" in files else None
    with pytest.raises(ValueError, match=message):
        given(tmp_path / "root", annotation=listed)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not at ../shared/data/openi_samples")
def test_real_files_of_nlm_and_kaggle_give_the_same_studies(tmp_path):
    def with_images(root, files):
        root.mkdir()
        for name in files:
            (root / name).symlink_to((SAMPLES / name).resolve())
        for name in re.findall(r"\d+_IM[^,]*\.png", (SAMPLES / "indiana_projections.csv").read_text()):
            (root / name).write_bytes(image_bytes())
        return root

    kaggle_studies, *_ = given(with_images(tmp_path / "kaggle", ["indiana_reports.csv", "indiana_projections.csv"]))
    root = with_images(tmp_path / "library", ["indiana_projections.csv"])
    pack(
        root / "NLMCXR_reports.tgz",
        {f"ecgen-radiology/{path.name}": path.read_bytes() for path in (SAMPLES / "ecgen-radiology").glob("*.xml")},
    )
    library_studies, rejected, _ = given(root, annotation=SAMPLES / "annotation.json")
    assert (len(library_studies), len(rejected)) == (40, 9)
    for study_id, raw_study in library_studies.items():
        other = kaggle_studies[study_id]
        assert (raw_study.findings, raw_study.impression, raw_study.mesh_terms) == (
            other.findings,
            other.impression,
            other.mesh_terms,
        )
        views = dict(zip(raw_study.files, raw_study.view_positions, strict=True))
        assert views == dict(zip(other.files, other.view_positions, strict=True))
