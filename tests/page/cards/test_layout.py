"""HTML of the page: all foreign text is escaped."""

from dataclasses import replace

import pytest

from page.cards import layout
from page.cards.correction import correction_form
from page.cards.findings import findings_card
from page.cards.images import image_cards
from page.cards.report import finished_report, growing_report, rejected_report
from tests.helpers.html import ATTACK, CALIBRATED, IMAGE, REPORT, Tags, reading_of


@pytest.mark.parametrize(
    ("harmless", "attacked"),
    [
        (layout.header("runs/best"), layout.header(ATTACK)),
        (rejected_report("too small"), rejected_report(ATTACK)),
        (layout.image_warnings(["a knee"], is_blocked=True), layout.image_warnings([ATTACK], is_blocked=True)),
        (layout.message("done"), layout.message(ATTACK)),
        (image_cards([IMAGE]), image_cards([replace(IMAGE, name=ATTACK)])),
        (growing_report(REPORT), growing_report(replace(REPORT, findings=ATTACK, impression=ATTACK))),
        (
            finished_report(reading_of("Findings: Clear."), ["long"], key="k"),
            finished_report(reading_of(f"Findings: {ATTACK}"), [ATTACK], key="k"),
        ),
        (
            correction_form(reading_of("Findings: Clear."), key="k"),
            correction_form(reading_of(f"Findings: {ATTACK}"), key="k"),
        ),
    ],
)
def test_foreign_text_adds_no_tag_and_no_attribute(harmless, attacked):
    assert Tags(attacked).tags == Tags(harmless).tags
    assert Tags(attacked).attributes == Tags(harmless).attributes
    assert "alert(1)" in Tags(attacked).text


def test_image_warnings_say_whether_a_report_was_written():
    blocked, written = (
        Tags(layout.image_warnings(["It is a knee."], is_blocked=state)).text for state in (True, False)
    )
    assert "It is a knee." in blocked
    assert "Therefore no report was written." in blocked
    assert "You requested the report anyway" in written
    assert layout.image_warnings([], is_blocked=True) == ""


def test_header_and_footer_say_not_a_medical_device():
    assert "Not a medical device" in layout.header("runs/best")
    assert "Not a medical device" in layout.footer()


def test_header_contains_the_model_card():
    html = layout.header("runs/best", "<p>data</p>")
    assert '<details class="model-card"><summary>Model card</summary><p>data</p></details>' in html


def test_errors_and_results_are_announced_to_screen_readers():
    assert 'role="alert"' in rejected_report("too small")
    assert 'role="alert"' in layout.message("no", is_error=True)
    assert 'role="status"' in layout.message("yes")


def test_findings_card_has_no_script_and_no_image():
    assert Tags(findings_card(reading_of("Findings: Clear."), CALIBRATED, key="k")).tags.isdisjoint({"script", "img"})
