"""The 14 findings as HTML: probability, threshold, prediction, and whether the written report agrees.

Each row is a radio button that shows the heatmap of its finding (see `page.cards.images`).
"""

from page.cards.layout import render
from page.study.read import StudyReading
from page.study.record import by_probability, calibration_note, finding_rows
from vlm.schema.findings import FINDING_INDEX, FINDINGS
from vlm.uncertainty import Calibration


def findings_card(reading: StudyReading, calibration: Calibration, *, key: str) -> str:
    """Positive predictions first, then by probability; findings without training labels last."""
    rows = by_probability(finding_rows(reading, calibration))
    note = calibration_note(calibration.num_studies)
    if calibration.is_calibrated:
        errors = calibration.expected_errors(reading.report.finding_probabilities)
        expected = f"about {errors:.1f}" if errors >= 0.1 else "fewer than 0.1"
        note += f" Expect {expected} of these {len(rows)} predictions to be wrong."
    # The heatmap of No Finding has no location to show.
    located = [row for row in rows if row.is_positive and row.finding != "No Finding"]
    return render(
        "findings",
        key=key,
        note=note,
        reading=reading,
        rows=rows,
        indices=FINDING_INDEX,
        chosen=located[0] if located else None,
        untrained=[finding for finding in FINDINGS if finding not in {row.finding for row in rows}],
        num_disagreements=sum(reading.disagrees),
    )
