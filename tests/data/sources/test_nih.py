"""Source `nih`: both layouts, labels, boxes, splits, and reports that match the labels."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.pipeline.raw_study import PlanContext, Rejection
from data.prepare import main
from data.reports.labeler.labeler import label_sections
from data.sources.nih import NIH_LABELS, NihSource, compose_sections, labels_of
from data.study import load_studies
from vlm.schema.findings import BLANK, FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNLABELED

REAL = Path(__file__).parents[3] / "../shared/data/nih"
PUBLISHED_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient {sex},View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
ROWS = (
    ("00000001_000", "Cardiomegaly|Emphysema", "1", "058Y", "M", "PA"),
    ("00000001_001", "No Finding", "1", "058Y", "M", "AP"),
    ("00000002_000", "No Finding", "2", "013M", "F", "PA"),
    ("00000003_000", "Hernia", "3", "411Y", "F", "PA"),
    ("00000004_000", "Infiltration|Pneumonia", "4", "077Y", "F", "AP"),
)
COMBINATIONS = [
    *((label,) for label in NIH_LABELS),
    *itertools.combinations(NIH_LABELS, 2),
    ("Effusion", "Infiltration", "Nodule", "Consolidation"),
    ("Atelectasis", "Infiltration", "Mass", "Nodule", "Pleural_Thickening"),
    ("Effusion", "Infiltration", "Pneumonia", "Edema"),
    ("Cardiomegaly", "Effusion", "Pneumonia", "Consolidation", "Edema"),
    ("Emphysema", "Fibrosis", "Hernia"),
    tuple(NIH_LABELS),
    (),
]
"""Every pair of labels, and longer combinations from the real table."""


def draw(path: Path, number: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, size=(40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_published(root: Path, *, table: str = "Data_Entry_2017.csv", sex: str = "Gender") -> Path:
    lines = [PUBLISHED_HEADER.format(sex=sex)]
    for number, (image, labels, patient, age, code, view) in enumerate(ROWS):
        draw(root / f"images_{1 + number % 2:03d}/images/{image}.png", number)
        lines.append(f"{image}.png,{labels},0,{patient},{age},{code},{view},2682,2749,0.143,0.143,")
    (root / table).write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def published(tmp_path):
    return write_published(tmp_path / "nih")


@pytest.fixture
def with_table(tmp_path):
    root = tmp_path / "nih"
    lines = ["image,patient,age,sex,view_position,finding_labels"]
    for number, (image, labels, patient, age, sex, view) in enumerate(ROWS):
        draw(root / f"images/{image}.jpg", number)
        lines.append(f"{image}.jpg,{patient.zfill(8)},{age},{sex},{view},{labels}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def plan_of(root, tmp_path, fractions=(0.5, 0.5, 0.0), **options):
    return NihSource(root=root, **options).plan(PlanContext(work=tmp_path, split_fractions=fractions))


def outcomes(root, tmp_path, **options):
    plan = plan_of(root, tmp_path, **options)
    raw_studies = list(plan.raw_studies)
    assert plan.num_studies == len(raw_studies)
    kept = {raw_study.study_id: raw_study for raw_study in raw_studies if not isinstance(raw_study, Rejection)}
    return kept, {raw_study.study_id: raw_study.reason for raw_study in raw_studies if isinstance(raw_study, Rejection)}


def labels(*stated):
    return dict(zip(FINDINGS, labels_of(stated), strict=True))


def test_both_layouts_and_both_published_tables_give_the_same_studies(published, with_table, tmp_path):
    renamed = write_published(tmp_path / "v2020", table="Data_Entry_2017_v2020.csv", sex="Sex")
    (tmp_path / "nih/labels.csv").rename(tmp_path / "labels.csv")
    first, rejected = outcomes(published, tmp_path)
    assert not rejected and len(first) == len(ROWS)
    (tmp_path / "nih/Data_Entry_2017.csv").unlink()
    (tmp_path / "labels.csv").rename(tmp_path / "nih/labels.csv")
    for other in (outcomes(with_table, tmp_path)[0], outcomes(renamed, tmp_path)[0]):
        for name, raw_study in first.items():
            for field in ("subject_id", "split", "labels", "demographics", "view_positions", "findings", "impression"):
                assert getattr(other[name], field) == getattr(raw_study, field)


def test_view_sex_and_age_are_kept_and_an_impossible_age_is_unknown_with_a_note(published, tmp_path):
    kept, _ = outcomes(published, tmp_path)
    first, baby, old = (kept[name] for name in ("00000001_001", "00000002_000", "00000003_000"))
    assert (first.view_positions, first.demographics.sex, first.demographics.age) == (("AP",), "M", 58)
    assert baby.demographics.age == 1
    assert (old.demographics.sex, old.demographics.age) == ("F", None)
    notes = " ".join(plan_of(published, tmp_path).notes)
    assert "1 values of sex or age cannot be read and count as unknown; row 4: age is '411Y'" in notes


def test_an_image_without_a_view_is_frontal(with_table, tmp_path):
    table = with_table / "labels.csv"
    table.write_text(table.read_text().replace("058Y,M,PA", ",,"))
    study = outcomes(with_table, tmp_path)[0]["00000001_000"]
    assert (study.view_positions, study.demographics.sex, study.demographics.age) == (("FRONTAL",), "", None)


def test_no_finding_denies_what_nih_looks_for_and_nothing_else():
    found = labels()
    assert found.pop("No Finding") == POSITIVE
    unlabeled = {"Enlarged Cardiomediastinum", "Fracture", "Support Devices"}
    assert {finding for finding, code in found.items() if code == UNLABELED} == unlabeled
    assert {code for finding, code in found.items() if finding not in unlabeled} == {NEGATIVE}


@pytest.mark.parametrize(
    ("stated", "finding", "code"),
    [
        (("Effusion",), "Pleural Effusion", POSITIVE),
        (("Effusion",), "Pneumothorax", NEGATIVE),
        (("Effusion",), "No Finding", BLANK),
        (("Effusion",), "Lung Opacity", UNLABELED),
        (("Mass",), "Lung Lesion", POSITIVE),
        (("Nodule",), "Lung Lesion", POSITIVE),
        (("Mass", "Nodule"), "Lung Opacity", UNLABELED),
        (("Pleural_Thickening",), "Pleural Other", POSITIVE),
        (("Infiltration",), "Lung Opacity", POSITIVE),
        (("Infiltration",), "Consolidation", NEGATIVE),
        (("Consolidation",), "Lung Opacity", POSITIVE),
        (("Pneumonia",), "Lung Opacity", UNLABELED),
        (("Emphysema", "Hernia"), "No Finding", UNLABELED),
        (("Emphysema", "Hernia"), "Pneumonia", NEGATIVE),
        (("Emphysema", "Edema"), "No Finding", BLANK),
    ],
)
def test_labels_of_nih_become_findings(stated, finding, code):
    assert labels(*stated)[finding] == code


@pytest.mark.parametrize("stated", COMBINATIONS, ids=lambda stated: "|".join(stated) or "No Finding")
def test_labeler_reads_every_report_as_its_labels(stated):
    allowed = {POSITIVE: {POSITIVE}, NEGATIVE: {NEGATIVE, BLANK}, BLANK: {BLANK}, UNLABELED: {BLANK}}
    for number in range(12):
        sections = compose_sections(stated, f"study {number}", 0)
        for finding, found, label in zip(FINDINGS, label_sections(*sections), labels_of(stated), strict=True):
            # Without one of the 14 findings a report counts as No Finding, also if it states emphysema.
            extra = {POSITIVE} if finding == "No Finding" and label == UNLABELED else set()
            assert found in allowed[label] | extra, (finding, sections)


@pytest.mark.parametrize("stated", COMBINATIONS, ids=lambda stated: "|".join(stated) or "No Finding")
def test_report_states_every_label_and_nothing_that_labels_do_not_say(stated):
    words = {"Effusion": "effusion|pleural fluid", "Infiltration": "infiltrate|opacity", "Edema": "edema"}
    words |= {"Cardiomegaly": "cardiomegaly|enlarge|increased", "Pleural_Thickening": "pleural thickening"}
    for number in range(12):
        text = " ".join(compose_sections(stated, f"study {number}", 0)).lower()
        for label in stated:
            assert re.search(words.get(label, label.lower()), text), (label, text)
        unsaid = "left|right|lobe|both sides|small|mild|severe|bon[ey]|osseous|fracture|mediastin|vascular|tube|device|"
        unsaid += "view|portable|normal chest|compar|prior"
        assert not re.search(unsaid, text), text


def test_normal_reports_deny_effusion_and_describe_heart_and_lungs():
    texts = [" ".join(compose_sections((), f"study {number}", 0)).lower() for number in range(200)]
    for words in ("effusion|pleural spaces|costophrenic", "pneumothorax", "heart|cardiac silh", "lungs are clear"):
        assert sum(bool(re.search(words, text)) for text in texts) > 120, words
    assert len(set(texts)) > 100


def test_wordings_depend_on_study_and_seed_only():
    studies = [f"study {number}" for number in range(50)]
    first = [compose_sections(("Effusion",), study, 0) for study in studies]
    assert first == [compose_sections(("Effusion",), study, 0) for study in studies]
    assert first != [compose_sections(("Effusion",), study, 1) for study in studies]
    assert len(set(first)) > 40


def test_reports_can_be_disabled(published, tmp_path):
    kept, _ = outcomes(published, tmp_path, reports=False)
    assert not any(raw_study.findings or raw_study.impression for raw_study in kept.values())
    assert kept["00000002_000"].labels == labels_of(())


def test_published_boxes_become_fractions_and_their_findings_positive(published, tmp_path):
    (published / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000001_000.png,Cardiomegaly,256,512,512,128,,,\n"
        "00000002_000.png,Infiltrate,0,0,102.4,1024,,,\n"
    )
    kept, _ = outcomes(published, tmp_path)
    [box] = kept["00000001_000"].boxes
    assert (FINDINGS[box.finding], box.view, box.box) == ("Cardiomegaly", 0, (0.25, 0.5, 0.75, 0.625))
    infiltrate = kept["00000002_000"]
    assert infiltrate.boxes[0].box == pytest.approx((0, 0, 0.1, 1))
    assert infiltrate.labels == labels_of(("Infiltration",))
    assert "2 boxes; 1 images have a box of a finding that their labels lack." in plan_of(published, tmp_path).notes


def test_boxes_that_cannot_be_used_are_noted(with_table, tmp_path):
    (with_table / "boxes.csv").write_text(
        "image,label,x,y,w,h,coordinates\n"
        "00000001_000.jpg,Cardiomegaly,256,512,512,128,of 1024 x 1024\n"
        "00000001_000.jpg,Cardiomegaly,900,512,512,128,of 1024 x 1024\n"
        "00000001_000.jpg,Cardiomegaly,1,2,3,4,of 320 x 320\n"
        "00000001_000.jpg,Hernia,1,2,3,4,of 1024 x 1024\n"
        "00000001_000.jpg,Edema,1,2,x,4,of 1024 x 1024\n"
        "00000099_000.jpg,Edema,1,2,3,4,of 1024 x 1024\n"
    )
    kept, rejected = outcomes(with_table, tmp_path)
    assert len(kept["00000001_000"].boxes) == 1 and not rejected
    [note] = [note for note in plan_of(with_table, tmp_path).notes if "cannot be used" in note]
    assert note.startswith("5 boxes cannot be used; row 2 of boxes.csv: it is not within the 1024 x 1024 pixels")


def test_test_list_is_the_test_split_and_no_patient_is_in_two(published, tmp_path):
    (published / "test_list.txt").write_text("00000001_001.png\n00000002_000.png\n")
    (published / "train_val_list.txt").write_text("00000001_000.png\n00000003_000.png\n00000004_000.png\n")
    kept, rejected = outcomes(published, tmp_path, fractions=(0.4, 0.4, 0.2))
    assert {name for name, raw_study in kept.items() if raw_study.split == "test"} == {"00000001_001", "00000002_000"}
    assert {kept[name].split for name in ("00000003_000", "00000004_000")} == {"train", "validation"}
    assert "patient 00000001 is also in the split test" in rejected["00000001_000"]
    assert "test_list.txt is the test split (2 patients)." in plan_of(published, tmp_path).notes


def test_without_a_test_list_all_patients_are_split_by_fractions(published, tmp_path):
    kept, rejected = outcomes(published, tmp_path, fractions=(0.5, 0.25, 0.25))
    assert not rejected and {raw_study.split for raw_study in kept.values()} == {"train", "validation", "test"}
    assert kept["00000001_000"].split == kept["00000001_001"].split


def test_invalid_rows_are_rejected_with_the_reason(with_table, tmp_path):
    with (with_table / "labels.csv").open("a") as file:
        file.write("a.jpg,,,,,No Finding\n,5,,,,No Finding\nb.jpg,5,,,,Covid\nc.jpg,5,,,,No Finding|Mass\n")
        file.write("d.jpg,5,,,,Mass\ne.jpg,5\nf.jpg,5,,,,\n")
    kept, rejected = outcomes(with_table, tmp_path)
    assert len(kept) == len(ROWS)
    assert rejected == {
        "a": "row 6 of labels.csv names no patient; without one it cannot be kept out of two splits",
        "row 7": "row 7 of labels.csv names no image",
        "b": rejected["b"],
        "c": "row 9 of labels.csv has the label No Finding beside others: No Finding|Mass",
        "d": "row 10 of labels.csv names d.jpg, which is not in images/ or images_*/images/",
        "row 11": "row 11 has 2 fields, the header has 6",
        "f": rejected["f"],
    }
    assert "the label 'Covid', which is none of No Finding, Atelectasis" in rejected["b"]
    assert "the label '', which is none of" in rejected["f"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "Data_Entry_2017.csv").unlink(), "has none of the tables Data_Entry_2017_v2020.csv"),
        (
            lambda root: (root / "Data_Entry_2017.csv").write_text("a,b\n1,2\n"),
            "has no column 'Image Index' or 'image'",
        ),
        (lambda root: (root / "BBox_List_2017.csv").write_text("a,b\n1,2\n"), "BBox_List_2017.csv has no column"),
        (lambda root: (root / "train_val_list.txt").write_text("x.png"), "but not test_list.txt, which names the test"),
        (
            lambda root: [path.rename(root / f"x{path.name}") for path in root.glob("images_*")],
            "but no images in images/",
        ),
        (lambda root: root.rename(root.parent / "moved"), "is not a folder; name the one with the X-rays of NIH"),
    ],
)
def test_folder_that_lacks_something_is_rejected(published, change, message, tmp_path):
    change(published)
    with pytest.raises(ValueError, match=message):
        plan_of(published, tmp_path)


def test_prepared_data_set_has_labels_boxes_reports_and_license(published, tmp_path, capsys):
    (published / "images_001/images/00000001_000.png").write_bytes(b"no image")
    (published / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000004_000.png,Pneumonia,256,512,512,128,,,\n"
    )
    out = tmp_path / "out"
    main(["nih", "--root", str(published), "--out", str(out), "--num-workers", "1"])
    assert "given 5 = kept 4 + rejected 1" in " ".join(capsys.readouterr().out.split())
    rows = {row["study_id"]: row for split in load_studies(out).values() for row in split}
    row = rows["00000004_000"]
    assert row["labels"][FINDING_INDEX["Pneumonia"]] == POSITIVE and row["label_source"] == "source"
    assert row["boxes"] == [{"finding": FINDING_INDEX["Pneumonia"], "view": 0, "box": [0.25, 0.5, 0.75, 0.625]}]
    assert "pneumonia" in f"{row['findings']} {row['impression']}".lower()
    assert (row["sex"], row["age"], row["view_positions"], row["source"]) == ("F", 77, ["AP"], "nih")
    assert "Wang et al., CVPR 2017" in row["license"]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real X-rays of NIH at {REAL}")
def test_real_folder_is_read_completely(tmp_path):
    kept, rejected = outcomes(REAL, tmp_path)
    assert len(kept) == 1706 and not rejected
    assert sum(len(raw_study.boxes) for raw_study in kept.values()) == 44
    for raw_study in kept.values():
        read = label_sections(raw_study.findings, raw_study.impression)
        labeled = [pair for pair in zip(read, raw_study.labels, strict=True) if pair[1] != UNLABELED]
        assert all((found == POSITIVE) == (label == POSITIVE) for found, label in labeled), raw_study
