"""The labeler on forms, lines, rarer wordings and other languages (table in tests/files)."""

from pathlib import Path

import pytest

from data.reports.labeler.forms import box_statements, write_out
from data.reports.labeler.labeler import explain_report, label_report, label_sections
from data.reports.plain_text import join_lines
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN

STATES = {"positive": POSITIVE, "negative": NEGATIVE, "uncertain": UNCERTAIN}
TABLE = Path(__file__).parents[3] / "files" / "labeler_forms.txt"


def read_table():
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            text, _, states = line.rpartition(" |")
            pairs = [pair.split(": ") for pair in states.strip().split(", ") if pair]
            yield text.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t"), dict(pairs)


TEXTS = list(read_table())


def states(labels):
    return {finding: state for finding, state in zip(FINDINGS[:-1], labels, strict=False) if state}


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_text_has_the_states_that_it_gives(text, expected):
    assert states(label_report(text)) == {finding: STATES[state] for finding, state in expected.items()}


@pytest.mark.parametrize(("text", "expected"), [case for case in TEXTS if "\t" not in case[0]])
def test_text_on_one_line_has_the_same_states(text, expected):
    assert label_report(join_lines(text)) == label_report(text)


def test_end_of_a_section_is_the_end_of_a_sentence():
    labels = label_sections("Heart size is normal. No pneumothorax", "Small left effusion.")
    assert states(labels) == {"Cardiomegaly": NEGATIVE, "Pneumothorax": NEGATIVE, "Pleural Effusion": POSITIVE}
    assert labels[FINDING_INDEX["No Finding"]] == 0


def test_sections_have_the_labels_of_the_whole_report():
    findings, impression = "No effusion\nNo edema", "Left rib fracture"
    whole = f"FINDINGS: {findings}\nIMPRESSION: {impression}"
    assert label_sections(findings, impression) == label_report(whole) == label_report(f"{findings}\n\n{impression}")


def test_every_answer_gets_a_colon():
    assert write_out("Pneumothorax? No. Edema - none. Nodule (no)") == "Pneumothorax: No. Edema: none. Nodule: (no)"
    assert write_out("Edema? Heart is normal. Fluid - likely blood.") == "Edema? Heart is normal. Fluid - likely blood."


def test_boxes_are_read_before_or_behind_their_words():
    assert box_statements("Edema: [x] No [ ] Yes") == ["Edema: No."]
    assert box_statements("Edema: No [ ] Yes [x]") == ["Edema: Yes."]
    assert box_statements("[x] Edema [ ] Nodule") == ["Edema.", "Nodule: no."]
    assert box_statements("No boxes here.") == ["No boxes here."]


def test_empty_boxes_state_nothing_about_an_answer():
    assert label_report("Pneumothorax: [ ] Yes [ ] No") == (0,) * 14


def test_evidence_of_a_form_quotes_the_entry():
    [edema, _] = explain_report("Edema? No")
    assert (edema.finding, edema.state, edema.sentence) == ("Edema", NEGATIVE, "Edema: No")
