"""Source `corrections`: which corrections count, their labels, splits and rejections."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data.corrections.correction import Correction
from data.corrections.store import STORE_FILE, CorrectionKey, CorrectionStore, image_file
from data.prepare import main
from data.sources.corrections import corrected_labels, link_subjects, newest_by_study
from data.study import load_studies
from vlm.schema.findings import BLANK, CHANGES, FINDING_INDEX, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED, UNLABELED_STUDY
from vlm.schema.preprocessing import Preprocessing

EFFUSION = "There is a small left pleural effusion. No pneumothorax."


def correction(**changes):
    return replace(
        Correction(
            view_positions=("PA",),
            findings=EFFUSION,
            probabilities=(0.5,) * 14,
            thresholds=(0.5,) * 14,
            states=UNLABELED_STUDY,
            preprocessing=Preprocessing(),
            model_name="mine",
            model_hash="abc",
        ),
        **changes,
    )


def states(**by_finding):
    given = {name.replace("_", " "): state for name, state in by_finding.items()}
    return tuple(given.get(name, UNLABELED) for name in FINDING_INDEX)


def image(number, side=64):
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side), dtype=np.uint8))


def prepare(root, out, *more, fractions=("1", "0", "0")):
    given = ["corrections", "--root", str(root), "--out", str(out), "--num-workers", "1", *more]
    main([*given, "--split-fractions", *fractions])
    return load_studies(out)


def state_of(labels, finding):
    return labels[FINDING_INDEX[finding]]


def test_edited_report_is_saved(tmp_path):
    views = [image(1), image(2)]
    edited = correction(
        view_positions=("PA", "LATERAL"),
        indication="Cough.",
        original_findings="The lungs are clear.",
        impression="Effusion.",
    )
    CorrectionStore(tmp_path / "store").save(edited, views)
    [row] = prepare(tmp_path / "store", tmp_path / "out", "--license", "ours alone")["train"]
    assert (row["indication"], row["findings"], row["impression"]) == ("Cough.", EFFUSION, "Effusion.")
    assert row["view_positions"] == ["PA", "LATERAL"]
    assert (row["source"], row["license"]) == ("corrections", "ours alone")
    for stored, given in zip(row["images"], views, strict=True):
        assert np.array_equal(np.asarray(stored), np.asarray(given))


def test_prior_study_of_a_correction_fills_the_columns_of_priors(tmp_path):
    store, report = CorrectionStore(tmp_path / "store"), "Findings: There is a small effusion. Impression: Effusion."
    prior = {"prior_view_positions": ("AP",), "prior_report": report, "prior_interval_days": 12}
    store.save(correction(findings="The effusion is larger.", **prior), [image(1)], [image(2)])
    store.save(correction(), [image(3)])
    compared, alone = prepare(tmp_path / "store", tmp_path / "out")["train"]
    assert (compared["prior_view_positions"], compared["prior_report"]) == (["AP"], report)
    assert compared["prior_interval_days"] == 12
    assert CHANGES[state_of(compared["changes"], "Pleural Effusion")] == "worse"
    [stored] = compared["prior_images"]
    assert np.array_equal(np.asarray(stored), np.asarray(image(2)))
    assert (alone["prior_images"], alone["prior_report"], alone["prior_interval_days"]) == ([], "", None)


def test_study_and_the_study_that_has_it_as_its_prior_are_of_one_subject(tmp_path):
    store = CorrectionStore(tmp_path / "store")
    store.save(correction(prior_view_positions=("PA",)), [image(1)], [image(2)])
    store.save(correction(), [image(2)])
    store.save(correction(), [image(3)])
    subjects = prepare(tmp_path / "store", tmp_path / "out")["train"]["subject_id"]
    assert subjects[0] == subjects[1] != subjects[2]


def test_damaged_prior_image_leaves_the_study_without_a_prior(tmp_path, capsys):
    saved = CorrectionStore(tmp_path / "store").save(correction(prior_view_positions=("PA",)), [image(1)], [image(2)])
    image(9).save(tmp_path / "store" / image_file(saved.prior_images[0]))
    [row] = prepare(tmp_path / "store", tmp_path / "out")["train"]
    assert row["prior_images"] == []
    warnings = (tmp_path / "out" / "warnings.jsonl").read_text()
    assert "its prior study cannot be used" in warnings and "is not the image that was corrected" in warnings


def test_labels_come_from_the_reader_and_then_from_the_edited_report():
    labels = corrected_labels(correction(states=states(Edema=UNCERTAIN, Fracture=NEGATIVE)))
    assert state_of(labels, "Edema") == UNCERTAIN
    assert state_of(labels, "Fracture") == NEGATIVE
    assert state_of(labels, "Pleural Effusion") == POSITIVE
    assert state_of(labels, "Pneumothorax") == NEGATIVE
    assert state_of(labels, "Cardiomegaly") == BLANK


@pytest.mark.parametrize(
    ("findings", "given", "no_finding"),
    [
        ("The lungs are clear.", {"Edema": POSITIVE}, BLANK),
        (EFFUSION, {"Pleural_Effusion": NEGATIVE}, POSITIVE),
        (EFFUSION, {"No_Finding": NEGATIVE}, NEGATIVE),
        ("The lungs are clear.", {"Support_Devices": POSITIVE}, POSITIVE),
        ("", {"Edema": POSITIVE}, BLANK),
        ("", {"Edema": NEGATIVE}, UNLABELED),
        ("", {"No_Finding": POSITIVE}, POSITIVE),
    ],
)
def test_no_finding_follows_from_other_labels_unless_it_was_set(findings, given, no_finding):
    labels = corrected_labels(correction(findings=findings, states=states(**given)))
    assert state_of(labels, "No Finding") == no_finding


def test_without_a_report_only_set_findings_are_labeled(tmp_path):
    given = states(Edema=NEGATIVE)
    CorrectionStore(tmp_path / "store").save(correction(findings="", states=given), [image(1)])
    [row] = prepare(tmp_path / "store", tmp_path / "out")["train"]
    assert tuple(row["labels"]) == given
    assert row["findings"] == row["impression"] == ""


def test_newest_correction_of_each_reader_counts():
    saved = [("s", "A"), ("s", "B"), ("t", "A"), ("s", "A")]
    entries = [
        CorrectionKey(number=number, study=study, reader=reader) for number, (study, reader) in enumerate(saved, 1)
    ]
    newest = newest_by_study(entries)
    assert {study: [entry.number for entry in by_reader] for study, by_reader in newest.items()} == {
        "s": [2, 4],
        "t": [3],
    }


def test_study_counts_once_and_reader_agreement_is_reported(tmp_path, capsys):
    store = CorrectionStore(tmp_path / "store")
    store.save(correction(reader="Dr A", findings="Old."), [image(1)])
    store.save(correction(reader="Dr A", findings="The lungs are clear."), [image(1)])
    store.save(correction(reader="Dr B", states=states(Edema=POSITIVE)), [image(1)])
    store.save(correction(), [image(2)])
    rows = prepare(tmp_path / "store", tmp_path / "out")["train"]
    assert sorted(rows["findings"]) == [EFFUSION, EFFUSION]
    output = " ".join(capsys.readouterr().out.split())
    assert "corrections: 4, studies: 2, readers: Dr A, Dr B, without a name." in output
    # Lung Opacity, Effusion, Pneumothorax, Edema and No Finding differ.
    assert "studies corrected by several readers: 1; all readers agree on 9 of 14 findings" in output
    assert "a finding that was set differently from the edited report: 1" in output
    assert "given 2 = kept 2 + rejected 0" in output


def test_studies_that_share_an_image_or_a_patient_have_one_subject():
    marks = {
        "one": ["image-a", "image-b"],
        "two": ["image-c"],
        "three": ["image-b", "image-d"],
        "four": ["subject-x", "image-e"],
        "five": ["subject-x", "image-f"],
        "six": ["image-d", "image-0"],
    }
    subjects = link_subjects(marks)
    assert len(set(subjects.values())) == 3
    assert subjects["one"] == subjects["three"] == subjects["six"] == "image-0"
    assert subjects["four"] == subjects["five"]
    assert link_subjects(dict(reversed(marks.items()))) == subjects


def test_studies_with_a_common_image_are_in_one_split(tmp_path):
    store = CorrectionStore(tmp_path / "store")
    for number in range(0, 20, 2):
        store.save(correction(), [image(number)])
        store.save(correction(view_positions=("PA", "LL")), [image(number), image(number + 1)])
    studies = prepare(tmp_path / "store", tmp_path / "out", fractions=(".5", ".3", ".2"))
    assert [len(studies[split]) for split in ("train", "validation", "test")] == [10, 6, 4]
    subjects = [set(rows["subject_id"]) for rows in studies.values()]
    assert sum(map(len, subjects)) == len(set.union(*subjects)) == 10


def test_missing_or_damaged_corrections_are_rejected_and_the_rest_kept(tmp_path, capsys):
    store = CorrectionStore(tmp_path / "store")
    lost, swapped, cut, damaged, emptied, _ = [store.save(correction(), [image(number)]) for number in range(6)]
    path = {saved.number: tmp_path / "store" / image_file(saved.images[0]) for saved in (lost, swapped, cut)}
    path[lost.number].unlink()
    image(99).save(path[swapped.number])
    path[cut.number].write_bytes(path[cut.number].read_bytes()[:300])
    with closing(sqlite3.connect(tmp_path / "store" / STORE_FILE)) as connection, connection:
        connection.execute("UPDATE corrections SET states = '[' WHERE number = ?", [damaged.number])
        connection.execute("UPDATE corrections SET findings = '' WHERE number = ?", [emptied.number])
    assert len(prepare(tmp_path / "store", tmp_path / "out")["train"]) == 1
    lines = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    reasons = [json.loads(line)["reason"] for line in lines]
    expected = [
        "does not exist",
        "is not the image that was corrected; restore it from a copy",
        "is damaged or cut short",
        "correction 4 is damaged",
        "its report is empty and no finding is set",
    ]
    assert len(reasons) == len(expected)
    assert all(part in reason for part, reason in zip(expected, reasons, strict=True))
    assert "given 6 = kept 1 + rejected 5" in capsys.readouterr().out


def test_images_are_not_preprocessed_twice_and_other_options_are_rejected(tmp_path):
    saved = correction(preprocessing=Preprocessing(clahe=True, normalize="minmax"))
    CorrectionStore(tmp_path / "store").save(saved, [image(1)])
    with pytest.raises(
        ValueError, match="trained with --normalize minmax --clahe; prepare corrections with the same options"
    ):
        prepare(tmp_path / "store", tmp_path / "out")
    [row] = prepare(tmp_path / "store", tmp_path / "out", "--clahe", "--normalize", "minmax")["train"]
    assert np.array_equal(np.asarray(row["images"][0]), np.asarray(image(1)))


def test_root_without_corrections_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere has no corrections \(no corrections.sqlite in it\)"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    CorrectionStore(tmp_path / "store")
    with pytest.raises(ValueError, match=r"holds no correction yet; correct a study on the web page first"):
        prepare(tmp_path / "store", tmp_path / "out")
