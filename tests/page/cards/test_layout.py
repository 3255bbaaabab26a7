"""HTML of the page: whatever is said, by whomever, is text."""

from dataclasses import replace

import pytest

from page.cards import layout as markup
from page.cards.correction import correction_form
from page.cards.findings import findings_card
from page.cards.images import figures
from page.cards.report import finished_report, growing_report
from tests.helpers.html import ATTACK, CALIBRATED, IMAGE, REPORT, Tags, reading_of


@pytest.mark.parametrize(
    ("harmless", "attacked"),
    [
        (markup.header("runs/best"), markup.header(ATTACK)),
        (markup.rejection("too small"), markup.rejection(ATTACK)),
        (markup.doubts(["a knee"], is_withheld=True), markup.doubts([ATTACK], is_withheld=True)),
        (markup.saved("done"), markup.saved(ATTACK)),
        (figures([IMAGE]), figures([replace(IMAGE, name=ATTACK)])),
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
def test_text_from_elsewhere_adds_no_tag_and_no_attribute(harmless, attacked):
    assert Tags(attacked).tags == Tags(harmless).tags
    assert Tags(attacked).attributes == Tags(harmless).attributes
    assert "alert(1)" in Tags(attacked).text


def test_doubts_say_why_and_whether_a_report_was_written():
    withheld, written = (Tags(markup.doubts(["It is a knee."], is_withheld=state)).text for state in (True, False))
    assert "It is a knee." in withheld
    assert "So no report was written." in withheld
    assert "You asked for the report all the same" in written
    assert markup.doubts([], is_withheld=True) == ""


def test_every_page_says_that_it_is_no_medical_device():
    assert "Not a medical device" in markup.header("runs/best")
    assert "Not a medical device" in markup.FOOTER


def test_a_model_card_is_one_click_away():
    html = markup.header("runs/best", "<p>data</p>")
    assert '<details class="model-card"><summary>Model card</summary><p>data</p></details>' in html


def test_a_rejection_is_announced():
    assert 'role="alert"' in markup.rejection("too small")
    assert 'role="alert"' in markup.saved("no", is_rejected=True)
    assert 'role="status"' in markup.saved("yes")


def test_findings_are_a_card_of_their_own():
    assert Tags(findings_card(reading_of("Findings: Clear."), CALIBRATED, key="k")).tags.isdisjoint({"script", "img"})
