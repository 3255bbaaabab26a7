"""The audit of a prepared data set: what it must find in a bad one, and that it leaves a good one alone."""

import json
import os
import shutil

import pytest

from data.audit.__main__ import main
from data.audit.collect import study_traits
from data.audit.document import audit
from data.audit.page import render_audit
from data.audit.rejected import kind_of_reason, rejections
from tests.helpers.audited import EVIL, audited, no_progress, phantom, row, write
from vlm.schema.findings import FINDING_INDEX, UNLABELED_STUDY


def texts(document, severity):
    return [problem["text"] for problem in document["verdict"]["problems"] if problem["severity"] == severity]


def ids(entries):
    return [entry["study_id"] for entry in entries["listed"]]


def test_a_patient_in_two_splits_is_the_first_error(document):
    [crossing] = document["subjects_across_splits"]["listed"]
    assert crossing == {"subject_id": "crossing", "studies": {"train": ["study-1"], "test": ["study-20"]}}
    assert document["verdict"]["headline"] == "Not ready to train: 1 patient in more than one split"
    assert not document["verdict"]["ready"]


def test_the_same_pixels_in_two_splits_are_an_error(document):
    [group] = document["images"]["identical"]["listed"]
    assert group["relation"] == "across splits"
    assert [one["study_id"] for one in group["images"]] == ["study-0", "study-21"]
    assert "1 image in more than one split, pixel for pixel" in texts(document, "error")


def test_a_copy_that_was_cropped_shrunk_and_darkened_is_found_across_splits(document):
    [pair] = [*document["images"]["altered"]["listed"], *document["images"]["alike"]["listed"]]
    assert pair["relation"] == "across splits"
    assert [one["study_id"] for one in pair["images"]] == ["study-2", "study-22"]


def test_a_damaged_image_is_told_and_the_rest_goes_on(document):
    assert ids(document["images"]["damaged"]) == ["study-4"]
    assert "damaged or cut short" in document["images"]["damaged"]["listed"][0]["reason"]
    assert document["splits"]["train"]["studies"] == 9


def test_blank_images_and_written_ones_are_listed(document):
    assert ids(document["images"]["flat"]) == ["study-5"]
    assert ids(document["images"]["burned_in"]) == ["study-3"]


def test_identity_in_text_is_told_by_kind_and_never_repeated(document, bad):
    [found] = document["identities"]["listed"]
    assert found["study_id"] == "study-3"
    assert found["kinds"] == {"date": 1, "name": 1}
    page = render_audit(document, num_samples=3, seed=0)
    assert "Jane" not in page + json.dumps(document)


def test_a_study_id_given_twice_is_an_error(document):
    assert document["repeated_study_ids"]["listed"] == [{"study_id": EVIL, "times": 2}]
    assert "1 study id used by more than one study" in texts(document, "error")


def test_a_long_report_with_one_word_changed_is_a_near_copy(document):
    [pair] = document["reports"]["near"]["listed"]
    assert [one["study_id"] for one in pair["studies"]] == ["study-2", "study-21"]
    assert 0.8 <= pair["similarity"] < 1
    assert document["reports"]["equal"]["listed"] == []


def test_sentences_that_speak_of_a_prior_study_are_counted(document):
    train = document["splits"]["train"]
    assert (train["prior_sentences"], train["reports_with_prior"]) == (1, 1)


def test_missing_sections_are_counted(document):
    assert document["splits"]["train"]["missing_sections"] == {"indication": 9, "findings": 1, "impression": 8}


def test_no_validation_split_is_a_warning(document):
    assert "the split validation is empty" in texts(document, "warning")


def test_rejections_are_counted_by_kind_and_half_a_line_spoils_nothing(document):
    rejected = document["rejected"]
    assert (rejected["studies"], rejected["images"], rejected["unreadable_lines"]) == (2, 1, 1)
    assert [(one["kind"], one["count"]) for one in rejected["reasons"]] == [
        ("…: is empty (# bytes)", 2),
        ("too small", 1),
    ]


def test_a_good_data_set_is_ready_and_has_no_copies(small_dataset):
    document = audited(small_dataset)
    assert document["verdict"]["ready"]
    assert not document["verdict"]["headline"].startswith("Not")
    for kind in ("identical", "altered"):
        assert sum(document["images"][kind]["count"].values()) == 0
    counts = document["splits"]["train"]
    assert (counts["studies"], counts["reports"], counts["subjects"]) == (16, 16, 13)
    assert sum(counts["report_words"]["histogram"]) == 16
    assert all(sum(states.values()) == 16 for states in counts["findings"].values())


def test_workers_find_what_one_process_finds(bad, document, monkeypatch):
    monkeypatch.setattr("data.audit.document.FEW", 0)
    assert audit(bad, num_workers=2, track=no_progress) == {
        name: document[name] for name in document if name != "verdict"
    }


def test_labels_of_the_source_are_held_against_the_report(tmp_path):
    labels = list(UNLABELED_STUDY)
    labels[FINDING_INDEX["Pleural Effusion"]] = 1
    labels[FINDING_INDEX["Edema"]] = 1
    rows = [
        row(0, phantom(0), labels=labels, findings="There is a pleural effusion. No edema."),
        row(1, phantom(1), labels=labels, findings="Pulmonary edema is present."),
    ]
    agreement = audited(write(tmp_path / "set", train=rows))["labels_against_reports"]
    assert agreement["findings"]["Pleural Effusion"] == {"both": 1, "label_only": 1, "report_only": 0, "f1": 0.6667}
    assert agreement["findings"]["Edema"]["f1"] == 0.6667
    assert agreement["findings"]["Fracture"]["f1"] is None
    assert agreement["micro_f1"] == 0.6667


def test_an_image_outside_the_data_set_is_damage_and_is_not_read():
    outside = row(0, phantom(0), images=[{"bytes": None, "path": "/etc/passwd"}, None])
    for image in study_traits(outside).images:
        assert "not inside the data set" in image.damage


def test_the_program_writes_both_files_beside_the_data_set_and_says_unfit(bad, capsys):
    before = sorted(path.name for path in bad.rglob("*"))
    assert main([str(bad), "--num-workers", "1", "--num-samples", "2"]) is False
    assert "Not ready to train: 1 patient in more than one split" in capsys.readouterr().out
    written = bad.with_name("bad_audit")
    assert sorted(path.name for path in written.iterdir()) == ["audit.html", "audit.json"]
    assert json.loads((written / "audit.json").read_text(encoding="utf-8"))["verdict"]["ready"] is False
    assert sorted(path.name for path in bad.rglob("*")) == before


def test_a_folder_that_is_no_data_set_is_rejected_by_name(tmp_path):
    with pytest.raises(ValueError, match="is not a prepared data set"):
        main([str(tmp_path)])
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; name a folder"):
        main([str(tmp_path), "--output-dir", str(tmp_path / "file")])


def test_a_data_set_that_was_cut_short_is_told(small_dataset, tmp_path):
    shutil.copytree(small_dataset, tmp_path / "cut")
    [shard] = (tmp_path / "cut" / "train").glob("*.arrow")
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"cut is damaged or cut short .* copy it again"):
        main([str(tmp_path / "cut")])


def test_the_page_escapes_what_is_in_the_data_set_and_has_no_script(document):
    page = render_audit(document, num_samples=20, seed=0)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "Patients in more than one split: 1" in page


def test_the_contact_sheet_is_drawn_by_the_seed(document):
    pages = [render_audit(document, num_samples=3, seed=seed) for seed in (0, 0, 1)]
    assert pages[0] == pages[1] != pages[2]


def test_reasons_of_one_kind_are_one_kind():
    entry = {"study_id": "s12", "reason": "study s12: /a/b/12.png has 30 bytes", "files": ["/a/b/12.png"]}
    assert kind_of_reason(entry) == "study …: … has # bytes"


def test_a_data_set_without_list_of_rejections_has_none(tmp_path):
    assert rejections(tmp_path) == {"studies": 0, "images": 0, "unreadable_lines": 0, "reasons": []}
