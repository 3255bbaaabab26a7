"""Cleaning report text: only the requested changes are made, and they are counted."""

import pytest

from data.reports.clean import PreparedText, TextOptions, prepare_text
from data.reports.deidentify import MAX_CHARACTERS
from data.reports.labeler.labeler import label_report

FINDINGS = (
    "1. Stable 1.2 x 3 cm nodule, XXXX granuloma.\n2. No effusion\n3. A 5-6 mm density seen by Dr. Quimby on 3/4/2019."
)


def prepared(findings="", *, indication="", impression="", names=(), **options):
    return prepare_text(
        indication=indication, findings=findings, impression=impression, options=TextOptions(**options), names=names
    )


def test_default_changes_only_identities_and_blanks():
    text = prepared(FINDINGS, indication="Cough  of\r\n2 weeks", impression="Stable.")
    assert text == PreparedText(
        indication="Cough of 2 weeks",
        findings="1. Stable 1.2 x 3 cm nodule, XXXX granuloma. 2. No effusion "
        "3. A 5-6 mm density seen by Dr. ___ on ___.",
        impression="Stable.",
        counts={"name": 1, "date": 1},
    )


def test_nothing_changes_without_any_option():
    assert prepared("Seen by Dr. Quimby.", deidentify=False).findings == "Seen by Dr. Quimby."


def test_known_names_are_removed_from_every_section():
    text = prepared(
        "pruitt is rotated", indication="abigail pruitt, cough", impression="Pruitt", names=["PRUITT^ABIGAIL"]
    )
    assert (text.indication, text.findings, text.impression) == ("___, cough", "___ is rotated", "___")
    assert text.counts == {"name": 3}


@pytest.mark.parametrize(
    ("choice", "expected", "count"),
    [
        ("keep", "There are XXXX of a ___ [**Name 3**] effusion.", {}),
        ("unify", "There are ___ of a ___ ___ effusion.", {"placeholders": 3}),
        ("drop", "There are of a effusion.", {"placeholders": 3}),
    ],
)
def test_placeholders_are_kept_unified_or_dropped(choice, expected, count):
    text = prepared("There are XXXX of a ___ [**Name 3**] effusion.", placeholders=choice)
    assert (text.findings, text.counts) == (expected, count)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("A 1.2 x 3 cm nodule.", "A ___ cm nodule."),
        ("A 5-6 mm or 8mm density.", "A ___ mm or ___mm density."),
        ("A 9-mm granuloma, 2.1 × 3.0 × 4 cm.", "A ___-mm granuloma, ___ cm."),
        ("T8 and 2 views, 3rd rib, 40 years.", "T8 and 2 views, 3rd rib, 40 years."),
    ],
)
def test_only_numbers_of_measurements_are_replaced(given, expected):
    assert prepared(given, measurements="replace").findings == expected
    assert prepared(given).findings == given


def test_list_numbers_are_dropped_and_items_become_sentences():
    text = prepared("1. Cardiomegaly\n2. No edema.\n3) Old rib fractures\n- Scoliosis.", list_numbers="drop")
    assert text.findings == "Cardiomegaly. No edema. Old rib fractures. Scoliosis."
    assert text.counts == {"list numbers": 4}


def test_numbers_that_are_not_list_numbers_stay():
    for text in ("Fracture at T8. L4 is intact.", "The heart measures 12. Lungs are clear.", "A mass of 1. 5 cm."):
        assert prepared(text, list_numbers="drop").findings == text


def test_sentences_about_a_prior_study_are_dropped_on_request_but_not_from_the_indication():
    findings = "The heart is large. Left effusion is unchanged since ___. No pneumothorax."
    assert prepared(findings).findings == findings
    text = prepared(findings, indication="Compared to prior.", impression="Stable chest.", drop_prior_sentences=True)
    assert (text.indication, text.findings, text.impression) == (
        "Compared to prior.",
        "The heart is large. No pneumothorax.",
        "",
    )
    assert text.counts == {"sentences of a prior study": 2}


def test_all_changes_together():
    text = prepared(
        FINDINGS, placeholders="unify", measurements="replace", list_numbers="drop", drop_prior_sentences=True
    )
    assert text.findings == "No effusion. A ___ mm density seen by Dr. ___ on ___."


def test_cleaning_twice_equals_cleaning_once():
    options = {"placeholders": "unify", "measurements": "replace", "list_numbers": "drop", "drop_prior_sentences": True}
    once = prepared(FINDINGS, **options)
    assert prepared(once.findings, **{**options, "placeholders": "keep"}).counts == {}


def test_labels_do_not_depend_on_the_placeholder():
    text = "There is XXXX left pleural effusion. No XXXX pneumothorax. XXXX sternotomy XXXX are intact."
    assert label_report(prepared(text, placeholders="unify").findings) == label_report(text)


def test_too_long_section_is_rejected():
    with pytest.raises(ValueError, match="characters; at most"):
        prepared("a" * (MAX_CHARACTERS + 1))
    with pytest.raises(ValueError, match="characters; at most"):
        prepared("a" * (MAX_CHARACTERS + 1), deidentify=False)
