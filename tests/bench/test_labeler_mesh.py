"""Findings of the codes of the Indiana reports, and agreement with the labeler."""

import json

import pytest

from bench.labeler_mesh import BROAD, NARROW, IndexedReport, agreement, main, scores
from vlm.schema.findings import POSITIVE, UNCERTAIN


def report_with(text, *codes):
    return IndexedReport(study_id="CXR1", split="train", text=text, codes=codes)


def test_codes_have_a_narrow_and_a_broad_reading():
    report = report_with("", "pulmonary congestion/mild", "nodule/lung/left", "surgical instruments/abdomen")
    assert report.coded(NARROW) == {"Lung Lesion"}
    assert report.coded(BROAD) == {"Lung Lesion", "Edema", "Support Devices"}
    assert report_with("", "catheters, indwelling").coded(NARROW) == {"Support Devices", "No Finding"}
    assert report_with("", "normal").coded(NARROW) == {"No Finding"}


def test_true_and_false_predictions_are_counted():
    reports = [
        report_with("Small effusion.", "pleural effusion/left"),
        report_with("Possible effusion.", "normal"),
        report_with("No effusion.", "pleural effusion"),
    ]
    reading = {"Pleural Effusion": NARROW["Pleural Effusion"]}
    assert scores(agreement(reports, reading, (POSITIVE, UNCERTAIN))["micro"]) == (0.5, 0.5, 0.5)
    assert scores(agreement(reports, reading, (POSITIVE,))["micro"]) == (1.0, 0.5, 2 / 3)


def test_agreement_and_disagreements_are_printed(tmp_path, capsys):
    given = [
        {"id": "CXR1", "split": "train", "findings": "Small effusion.", "impression": "", "mesh": ["normal"]},
        {"id": "CXR2", "split": "val", "findings": "No effusion.", "impression": "", "mesh": ["normal"]},
        {"id": "CXR3", "split": "train", "findings": "Nodule.", "impression": "", "mesh": ["No Indexing"]},
    ]
    path = tmp_path / "reports.jsonl"
    path.write_text("".join(json.dumps(report) + "\n" for report in given), encoding="utf-8")
    assert main(["--reports", str(path)]) == 0
    assert "all: 2 reports" in capsys.readouterr().out
    assert main(["--reports", str(path), "--show", "Pleural Effusion"]) == 0
    shown = capsys.readouterr().out
    assert "CXR1: labeler only" in shown
    assert "Small effusion." in shown


def test_missing_reports_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.jsonl: no such file"):
        main(["--reports", str(tmp_path / "missing.jsonl")])
