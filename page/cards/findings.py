"""The 14 findings as HTML: probability, threshold, what follows from them, and whether the written report agrees.

Each row is a radio button that chooses its heatmap (see `page.cards.images`).
"""

from collections.abc import Sequence

from page.study.read import Reading
from vlm.schema.findings import BLANK, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN
from vlm.uncertainty import Calibration

_SAYS = {POSITIVE: "present", NEGATIVE: "absent", UNCERTAIN: "possible", BLANK: "not named"}


def findings_card(reading: Reading, calibration: Calibration, *, key: str) -> str:
    """Called ones first, then by probability; last those that the data told nothing of. While the report is being
    written its column is empty."""
    probabilities, known = reading.report.finding_probabilities, calibration.is_known
    rows = sorted(
        (index for index in range(len(FINDINGS)) if known[index]),
        key=lambda index: (probabilities[index] < calibration.thresholds[index], -probabilities[index]),
    )
    called = [index for index in rows if probabilities[index] >= calibration.thresholds[index]]
    # No Finding has no place in the image; what it attends to says little to begin with.
    first = next((index for index in called if FINDINGS[index] != "No Finding"), None)
    return (
        f'<section class="card" data-reading="{key}"><h2>Findings</h2>'
        f'<p class="soft">Choose one to see where the model looked. It is called present from its threshold on, '
        f"the tick on its bar. {_calibration_note(calibration, probabilities)}</p>"
        f"{_unsure(reading)}{_disagreements(reading)}"
        '<fieldset class="findings"><legend class="unseen">Heatmap shown on the images</legend>'
        '<div class="finding heads" aria-hidden="true"><span></span><span>Finding</span><span>Probability</span>'
        "<span>Threshold</span><span>Called</span><span>In the report</span></div>"
        + "".join(_row(reading, calibration.thresholds, index, is_chosen=index == first) for index in rows)
        + "".join(_unknown_row(index) for index in range(len(FINDINGS)) if not known[index])
        + '<label class="finding none"><input type="radio" name="heatmap" id="choose-none"'
        f"{'' if first is not None else ' checked'}><span>No heatmap</span></label></fieldset>"
        '<p class="soft">A heatmap marks where the model looked for a finding more than elsewhere, brightest where '
        "most: not why, and not how likely the finding is.</p></section>"
    )


def _row(reading: Reading, thresholds: Sequence[float], index: int, *, is_chosen: bool) -> str:
    probability, threshold = reading.report.finding_probabilities[index], thresholds[index]
    called = probability >= threshold
    return (
        f'<label class="finding {"called" if called else ""}"><input type="radio" name="heatmap" '
        f'id="choose-finding-{index}"{" checked" if is_chosen else ""}><span class="name">{FINDINGS[index]}</span>'
        f'<span class="bar" aria-hidden="true"><i style="width: {probability:.1%}"></i>'
        f'<b style="left: {threshold:.1%}"></b></span>'
        f'<span class="number"><span class="unseen">probability </span>{percent(probability)}</span>'
        f'<span class="number threshold"><span class="unseen">threshold </span>{threshold:.0%}</span>'
        f'<span class="call"><span class="unseen">called present: </span>{_call(reading, index, called)}</span>'
        f'<span class="says"><span class="unseen">in the report: </span>{_says(reading, index)}</span></label>'
    )


def _call(reading: Reading, index: int, called: bool) -> str:
    return ("yes" if called else "no") + ("?" if reading.unsure[index] else "")


def _says(reading: Reading, index: int) -> str:
    if reading.only_classifies:
        return "–"
    if not reading.is_done:
        return "…"
    said = _SAYS[reading.labels[index]]
    if FINDINGS[index] == "No Finding":
        said = "said" if reading.labels[index] == POSITIVE else "not said"
    return f'<span class="disagrees">≠ {said}</span>' if reading.disagrees[index] else f"✓ {said}"


def _unknown_row(index: int) -> str:
    """Nothing in the data that the probabilities were calibrated on told of this finding."""
    return (
        f'<label class="finding unknown"><input type="radio" name="heatmap" id="choose-finding-{index}">'
        f'<span class="name">{FINDINGS[index]}</span><span class="unlearned">not learned: its data says nothing of '
        "it</span></label>"
    )


def _unsure(reading: Reading) -> str:
    if not any(reading.unsure):
        return ""
    return (
        '<p class="warning">“?” stands where the probability is so close to its threshold that the call is hardly '
        "better than a guess.</p>"
    )


def _disagreements(reading: Reading) -> str:
    number = sum(reading.disagrees)
    if not number:
        return ""
    findings = "one finding" if number == 1 else f"{number} findings"
    return (
        f'<p class="warning">⚠ The report and the probabilities disagree on {findings}, marked ≠. '
        "One of the two is wrong: look at the image.</p>"
    )


def percent(probability: float) -> str:
    """Rounded, but never to certainty."""
    if probability < 0.005:
        return "&lt;1%"
    return "&gt;99%" if probability >= 0.995 else f"{probability:.0%}"


def _calibration_note(calibration: Calibration, probabilities: Sequence[float]) -> str:
    if calibration.is_calibrated:
        return (
            f"Probabilities are calibrated on {calibration.num_studies} validation studies of the kind it was trained "
            "on: of studies as unsure as this one, "
            f"{calibration.expected_errors(probabilities):.1f} of these calls are wrong on average. On other images "
            "they may be far off."
        )
    return "Probabilities are not calibrated: read them as a ranking, not as chances."
