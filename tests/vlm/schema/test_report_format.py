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
def test_composed_report_splits_into_the_same_sections(findings, impression, report):
    assert compose_report(findings=findings, impression=impression) == report
    assert split_report(report) == ReportSections(findings=findings.strip(), impression=impression.strip())


def test_headings_match_in_any_case_and_text_before_them_is_findings():
    assert split_report("Heart is large. IMPRESSION : Cardiomegaly") == ReportSections(
        findings="Heart is large.", impression="Cardiomegaly"
    )


def test_repeated_heading_joins_its_texts():
    assert split_report("Findings: A. Impression: B. Findings: C.") == ReportSections(findings="A. C.", impression="B.")


def test_word_without_a_colon_is_not_a_heading():
    text = "These findings are old. No impression on the trachea."
    assert split_report(text) == ReportSections(findings=text)


def test_report_body_has_no_headings():
    assert report_body("Findings: Clear lungs. Impression: Normal.") == "Clear lungs. Normal."
    assert report_body("") == ""
