"""The audit finds every problem of a bad data set, and none in a good one."""

import json
import os
import shutil

import datasets
import pytest

from data.audit.__main__ import main
from data.audit.collect import study_traits
from data.audit.document import audit
from data.audit.page import render_audit
from data.pipeline.rejected import kind_of_reason, rejections
from tests.helpers.audited import EVIL, audited, no_progress, phantom, row, write
from vlm.schema.findings import FINDING_INDEX, UNLABELED_STUDY


def texts(document, severity):
    return [problem["text"] for problem in document["verdict"]["problems"] if problem["severity"] == severity]


def ids(entries):
    return [entry["study_id"] for entry in entries["listed"]]


def test_patient_in_two_splits_is_the_first_error(document):
    [crossing] = document["subjects_across_splits"]["listed"]
    assert crossing == {"subject_id": "crossing", "studies": {"train": ["study-1"], "test": ["study-20"]}}
    assert document["verdict"]["headline"] == "Not ready to train: 1 patient in more than one split"
    assert not document["verdict"]["ready"]


def test_identical_pixels_in_two_splits_are_an_error(document):
    [group] = document["images"]["identical"]["listed"]
    assert group["relation"] == "across splits"
    assert [one["study_id"] for one in group["images"]] == ["study-0", "study-21"]
    assert "1 image in more than one split, with identical pixels" in texts(document, "error")


def test_cropped_and_darkened_copy_is_found_across_splits(document):
    [pair] = [*document["images"]["altered"]["listed"], *document["images"]["similar"]["listed"]]
    assert pair["relation"] == "across splits"
    assert [one["study_id"] for one in pair["images"]] == ["study-2", "study-22"]


def test_damaged_image_is_reported_and_the_audit_continues(document):
    assert ids(document["images"]["damaged"]) == ["study-4"]
    assert "damaged or cut short" in document["images"]["damaged"]["listed"][0]["reason"]
    assert document["splits"]["train"]["studies"] == 9


def test_blank_images_and_burned_in_text_are_listed(document):
    assert ids(document["images"]["blank"]) == ["study-5"]
    assert ids(document["images"]["burned_in"]) == ["study-3"]


def test_identifiers_in_text_are_listed_by_kind_and_never_quoted(document, bad):
    [found] = document["identifiers"]["listed"]
    assert found["study_id"] == "study-3"
    assert found["kinds"] == {"date": 1, "name": 1}
    page = render_audit(document, num_samples=3, seed=0)
    assert "Jane" not in page + json.dumps(document)


def test_repeated_study_id_is_an_error(document):
    assert document["repeated_study_ids"]["listed"] == [{"study_id": EVIL, "count": 2}]
    assert "1 study id used by more than one study" in texts(document, "error")


def test_long_report_with_one_changed_word_is_a_near_copy(document):
    [pair] = document["reports"]["near"]["listed"]
    assert [one["study_id"] for one in pair["studies"]] == ["study-2", "study-21"]
    assert 0.8 <= pair["similarity"] < 1
    assert document["reports"]["equal"]["listed"] == []


def test_sentences_about_a_prior_study_are_counted(document):
    train = document["splits"]["train"]
    assert (train["prior_sentences"], train["reports_with_prior"]) == (1, 1)


def test_missing_sections_are_counted(document):
    assert document["splits"]["train"]["missing_sections"] == {"indication": 9, "findings": 1, "impression": 8}


def test_empty_validation_split_is_a_warning(document):
    assert "the split validation is empty" in texts(document, "warning")


def test_rejections_are_counted_by_kind_and_invalid_lines_skipped(document):
    rejected = document["rejected"]
    assert (rejected["studies"], rejected["images"], rejected["unreadable_lines"]) == (2, 1, 1)
    assert [(one["kind"], one["count"]) for one in rejected["reasons"]] == [
        ("…: is empty (# bytes)", 2),
        ("too small", 1),
    ]


def test_good_data_set_is_ready_and_has_no_copies(small_dataset):
    document = audited(small_dataset)
    assert document["verdict"]["ready"]
    assert not document["verdict"]["headline"].startswith("Not")
    for kind in ("identical", "altered"):
        assert sum(document["images"][kind]["count"].values()) == 0
    counts = document["splits"]["train"]
    assert (counts["studies"], counts["reports"], counts["subjects"]) == (16, 16, 13)
    assert sum(counts["report_words"]["histogram"]) == 16
    assert all(sum(states.values()) == 16 for states in counts["findings"].values())


def test_worker_processes_give_the_same_document(bad, document, monkeypatch):
    monkeypatch.setattr("data.audit.document.MIN_PARALLEL", 0)
    assert audit(bad, num_workers=2, track=no_progress) == {
        name: document[name] for name in document if name != "verdict"
    }


def test_labels_are_compared_with_the_report(tmp_path):
    labels = list(UNLABELED_STUDY)
    labels[FINDING_INDEX["Pleural Effusion"]] = 1
    labels[FINDING_INDEX["Edema"]] = 1
    rows = [
        row(0, phantom(0), labels=labels, findings="There is a pleural effusion. No edema."),
        row(1, phantom(1), labels=labels, findings="Pulmonary edema is present."),
    ]
    agreement = audited(write(tmp_path / "set", train=rows))["label_agreement"]
    assert agreement["findings"]["Pleural Effusion"] == {"both": 1, "label_only": 1, "report_only": 0, "f1": 0.6667}
    assert agreement["findings"]["Edema"]["f1"] == 0.6667
    assert agreement["findings"]["Fracture"]["f1"] is None
    assert agreement["micro_f1"] == 0.6667


def test_image_outside_the_data_set_is_not_read():
    outside = row(0, phantom(0), images=[{"bytes": None, "path": "/etc/passwd"}, None])
    for image in study_traits(outside).images:
        assert "not inside the data set" in image.error


def test_program_writes_both_files_beside_the_data_set(bad, capsys):
    before = sorted(path.name for path in bad.rglob("*"))
    assert main([str(bad), "--num-workers", "1", "--num-samples", "2"]) is False
    assert "Not ready to train: 1 patient in more than one split" in capsys.readouterr().out
    written = bad.with_name("bad_audit")
    assert sorted(path.name for path in written.iterdir()) == ["audit.html", "audit.json"]
    assert json.loads((written / "audit.json").read_text(encoding="utf-8"))["verdict"]["ready"] is False
    assert sorted(path.name for path in bad.rglob("*")) == before


def test_folder_that_is_no_data_set_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="is not a prepared data set"):
        main([str(tmp_path)])
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; name a folder"):
        main([str(tmp_path), "--output-dir", str(tmp_path / "file")])


def test_truncated_data_set_is_reported(small_dataset, tmp_path):
    shutil.copytree(small_dataset, tmp_path / "cut")
    [shard] = (tmp_path / "cut" / "train").glob("data-*.arrow")
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"cut is damaged or incomplete .* copy it again"):
        main([str(tmp_path / "cut")])


def test_page_escapes_text_and_has_no_script(document):
    page = render_audit(document, num_samples=20, seed=0)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "Patients in more than one split: 1" in page


def test_contact_sheet_depends_on_the_seed_only(document):
    pages = [render_audit(document, num_samples=3, seed=seed) for seed in (0, 0, 1)]
    assert pages[0] == pages[1] != pages[2]


def test_reasons_are_grouped_without_names_and_numbers():
    entry = {"study_id": "s12", "reason": "study s12: /a/b/12.png has 30 bytes", "files": ["/a/b/12.png"]}
    assert kind_of_reason(entry) == "study …: … has # bytes"


def test_data_set_without_a_list_of_rejections_has_none(tmp_path):
    assert rejections(tmp_path) == {"studies": 0, "images": 0, "unreadable_lines": 0, "reasons": []}


def test_data_set_from_before_version_0_2_0_is_audited(small_dataset, tmp_path):
    folder = tmp_path / "old"
    rows = datasets.load_from_disk(str(small_dataset))
    if "mesh_terms" in rows["train"].column_names:
        rows = datasets.DatasetDict({split: part.rename_column("mesh_terms", "mesh") for split, part in rows.items()})
    rows.save_to_disk(str(folder))
    old_entries = [
        {"refused": "study", "study_id": "a1", "reason": "a1.png: is empty (0 bytes)", "files": ["a1.png"]},
        {"refused": "image", "study_id": "a2", "reason": "a2.png: is empty (9 bytes)", "files": ["a2.png"]},
    ]
    (folder / "refused.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in old_entries))
    document = audited(folder)
    assert document["verdict"]["ready"]
    rejected = document["rejected"]
    assert (rejected["studies"], rejected["images"], rejected["unreadable_lines"]) == (1, 1, 0)
    assert [(one["rejected"], one["kind"], one["count"]) for one in rejected["reasons"]] == [
        ("studies", "…: is empty (# bytes)", 1),
        ("images", "…: is empty (# bytes)", 1),
    ]
    assert rejected["reasons"][0]["examples"] == [{"study_id": "a1", "reason": "a1.png: is empty (0 bytes)"}]
    assert [one["text"] for one in document["verdict"]["problems"] if one["anchor"] == "rejected"] == [
        "1 study and 1 single image rejected by data.prepare"
    ]
    assert "single images of kept studies: 1" in render_audit(document, num_samples=1, seed=0)
