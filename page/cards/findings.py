"""The 14 findings as HTML: probability, threshold, prediction, and whether the written report agrees.

Each row is a radio button that shows the heatmap of its finding (see `page.cards.images`).
"""

from eval.report.charts import roc_chart
from page.cards.layout import render
from page.study.findings import by_probability, calibration_note, change_conflicts, changed, finding_rows
from page.study.read import StudyReading
from vlm.schema.findings import FINDING_INDEX, FINDINGS
from vlm.schema.number_format import format_probability
from vlm.uncertainty import Calibration


def findings_card(reading: StudyReading, *, key: str) -> str:
    """Positive predictions first, then by probability; findings without training labels last."""
    calibration = reading.calibration
    rows = by_probability(finding_rows(reading))
    note = calibration_note(calibration.num_studies, calibration.operating_point)
    if calibration.is_calibrated:
        errors = calibration.expected_errors(reading.report.finding_probabilities)
        expected = f"about {errors:.1f}" if errors >= 0.1 else "fewer than 0.1"
        note += f" Expect {expected} of these {len(rows)} predictions to be wrong."
    # The heatmap of No Finding has no location to show.
    located = [row for row in rows if row.is_positive and row.finding != "No Finding"]
    return render(
        "findings",
        curves=_curves(calibration),
        key=key,
        note=note,
        reading=reading,
        rows=rows,
        changes=changed(rows),
        conflicts={row.finding: change_conflicts(row) for row in rows},
        compares=any(row.change for row in rows),
        indices=FINDING_INDEX,
        chosen=located[0] if located else None,
        untrained=[finding for finding in FINDINGS if finding not in {row.finding for row in rows}],
        num_disagreements=sum(reading.disagrees),
    )


def _curves(calibration: Calibration) -> list[tuple[str, str, str]]:
    """Name, rates at the threshold, and chart of each finding with a ROC curve on validation studies."""
    drawn = []
    for finding, curve, threshold in zip(FINDINGS, calibration.curves, calibration.thresholds, strict=False):
        if (rates := curve.rates_at(threshold)) is None:
            continue
        sensitivity, specificity = rates
        words = f"sensitivity {format_probability(sensitivity)}, specificity {format_probability(specificity)}"
        pairs = zip(curve.specificities, curve.sensitivities, strict=True)
        points = [(0.0, 0.0), *((1 - one, other) for one, other in pairs), (1.0, 1.0)]
        chosen = (1 - specificity, sensitivity)
        chart = roc_chart(points, title=f"ROC curve of {finding}", description=words, chosen=chosen)
        drawn.append((finding, words, chart))
    return drawn
