"""The correction form: its content, and how the submitted form is read."""

import re

import pytest

from page.cards.correction import correction_form, read_form
from tests.helpers.correction_forms import sent
from tests.helpers.html import reading_of
from vlm.schema.findings import BLANK, FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED


def test_each_sentence_and_each_finding_has_a_field():
    html = correction_form(reading_of("Findings: Clear lungs. Normal heart. Impression: Normal."), key="k7")
    texts = re.findall(r'aria-label="Sentence of (\w+)">([^<]*)<', html)
    assert [text for text in texts if text[1]] == [
        ("findings", "Clear lungs."),
        ("findings", "Normal heart."),
        ("impression", "Normal."),
    ]
    assert re.findall(r'data-finding="([^"]+)"', html) == list(FINDINGS)
    assert html.count('data-edit="add"') == 2
    assert 'data-form="k7"' in html


def test_submitted_form_becomes_an_edit():
    form = sent(
        findings=["The heart  is\nnormal.", " ", "No edema."],
        Edema="absent",
        Fracture="possible",
        Pneumonia="present",
        Support_Devices="not mentioned",
    )
    edit = read_form(form, key="k", reader="  Dr A ")
    assert (edit.findings, edit.impression, edit.reader) == ("The heart is normal. No edema.", "", "Dr A")
    states = {finding: edit.states[FINDING_INDEX[finding]] for finding in FINDINGS}
    assert (states["Edema"], states["Fracture"]) == (NEGATIVE, UNCERTAIN)
    assert (states["Pneumonia"], states["Support Devices"]) == (POSITIVE, BLANK)
    assert list(states.values()).count(UNLABELED) == 10


@pytest.mark.parametrize(
    "broken",
    ["", "null", "[]", "{}", '{"findings": "x"}', sent(Edema="perhaps"), sent(findings=[1])],
)
def test_invalid_form_is_rejected_with_instructions(broken):
    with pytest.raises(ValueError, match="There is no correction to save yet"):
        read_form(broken, key="k", reader="")


def test_form_of_another_report_is_rejected():
    with pytest.raises(ValueError, match="The form belongs to another report"):
        read_form(sent(reading="old"), key="k", reader="")


def test_too_long_form_is_rejected():
    with pytest.raises(ValueError, match="more than 20000 characters"):
        read_form(sent(findings=["x" * 20_001]), key="k", reader="")
