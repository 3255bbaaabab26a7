"""The errors of the machine-written report after a correction."""

import re

from page.cards.errors import errors_card

MACHINE = "Findings: Large left pleural effusion. Endotracheal tube. Impression: Effusion."


def test_errors_are_listed_in_words_with_a_filter_by_kind():
    card = errors_card(MACHINE, "Findings: Large right pleural effusion. Impression: Effusion.")
    errors = re.findall(r'<li class="kind-(\d)">([^<]*)</li>', card)
    assert errors == [
        ("1", "wrong side: pleural effusion, left instead of right (critical)"),
        ("2", "false device: endotracheal tube (minor)"),
    ]
    assert re.findall(r">\s([^<]*\(\d\))</label>", card) == ["all (2)", "wrong side (1)", "false device (1)"]
    assert card.count(".report-errors:has(") == 2


def test_one_kind_needs_no_filter():
    card = errors_card(MACHINE, MACHINE.replace(" Endotracheal tube.", ""))
    assert "false device: endotracheal tube (minor)" in card
    assert "<input" not in card


def test_same_statements_have_no_errors():
    card = errors_card(MACHINE, MACHINE.replace("Large left", "There is a large left"))
    assert "None found" in card
    assert "<li" not in card


def test_there_is_nothing_to_compare_without_a_text():
    assert errors_card("", MACHINE) == ""
    assert errors_card(MACHINE, " ") == ""


def test_text_of_the_reader_is_escaped():
    card = errors_card(
        MACHINE, "Findings: Compared with the prior <script>alert(1)</script> study, unchanged effusion."
    )
    assert "<script>" not in card
    assert "missing comparison" in card
