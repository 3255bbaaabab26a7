"""HTML of the page: whatever is said, by whomever, is text."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from page.cards import layout as markup
from page.cards.correction import correction_form
from page.cards.findings import findings_card
from page.cards.images import figures
from page.cards.report import finished_report, growing_report
from page.study.files import UploadedImage
from page.study.read import Reading, complete
from vlm.generator import StudyReport
from vlm.schema.findings import NUM_FINDINGS
from vlm.uncertainty import Calibration

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onload='alert(1)"
REPORT = StudyReport(
    report="Findings: Clear lungs. Impression: Normal.",
    findings="Clear lungs.",
    impression="Normal.",
    finding_probabilities=(0.5,) * NUM_FINDINGS,
    attention_maps=np.zeros((NUM_FINDINGS, 1, 2, 2), dtype=np.float32),
    tokens=(),
    token_log_probabilities=(),
    is_truncated=False,
)
IMAGE = UploadedImage(name="chest.png", image=Image.new("L", (40, 30), 90), view_position="AP")
CALIBRATED = Calibration(num_studies=120)


def reading_of(text, probabilities=(0.5,) * NUM_FINDINGS, thresholds=(0.5,) * NUM_FINDINGS):
    """A finished reading of IMAGE with such a report."""
    report = replace(REPORT, report=text, finding_probabilities=tuple(probabilities))
    return complete(Reading(images=(IMAGE,), report=report), thresholds)


class Tags(HTMLParser):
    """Names of tags and attributes, and all text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


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
