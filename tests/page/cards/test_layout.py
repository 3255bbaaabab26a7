"""HTML of the page: all foreign text is escaped."""

from dataclasses import replace

import pytest
from markupsafe import Markup

from page.cards import layout
from page.cards.correction import correction_form
from page.cards.findings import findings_card
from page.cards.images import image_cards
from page.cards.report import finished_report, growing_report
from tests.helpers.html import ATTACK, IMAGE, REPORT, Tags, reading_of

HEADER = {"checkpoint": "runs/best", "model_card": ""}


def rejected(message):
    return layout.render("report", state="rejected", message=message)


def image_warnings(*warnings, is_blocked=True):
    return layout.render("image_warnings", warnings=warnings, is_blocked=is_blocked)


@pytest.mark.parametrize(
    ("harmless", "attacked"),
    [
        (layout.render("header", **HEADER), layout.render("header", checkpoint=ATTACK, model_card="")),
        (rejected("too small"), rejected(ATTACK)),
        (image_warnings("a knee"), image_warnings(ATTACK)),
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
    blocked, written = (Tags(image_warnings("It is a knee.", is_blocked=state)).text for state in (True, False))
    assert "It is a knee." in blocked
    assert "Therefore no report was written." in blocked
    assert "You requested the report anyway" in written
    assert image_warnings() == ""


def test_header_and_footer_say_not_a_medical_device():
    assert "Not a medical device" in layout.render("header", **HEADER)
    assert "Not a medical device" in layout.render("footer")


def test_header_contains_the_model_card():
    html = layout.render("header", checkpoint="runs/best", model_card=Markup("<p>data</p>"))
    assert '<details class="model-card"><summary>Model card</summary><p>data</p></details>' in html


def test_errors_and_results_are_announced_to_screen_readers():
    assert 'role="alert"' in rejected("too small")
    assert 'role="alert"' in layout.message("no", is_error=True)
    assert 'role="status"' in layout.message("yes")


def test_findings_card_has_no_script_and_no_image():
    assert Tags(findings_card(reading_of("Findings: Clear."), key="k")).tags.isdisjoint({"script", "img"})
