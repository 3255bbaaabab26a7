"""The report on the page: while it grows, and as single sentences when it is finished."""

import re
from dataclasses import replace

import pytest

from page.cards.report import MAX_MAPPED, finished_report, growing_report
from tests.helpers.html import REPORT, Tags, reading_of
from vlm.schema.findings import FINDING_INDEX, NUM_FINDINGS


def test_finished_report_has_selectable_sentences_under_their_headings():
    html = finished_report(reading_of("Findings: Clear lungs. Normal heart. Impression: Normal."), [], key="abc")
    assert re.findall(r'id="choose-sentence-(\d)"><span>([^<]+)', html) == [
        ("0", "Clear lungs."),
        ("1", "Normal heart."),
        ("2", "Normal."),
    ]
    assert re.findall("<h3>([^<]+)", html) == ["Findings", "Impression"]
    assert 'aria-busy="false"' in html
    assert 'data-reading="abc"' in html
    assert "cursor" not in html


def test_both_contradicting_sentences_are_marked():
    text = "Findings: Small left pleural effusion. Normal heart. Impression: No pleural effusion."
    html = finished_report(reading_of(text), ["The report states and denies it."], key="k")
    marked = re.findall(r"<span>([^<]+)</span> <span class=\"mark\">⚠ ([^<]+)", html)
    assert marked == [
        ("Small left pleural effusion.", "contradicts itself: Pleural Effusion"),
        ("No pleural effusion.", "contradicts itself: Pleural Effusion"),
    ]
    assert "⚠ The report states and denies it." in Tags(html).text


def test_mention_of_a_prior_study_is_marked():
    html = finished_report(reading_of("Findings: The heart is unchanged. No edema."), [], key="k")
    assert re.findall(r"<span>([^<]+)</span> <span class=\"mark\">⚠ ([^<]+)", html) == [
        ("The heart is unchanged.", "no prior study was given")
    ]


def test_only_the_first_sentences_of_a_long_report_have_heatmaps():
    html = finished_report(reading_of("Findings: " + "Clear. " * (MAX_MAPPED + 5)), [], key="k")
    assert html.count("choose-sentence-") == MAX_MAPPED
    assert Tags(html).text.count("Clear.") == MAX_MAPPED + 5


def test_sentence_about_a_low_confidence_finding_is_marked():
    probabilities = [0.1] * NUM_FINDINGS
    probabilities[FINDING_INDEX["Edema"]], probabilities[FINDING_INDEX["Cardiomegaly"]] = 0.52, 0.9
    reading = reading_of("Findings: Pulmonary edema. The heart is enlarged.", probabilities)
    marked = re.findall(r"<span>([^<]+)</span> <span class=\"mark\">⚠ ([^<]+)", finished_report(reading, [], key="k"))
    assert marked == [("Pulmonary edema.", "low confidence: Edema")]


@pytest.mark.parametrize("started", ["I", "Impre", "Impression"])
def test_partial_heading_is_not_shown_as_a_finding(started):
    written = replace(REPORT, findings=f"Clear lungs. {started}", impression="")
    assert started not in Tags(growing_report(written)).text.split()


def test_cursor_is_in_the_section_that_is_being_written():
    nothing_yet = replace(REPORT, report="", findings="", impression="")
    findings_only = replace(REPORT, impression="")
    assert re.search("<h3>Findings</h3>[^/]*cursor", growing_report(nothing_yet))
    assert re.search("<h3>Findings</h3>[^/]*cursor", growing_report(findings_only))
    assert re.search("<h3>Impression</h3>[^/]*cursor", growing_report(REPORT))
    assert 'aria-busy="true"' in growing_report(REPORT)


def test_report_card_says_that_the_model_only_classifies():
    html = finished_report(replace(reading_of(""), only_classifies=True), [], key="k")
    assert "This model only classifies: it was not trained on reports" in html
    assert "wrote nothing" not in html


def test_empty_report_says_so():
    assert "The model wrote nothing." in finished_report(reading_of(""), [], key="k")
