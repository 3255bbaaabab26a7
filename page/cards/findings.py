"""The 14 findings as HTML: probability, threshold, prediction, and whether the written report agrees.

Each row is a radio button that shows the heatmap of its finding (see `page.cards.images`).
"""

from page.cards.layout import render
from page.study.read import StudyReading
from page.study.record import STATE_WORDS, calibration_note
from vlm.schema.findings import FINDINGS, POSITIVE
from vlm.uncertainty import Calibration


def findings_card(reading: StudyReading, calibration: Calibration, *, key: str) -> str:
    """Positive predictions first, then by probability; findings without training labels last."""
    probabilities, thresholds = reading.report.finding_probabilities, calibration.thresholds
    trained = [index for index in range(len(FINDINGS)) if calibration.is_known[index]]
    trained.sort(key=lambda index: (probabilities[index] < thresholds[index], -probabilities[index]))
    positive = [index for index in trained if probabilities[index] >= thresholds[index]]
    note = calibration_note(calibration.num_studies)
    if calibration.is_calibrated:
        errors = calibration.expected_errors(probabilities)
        expected = f"about {errors:.1f}" if errors >= 0.1 else "fewer than 0.1"
        note += f" Expect {expected} of these {len(trained)} predictions to be wrong."
    return render(
        "findings",
        key=key,
        note=note,
        reading=reading,
        names=FINDINGS,
        probabilities=probabilities,
        thresholds=thresholds,
        trained=trained,
        positive=positive,
        untrained=[index for index in range(len(FINDINGS)) if index not in trained],
        # The heatmap of No Finding has no location to show.
        chosen=next((index for index in positive if FINDINGS[index] != "No Finding"), None),
        statements=[_statement(reading, index) for index in range(len(FINDINGS))],
        num_disagreements=sum(reading.disagrees),
    )


def _statement(reading: StudyReading, index: int) -> str:
    """What the written report states about a finding."""
    if FINDINGS[index] == "No Finding":
        return "stated" if reading.labels[index] == POSITIVE else "not stated"
    return STATE_WORDS[reading.labels[index]]
