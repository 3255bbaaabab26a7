"""Source `kermany`: both layouts, splits, and reports that match the labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.pipeline.raw_study import PlanContext, Rejection
from data.prepare import main
from data.reports.labeler.labeler import label_report
from data.sources.kermany import IMAGE_CLASSES, KermanySource, all_wordings, compose_sections, labels_of
from data.study import load_studies
from vlm.schema.findings import BLANK, FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNLABELED

REAL = Path(__file__).parents[3] / "../shared/data/pneumonia"
PNEUMONIA, NO_FINDING = FINDING_INDEX["Pneumonia"], FINDING_INDEX["No Finding"]


def draw(path: Path, number: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, size=(40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def published(tmp_path):
    """Eight training patients and two test patients."""
    root = tmp_path / "chest_xray"
    for number in range(4):
        draw(root / f"train/NORMAL/IM-{number:04d}-0001.jpeg", number)
        draw(root / f"train/PNEUMONIA/person{80 + number}_virus_{number}.jpeg", 10 + number)
    draw(root / "val/NORMAL/NORMAL2-IM-1427-0001.jpeg", 30)
    draw(root / "test/NORMAL/NORMAL2-IM-0007-0001.jpeg", 31)
    draw(root / "test/PNEUMONIA/person80_bacteria_1.jpeg", 32)
    return root


@pytest.fixture
def with_table(tmp_path):
    root = tmp_path / "pneumonia"
    rows = [("a.webp", "n1", "normal"), ("b.webp", "p1", "bacterial_pneumonia"), ("c.webp", "p1", "viral_pneumonia")]
    for number, (name, _, _) in enumerate(rows):
        draw(root / "images" / name, number)
    (root / "labels.csv").write_text("image,patient,label\n" + "".join(",".join(row) + "\n" for row in rows))
    return root


def outcomes(root, tmp_path, fractions=(0.5, 0.5, 0.0), **options):
    plan = KermanySource(root=root, **options).plan(PlanContext(work=tmp_path, split_fractions=fractions))
    raw_studies = list(plan.raw_studies)
    assert plan.num_studies == len(raw_studies)
    kept = {raw_study.study_id: raw_study for raw_study in raw_studies if not isinstance(raw_study, Rejection)}
    return kept, {raw_study.study_id: raw_study.reason for raw_study in raw_studies if isinstance(raw_study, Rejection)}


def test_test_folder_is_the_test_split_and_other_patients_are_split(published, tmp_path):
    kept, rejected = outcomes(published, tmp_path)
    assert not rejected
    assert {name for name, raw_study in kept.items() if raw_study.split == "test"} == {
        "NORMAL2-IM-0007-0001",
        "person80_bacteria_1",
    }
    assert {raw_study.split for raw_study in kept.values()} == {"train", "validation", "test"}
    assert kept["NORMAL2-IM-1427-0001"].subject_id == "NORMAL2-IM-1427"
    assert kept["NORMAL2-IM-1427-0001"].split in ("train", "validation")
    # Bacterial and viral patients are numbered separately: both have a number 80.
    assert kept["person80_virus_0"].subject_id == "person80_virus"
    assert kept["person80_virus_0"].split != "test"


def test_patients_with_the_same_number_are_in_one_split(published, tmp_path):
    for number in range(81, 84):
        draw(published / f"train/PNEUMONIA/person{number}_bacteria_9.jpeg", number)
    kept, _ = outcomes(published, tmp_path)
    for number in range(81, 84):
        assert kept[f"person{number}_bacteria_9"].split == kept[f"person{number}_virus_{number - 80}"].split


def test_patient_in_the_test_folder_is_not_in_train(published, tmp_path):
    draw(published / "train/PNEUMONIA/person80_bacteria_2.jpeg")
    kept, rejected = outcomes(published, tmp_path)
    assert "person80_bacteria is also in the split test" in rejected["person80_bacteria_2"]
    assert "person80_bacteria_2" not in kept


def test_without_a_test_folder_all_patients_are_split_by_fractions(published, tmp_path):
    kept, _ = outcomes(published / "train", tmp_path, fractions=(0.25, 0.25, 0.5))
    splits = [raw_study.split for raw_study in kept.values()]
    assert [splits.count(name) for name in ("train", "validation", "test")] == [2, 2, 4]


def test_test_folder_alone_is_the_test_split(published, tmp_path):
    kept, _ = outcomes(published / "test", tmp_path)
    assert {raw_study.split for raw_study in kept.values()} == {"test"}


def test_files_without_patient_or_image_name_are_rejected(published, tmp_path):
    draw(published / "train/PNEUMONIA/scan7.jpeg")
    draw(published / "train/NORMAL/person3_virus_5.jpeg")
    (published / "train/NORMAL/Thumbs.db").write_bytes(b"x")
    (published / "train/NORMAL/.DS_Store").write_bytes(b"x")
    draw(published / "__MACOSX/train/NORMAL/IM-0001-0001.jpeg")
    kept, rejected = outcomes(published, tmp_path)
    assert "contains no patient; expected a name like person1_bacteria_2.jpeg" in rejected["scan7"]
    assert "contains no patient; expected a name like IM-0115-0001.jpeg" in rejected["person3_virus_5"]
    assert "does not have the name of an image" in rejected["Thumbs"]
    assert len(kept) == 11 and len(rejected) == 3


def test_table_layout_uses_its_patient_column(with_table, tmp_path):
    kept, rejected = outcomes(with_table, tmp_path)
    assert {name: raw_study.subject_id for name, raw_study in kept.items()} == {"a": "n1", "b": "p1", "c": "p1"}
    assert kept["b"].split == kept["c"].split
    assert not rejected


def test_invalid_table_rows_are_rejected_with_the_reason(with_table, tmp_path):
    with (with_table / "labels.csv").open("a") as file:
        file.write("d.webp,,normal\n,p2,normal\ne.webp,p3,covid\nf.webp,p4\n")
    kept, rejected = outcomes(with_table, tmp_path)
    assert "row 4 of labels.csv names no patient" in rejected["d"]
    assert "row 5 of labels.csv names no image" in rejected["row 5"]
    assert "the label 'covid', which is none of normal, bacterial_pneumonia" in rejected["e"]
    assert "row 7 has 2 fields, the header has 3" in " ".join(rejected.values())
    assert len(kept) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "is not a folder; name the one with the pneumonia X-rays"),
        (lambda root: root.mkdir(), r"neither labels.csv with images/ nor images in folders NORMAL and PNEUMONIA"),
        (lambda root: (root.mkdir(), (root / "labels.csv").write_text("x")), "but no folder images"),
    ],
)
def test_folder_with_neither_layout_is_rejected(make, message, tmp_path):
    make(tmp_path / "root")
    with pytest.raises(ValueError, match=message):
        outcomes(tmp_path / "root", tmp_path)


def test_fractions_without_share_for_train_and_validation_are_rejected(published, tmp_path):
    with pytest.raises(ValueError, match="has no share for the rest; give one, for example"):
        outcomes(published, tmp_path, fractions=(0.0, 0.0, 1.0))


def test_prepared_data_set_has_labels_reports_and_license(published, tmp_path, capsys):
    (published / "train/NORMAL/IM-0009-0001.jpeg").write_bytes(b"no image")
    out = tmp_path / "out"
    main(["kermany", "--root", str(published), "--out", str(out), "--num-workers", "1"])
    assert "given 12 = kept 11 + rejected 1" in " ".join(capsys.readouterr().out.split())
    studies = load_studies(out)
    rows = {row["study_id"]: row for split in studies.values() for row in split}
    row = rows["person80_bacteria_1"]
    assert row["labels"][PNEUMONIA] == POSITIVE and row["labels"][NO_FINDING] == BLANK
    assert row["labels"].count(UNLABELED) == 12
    assert "bacterial" in f"{row['findings']} {row['impression']}"
    assert (row["source"], row["license"]) == ("kermany", "CC BY 4.0")
    normal = rows["IM-0001-0001"]["labels"]
    assert normal[PNEUMONIA] == NEGATIVE and normal[NO_FINDING] == POSITIVE
    assert normal.count(NEGATIVE) == 13  # a normal image denies all findings


def test_studies_are_shuffled_in_a_fixed_order(tmp_path):
    for number in range(40):
        draw(tmp_path / f"root/NORMAL/IM-{number:04d}-0001.jpeg", number)
        draw(tmp_path / f"root/PNEUMONIA/person{number}_virus_1.jpeg", number)
    kept, _ = outcomes(tmp_path / "root", tmp_path)
    assert 5 < sum(name.startswith("IM") for name in list(kept)[:30]) < 25
    assert list(outcomes(tmp_path / "root", tmp_path)[0]) == list(kept)


def test_reports_can_be_disabled(published, tmp_path):
    kept, _ = outcomes(published, tmp_path, reports=False)
    assert not any(raw_study.findings or raw_study.impression for raw_study in kept.values())
    assert all(raw_study.labels != (UNLABELED,) * 14 for raw_study in kept.values())


@pytest.mark.parametrize("image_class", IMAGE_CLASSES)
def test_labeler_reads_every_wording_as_its_label(image_class):
    # A normal image denies more than its report mentions ("the lungs are clear" denies Lung Opacity).
    mentioned = {PNEUMONIA, NO_FINDING}
    for findings, impression in all_wordings(image_class):
        read = label_report(f"Findings: {findings} Impression: {impression}")
        for index, (found, label) in enumerate(zip(read, labels_of(image_class), strict=True)):
            if index in mentioned:
                assert found == label, (FINDINGS[index], findings, impression)
            elif index == FINDING_INDEX["Lung Opacity"] and label == NEGATIVE:
                assert found in (BLANK, NEGATIVE)
            else:
                assert found == BLANK, (FINDINGS[index], findings, impression)


@pytest.mark.parametrize("image_class", IMAGE_CLASSES)
def test_report_names_the_kind_of_pneumonia_and_no_location(image_class):
    kinds = {kind for kind in ("bacterial", "viral") if image_class.startswith(kind)}
    for findings, impression in all_wordings(image_class):
        text = f"{findings} {impression}".lower()
        assert {kind for kind in ("bacterial", "viral") if kind in text} == kinds
        assert not any(word in text for word in ("left", "right", "lobe", "heart", "effusion"))


def test_wordings_vary_between_studies_and_are_reproducible():
    sections = [compose_sections("viral_pneumonia", f"study {number}", 0) for number in range(200)]
    assert len(set(sections)) > 40
    assert sections == [compose_sections("viral_pneumonia", f"study {number}", 0) for number in range(200)]
    assert sections != [compose_sections("viral_pneumonia", f"study {number}", 1) for number in range(200)]
    assert len(set(all_wordings("viral_pneumonia"))) == len(set(all_wordings("bacterial_pneumonia"))) > 50


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real pneumonia X-rays at {REAL}")
def test_real_folder_is_read_completely(tmp_path):
    kept, rejected = outcomes(REAL, tmp_path, fractions=(0.8, 0.2, 0.0))
    assert len(kept) == 5216 and not rejected
    train = {raw_study.subject_id for raw_study in kept.values() if raw_study.split == "train"}
    assert not train & {raw_study.subject_id for raw_study in kept.values() if raw_study.split == "validation"}
    assert sum("viral" in f"{raw_study.findings} {raw_study.impression}".lower() for raw_study in kept.values()) == 1345
