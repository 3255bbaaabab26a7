"""A study and its prior study on the page: images in rows, marked sentences, and the changes."""

import re
from dataclasses import replace

import pytest
from PIL import Image

from page.cards.findings import findings_card
from page.cards.images import image_cards
from page.cards.report import finished_report
from page.study.prior import PriorStudy, as_prior
from page.study.upload import UploadedImage
from tests.helpers.html import ATTACK, IMAGE, Tags, reading_of
from vlm.schema.findings import CHANGES, FINDING_INDEX, NUM_FINDINGS

LATERAL = replace(IMAGE, view_position="LATERAL")
BEFORE = as_prior(UploadedImage(name="before.png", image=Image.new("L", (30, 40), 80), view_position="PA"))


def compared(text="Findings: Clear lungs.", probabilities=(0.1,) * NUM_FINDINGS, **changes):
    """A reading with a prior study, 3 days earlier, and the changes of findings, such as Edema="new"."""
    reading = reading_of(text, probabilities)
    states = [tuple(float(code == 0) for code in range(len(CHANGES)))] * NUM_FINDINGS
    for finding, state in changes.items():
        index = FINDING_INDEX[finding.replace("_", " ")]
        states[index] = tuple(0.75 if name == state else 0.05 for name in CHANGES)
    report = replace(reading.report, change_probabilities=tuple(states))
    return replace(reading, report=report, prior=PriorStudy(images=(BEFORE,), interval_days=3))


def figures_of(html):
    """(study, row, number of the heatmap) of each figure."""
    figures = re.findall(r'<figure class="view ?(\w*)"[^>]*?data-row="(\d)"(.*?)</figure>', html, re.DOTALL)
    return [(study, int(row), re.findall(r"heat-(\d)", rest)) for study, row, rest in figures]


def test_views_of_the_same_kind_are_in_one_row():
    html = image_cards([LATERAL, IMAGE], [BEFORE, replace(LATERAL, name="side"), replace(BEFORE, name="third")])
    assert figures_of(html) == [
        ("current", 1, ["0"]),
        ("prior", 1, []),
        ("current", 2, ["1"]),
        ("prior", 2, []),
        ("prior", 3, []),
    ]
    assert 'alt="Chest X-ray, prior study, frontal PA: prior before.png"' in html
    assert 'alt="Chest X-ray, current study, lateral: chest.png"' in html
    assert len(set(re.findall(r'filter id="(window-\d)"', html))) == 5
    assert len(set(re.findall(r'data-key="([^"]+)"', html))) == 5
    assert html.count("data-link") == 1


def test_images_without_a_prior_study_are_as_before():
    html = image_cards([IMAGE])
    assert not re.search("data-row|data-link|compared|study-label|prior|current", html)


def test_changes_are_listed_with_those_that_do_not_fit_the_prediction():
    positive = [0.9 if index == FINDING_INDEX["Edema"] else 0.1 for index in range(NUM_FINDINGS)]
    html = findings_card(compared(probabilities=positive, Edema="worse", Fracture="new", Pneumonia="resolved"), key="k")
    shown = [Tags(item).text for item in re.findall("<li class=.*?</li>", html)]
    assert shown == [
        "Fracture: new (75%) ≠ predicted negative",
        "Edema: worse (75%)",
        "Pneumonia: resolved (75%)",
    ]
    assert "Change since the prior study, 3 days earlier" in html
    assert "not calibrated" in Tags(html).text


@pytest.mark.parametrize(
    ("changes", "words"),
    [((), "None of the findings is or was there."), (None, "This model does not estimate changes.")],
)
def test_card_says_why_no_change_is_listed(changes, words):
    reading = compared()
    if changes is None:
        reading = replace(reading, report=replace(reading.report, change_probabilities=None))
    assert words in findings_card(reading, key="k")


def test_card_without_a_prior_study_says_nothing_about_change():
    assert "rior study" not in findings_card(reading_of("Findings: Clear lungs."), key="k")


def test_change_that_the_report_states_otherwise_is_marked():
    html = findings_card(
        compared("Findings: The pleural effusion has decreased.", Pleural_Effusion="resolved"), key="k"
    )
    [item] = re.findall("<li class=.*?</li>", html)
    assert Tags(item).text == "Pleural Effusion: resolved (75%) ≠ the report says better"
    html = findings_card(compared("Findings: New pleural effusion."), key="k")
    [item] = re.findall("<li class=.*?</li>", html)
    assert re.fullmatch(r"Pleural Effusion: none \(.+\) (≠ predicted positive )?≠ the report says new", Tags(item).text)


def test_sentences_that_compare_are_marked_and_not_a_problem():
    html = finished_report(compared("Findings: The effusion has increased. No residual nodule."), [], key="k")
    assert re.findall('class="compares">([^<]+)', html) == [
        "The effusion has increased.",
        "No residual nodule.",
        "Underlined",
    ]
    assert "no prior study was given" not in html
    assert "Underlined sentences compare with the prior study." in Tags(html).text
    assert "does not mention the prior study" in finished_report(compared(), [], key="k")


def test_texts_of_the_prior_study_are_escaped():
    hostile = replace(BEFORE, name=ATTACK)
    html = image_cards([IMAGE], [hostile])
    assert "<script>" not in html
    assert not {"onerror", "onload"} & Tags(html).attributes
    report = finished_report(compared(f"Findings: The effusion has increased {ATTACK}."), [], key="k")
    assert "<script>" not in report
