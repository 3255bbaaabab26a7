"""The list of findings: order, numbers, and whether the written report agrees."""

import re
from dataclasses import replace

import pytest

from page.cards.findings import findings_card
from page.study.read import StudyReading
from tests.helpers.html import CALIBRATED, REPORT, Tags, reading_of
from vlm.operating_point import OperatingPoint, RocCurve
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NUM_FINDINGS
from vlm.uncertainty import Calibration

NOTHING = [0.1] * NUM_FINDINGS


def rows_of(html):
    """(name, probability, threshold, prediction, selected) of each finding."""
    number = '<span class="visually-hidden">{} </span>([0-9]+%)</span>'
    pattern = (
        r'id="choose-finding-\d+"( checked)?>\s*<span class="name">([^<]+)</span>.*?'
        + number.format("probability")
        + ".*?"
        + number.format("threshold")
        + ".*?prediction: </span>(positive|negative)"
    )
    return [(name, *values, bool(chosen)) for chosen, name, *values in re.findall(pattern, html, re.DOTALL)]


def statements_of(html):
    names = re.findall(r'<span class="name">([^<]+)</span>', html)
    return dict(zip(names, re.findall(r"in the report: </span>(.*?)</span>", html), strict=True))


def with_probabilities(**values):
    probabilities = list(NOTHING)
    for name, value in values.items():
        probabilities[FINDING_INDEX[name.replace("_", " ")]] = value
    return probabilities


def test_positive_findings_come_first_then_by_probability_and_the_first_is_selected():
    thresholds = [0.5] * NUM_FINDINGS
    for name, threshold in (("Edema", 0.6), ("Fracture", 0.25), ("Lung Lesion", 0.8)):
        thresholds[FINDING_INDEX[name]] = threshold
    reading = reading_of(
        "", with_probabilities(Edema=0.62, Fracture=0.3, Lung_Lesion=0.7), Calibration(thresholds=tuple(thresholds))
    )
    rows = rows_of(findings_card(reading, key="k"))
    assert rows[:3] == [
        ("Edema", "62%", "60%", "positive", True),
        ("Fracture", "30%", "25%", "positive", False),
        ("Lung Lesion", "70%", "80%", "negative", False),
    ]
    assert sorted(row[0] for row in rows) == sorted(FINDINGS)
    assert [row[0] for row in rows if row[4]] == ["Edema"]


def test_probability_at_its_threshold_is_positive():
    assert all(row[3] == "positive" for row in rows_of(findings_card(reading_of(""), key="k")))


@pytest.mark.parametrize(
    ("probability", "shown"), [(0.0, "<1%"), (0.004, "<1%"), (0.006, "1%"), (0.994, "99%"), (0.996, ">99%")]
)
def test_no_probability_is_rounded_to_certainty(probability, shown):
    html = findings_card(reading_of("", [probability] * NUM_FINDINGS), key="k")
    assert Tags(html).text.count(f"probability {shown} threshold") == NUM_FINDINGS


def test_no_finding_alone_selects_no_heatmap():
    html = findings_card(reading_of("", with_probabilities(No_Finding=0.9)), key="k")
    assert rows_of(html)[0][:4] == ("No Finding", "90%", "50%", "positive")
    assert not any(row[4] for row in rows_of(html))
    assert 'id="choose-none" checked' in html


def test_findings_card_says_whether_probabilities_are_calibrated():
    calibrated = findings_card(reading_of("", calibration=CALIBRATED), key="k")
    assert "calibrated on 120 validation studies similar to the training data" in calibrated
    assert "Probabilities are not calibrated" in findings_card(reading_of(""), key="k")


def test_agreement_and_disagreement_are_shown_in_words_and_signs():
    text = "Findings: The heart is enlarged. No pleural effusion. Possible pneumonia."
    reading = reading_of(text, with_probabilities(Cardiomegaly=0.9, Edema=0.9, Pleural_Effusion=0.8))
    html = findings_card(reading, key="k")
    statements = statements_of(html)
    assert statements["Cardiomegaly"] == "✓ present"
    assert statements["Edema"].endswith("≠ not mentioned")
    assert statements["Pleural Effusion"].endswith("≠ absent")
    assert statements["Pneumonia"].endswith("≠ possible")
    assert statements["Fracture"] == "✓ not mentioned"
    assert "disagree on 3 findings, marked ≠" in Tags(html).text


def test_without_disagreement_there_is_no_warning():
    html = findings_card(reading_of("Findings: The heart is enlarged.", with_probabilities(Cardiomegaly=0.9)), key="k")
    assert "⚠" not in html
    assert "≠" not in html


def test_statements_are_empty_while_the_report_is_written():
    html = findings_card(StudyReading(images=(), report=replace(REPORT)), key="k")
    assert set(statements_of(html).values()) == {"…"}


def test_prediction_close_to_its_threshold_has_a_question_mark():
    html = findings_card(reading_of("", with_probabilities(Edema=0.52, Fracture=0.6)), key="k")
    assert re.findall(
        r'name">([^<]+)</span>(?:(?!name").)*prediction: </span>(?:positive|negative)\?', html, re.DOTALL
    ) == ["Edema"]
    assert "little better than a guess" in html
    sure = findings_card(reading_of("", with_probabilities(Fracture=0.6)), key="k")
    assert "little better than a guess" not in sure


def test_finding_without_training_labels_has_no_probability():
    num_labeled = [100] * NUM_FINDINGS
    num_labeled[FINDING_INDEX["Edema"]] = 0
    calibration = Calibration(num_studies=100, num_labeled=tuple(num_labeled))
    html = findings_card(reading_of("", with_probabilities(Edema=0.9), calibration), key="k")
    assert "Edema" not in [row[0] for row in rows_of(html)]
    assert 'Edema</span><span class="untrained">not trained' in html
    assert "disagree" not in html


def test_severity_is_shown_for_findings_that_are_predicted():
    reading = reading_of("", with_probabilities(Edema=0.9, Support_Devices=0.9))
    severities = ((0.0, 0.1, 0.2, 0.7),) * NUM_FINDINGS
    reading = replace(reading, report=replace(reading.report, severity_probabilities=severities))
    html = findings_card(reading, key="k")
    assert re.findall(r'<span class="name">([^<]+)<span class="severity">(\w+)</span>', html) == [("Edema ", "large")]


def test_curves_of_the_validation_studies_show_the_thresholds():
    curve = RocCurve(thresholds=(0.8, 0.4, 0.1), sensitivities=(0.2, 0.9, 1.0), specificities=(1.0, 0.7, 0.1))
    curves = tuple(curve if finding == "Edema" else RocCurve() for finding in FINDINGS)
    calibration = replace(CALIBRATED, curves=curves).at(OperatingPoint(rate="sensitivity", target=0.85))
    html = findings_card(reading_of("", with_probabilities(Edema=0.45), calibration), key="k")
    assert rows_of(html)[0] == ("Edema", "45%", "40%", "positive", True)
    assert html.count("<svg") == html.count('class="point chosen"') == 1
    assert 'Edema<span class="muted">sensitivity 90%, specificity 70%</span>' in html
    assert "Thresholds for a sensitivity of at least 85% on validation studies." in html
    assert "<svg" not in findings_card(reading_of("", calibration=CALIBRATED), key="k")
