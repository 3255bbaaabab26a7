"""Contradictions within a report: sentences that cannot both be true, and sentences that can."""

import json
import time
from pathlib import Path

import pytest

from eval.checks.contradictions import contradictions
from vlm.schema.report_format import compose_report

REAL_REPORTS = Path(__file__).parents[4] / "shared" / "data" / "iu_text" / "reports.jsonl"


@pytest.mark.parametrize(
    "report, findings",
    [
        ("No pleural effusion. There is a small left pleural effusion.", ["Pleural Effusion"]),
        ("Small left pleural effusion, no pleural effusion.", ["Pleural Effusion"]),
        ("There is no effusion on the left. Bilateral effusions.", ["Pleural Effusion"]),
        ("The lungs are clear. Left lower lobe consolidation.", ["Consolidation"]),
        ("No focal consolidation. Consolidation in the left lower lobe.", ["Consolidation"]),
        ("Cardiomegaly. Heart size is normal.", ["Cardiomegaly"]),
        ("The heart is enlarged. The cardiomediastinal silhouette is normal.", ["Cardiomegaly"]),
        ("The mediastinum is widened. The mediastinum is within normal limits.", ["Enlarged Cardiomediastinum"]),
        ("The bones are intact. Acute fracture of the right sixth rib.", ["Fracture"]),
        ("No edema. Mild pulmonary edema.", ["Edema"]),
        ("No nodule. A 6 mm nodule in the right upper lobe.", ["Lung Lesion"]),
        ("Large right pneumothorax. Impression: No acute cardiopulmonary abnormality.", ["Pneumothorax"]),
        ("No pneumothorax or effusion. Right pneumothorax. Left effusion.", ["Pneumothorax", "Pleural Effusion"]),
    ],
)
def test_finding_stated_and_denied_is_a_contradiction(report, findings):
    assert [found.finding for found in contradictions(report)] == findings


@pytest.mark.parametrize(
    "report",
    [
        "No left effusion. Small right effusion.",
        "Small left pleural effusion, no right pleural effusion.",
        "The right lung is clear. Left lower lobe consolidation.",
        "Increased opacity of the right base compared to the left. The left lung is clear.",
        "The right upper lobe is clear. Right lower lobe opacity.",
        "No large pleural effusion. Small left pleural effusion.",
        "No new effusion. Stable left effusion.",
        "No other fracture. There is a left rib fracture.",
        "No acute fracture. Old healed rib fracture.",
        "No rib fracture. Fracture of the left clavicle.",
        "No focal consolidation. Diffuse bilateral consolidation.",
        "No infiltrate. Linear opacity at the left base.",
        "Possible effusion. No effusion.",
        "No effusion. Effusion cannot be excluded.",
        "Left nodule, not seen on the prior exam.",
        "No XXXX infiltrates. A patchy infiltrate persists in the right middle lobe.",
        "The lungs are clear. Bibasilar atelectasis.",
        "Cardiomegaly. No acute cardiopulmonary abnormality.",
        "Consolidation. No acute bony abnormality.",
        "Small chronic left effusion. No acute cardiopulmonary abnormality.",
        "No acute disease other than consolidation. Left lower lobe consolidation.",
        "The heart is enlarged. No effusion. The lungs are clear.",
        "",
        "0123 ??? äöü 漢字",
    ],
)
def test_compatible_sentences_are_not_a_contradiction(report):
    assert contradictions(report) == ()


def test_contradiction_has_both_sentences():
    [found] = contradictions("Findings: Heart size is normal. No effusion is seen. Impression: Small left effusion.")
    assert (found.finding, found.stated, found.denied) == (
        "Pleural Effusion",
        "Small left effusion.",
        "No effusion is seen.",
    )


def test_repeated_contradiction_is_counted_once():
    assert len(contradictions("No effusion. " * 3 + "Left effusion. " * 3)) == 1


@pytest.mark.skipif(not REAL_REPORTS.is_file(), reason="the Indiana reports are not available")
def test_real_reports_rarely_contradict_themselves():
    with REAL_REPORTS.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    reports = [compose_report(findings=row["findings"], impression=row["impression"]) for row in rows[::5]]
    assert len(reports) > 600
    assert sum(bool(contradictions(report)) for report in reports) < 0.02 * len(reports)


def test_synthetic_reports_never_contradict_themselves(small_studies):
    for split in small_studies.values():
        for findings, impression in zip(split["findings"], split["impression"], strict=True):
            assert contradictions(compose_report(findings=findings, impression=impression)) == ()


def test_long_repetitive_report_is_checked_in_limited_time():
    started = time.process_time()
    assert contradictions("No effusion and small effusion and " * 3000)
    assert contradictions("".join(f"No {size} mm nodule. " for size in range(2000))) == ()
    assert time.process_time() - started < 10


@pytest.mark.parametrize("phrase", ["lung opacity ", "? now pneumothorax ", "no large effusion on the prior effusion "])
def test_time_is_linear_in_the_length_of_a_repetitive_report(phrase):
    """Regression test: each mention was compared with a whole sentence of 40,000 characters."""
    start = time.process_time()
    contradictions(phrase * (40_000 // len(phrase)))
    assert time.process_time() - start < 2
