"""A report's two sections as one string, and back."""

import pytest

from vlm.schema.report_format import ReportSections, compose_report, report_body, split_report


@pytest.mark.parametrize(
    "findings, impression, report",
    [
        ("Clear lungs.", "Normal.", "Findings: Clear lungs. Impression: Normal."),
        ("", "Normal.", "Impression: Normal."),
        (" Clear lungs.\n", "  ", "Findings: Clear lungs."),
        ("", "", ""),
    ],
)
def test_sections_survive_the_way_there_and_back(findings, impression, report):
    assert compose_report(findings=findings, impression=impression) == report
    assert split_report(report) == ReportSections(findings=findings.strip(), impression=impression.strip())


def test_headings_are_found_in_any_case_and_text_before_them_is_findings():
    assert split_report("Heart is large. IMPRESSION : Cardiomegaly") == ReportSections(
        findings="Heart is large.", impression="Cardiomegaly"
    )


def test_a_heading_that_comes_twice_joins_its_texts():
    assert split_report("Findings: A. Impression: B. Findings: C.") == ReportSections(findings="A. C.", impression="B.")


def test_the_word_without_a_colon_is_no_heading():
    text = "These findings are old. No impression on the trachea."
    assert split_report(text) == ReportSections(findings=text)


def test_the_body_has_no_headings():
    assert report_body("Findings: Clear lungs. Impression: Normal.") == "Clear lungs. Normal."
    assert report_body("") == ""
