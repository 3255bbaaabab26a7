"""Findings by organ system: every sentence once, in the right system, and the same labels."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.reports.labeler.device_patterns import DEVICES
from data.reports.labeler.labeler import label_report
from data.reports.labeler.other_patterns import OTHERS
from data.reports.labeler.statements import ANY_DEVICE, FINDING_NAMES
from data.reports.structure import SYSTEM_OF, SYSTEMS, by_system, structured_findings, structured_report
from data.synthetic.grammar.report import write_report
from data.synthetic.scene import sample_scene
from vlm.schema.report_format import compose_report, split_report

REAL_REPORTS = Path(__file__).parents[4] / "shared" / "data" / "iu_text" / "reports.jsonl"
NUM_SYNTHETIC = 1000


@pytest.mark.parametrize(
    ("sentence", "system"),
    [
        ("No focal consolidation, pleural effusion, or pneumothorax.", "Lungs"),
        ("The lungs are clear.", "Lungs"),
        ("Lungs are clear without effusion.", "Lungs"),
        ("Pulmonary vascularity is normal.", "Lungs"),
        ("Low lung volumes.", "Lungs"),
        ("Opacity over the right 4th rib.", "Lungs"),
        ("No discrete nodules.", "Lungs"),
        ("Small left pleural effusion with atelectasis.", "Pleura"),
        ("The costophrenic angles are sharp.", "Pleura"),
        ("No pneumothorax after removal of the chest tube.", "Pleura"),
        ("The heart size is normal.", "Heart and mediastinum"),
        ("Heart size and pulmonary vascularity are normal.", "Heart and mediastinum"),
        ("Heart size is normal status post median sternotomy.", "Heart and mediastinum"),
        ("Trachea is midline.", "Heart and mediastinum"),
        ("Tortuous aorta.", "Heart and mediastinum"),
        ("No hilar lymphadenopathy.", "Heart and mediastinum"),
        ("No pericardial effusion.", "Heart and mediastinum"),
        ("Osseous structures are intact.", "Bones"),
        ("No acute bony abnormality.", "Bones"),
        ("Degenerative changes of the thoracic spine.", "Bones"),
        ("Healed fracture of the left 5th rib, no pneumothorax.", "Bones"),
        ("Right chest tube in place without pneumothorax.", "Devices"),
        ("A PICC ends in the SVC.", "Devices"),
        ("Sternotomy wires are intact.", "Devices"),
        ("The endotracheal tube has been removed.", "Devices"),
        ("No free air under the diaphragm.", "Other"),
        ("Soft tissues are unremarkable.", "Other"),
        ("PA and lateral views were obtained.", "Other"),
    ],
)
def test_sentence_goes_to_the_system_of_its_main_statement(sentence, system):
    assert by_system(sentence) == {system: [sentence]}


def test_systems_have_an_order_and_keep_the_order_of_their_sentences():
    findings = "Heart size is normal. No effusion. Left basal opacity. The aorta is tortuous. Right basal opacity."
    assert structured_findings(findings) == (
        "Lungs\nLeft basal opacity. Right basal opacity.\nPleura\nNo effusion.\n"
        "Heart and mediastinum\nHeart size is normal. The aorta is tortuous."
    )


@pytest.mark.parametrize(
    "follower",
    [
        "It is unchanged.",
        "Unchanged.",
        "This may be pneumonia in the right clinical setting.",
        "A tiny one remains on the right.",
        "No significant change since the prior study.",
        "Recommend clinical correlation.",
    ],
)
def test_sentence_about_the_one_before_stays_with_it(follower):
    findings = f"The heart is normal. There is a small pleural effusion. {follower} The bones are intact."
    assert by_system(findings)["Pleura"] == ["There is a small pleural effusion.", follower]


def test_sentence_about_a_tip_stays_with_its_device():
    findings = "Right chest tube in place. It was advanced. No pneumothorax. The tip projects over the apex."
    assert by_system(findings)["Devices"] == [
        "Right chest tube in place.",
        "It was advanced.",
        "The tip projects over the apex.",
    ]


def test_headings_of_the_report_decide_for_their_sentences_and_are_kept():
    findings = "HEART: Normal. No effusion here. LUNGS: Clear. Intact. BONES AND SOFT TISSUES: Normal."
    assert structured_findings(findings) == (
        "LUNGS: Clear. Intact.\nHEART: Normal. No effusion here.\nBONES AND SOFT TISSUES: Normal."
    )


def test_heading_of_the_report_ends_at_a_blank_line_or_another_label():
    findings = "Lungs:\n\nClear.\n\nSmall effusion.\nHeart: Normal.\nTechnical note: The ribs are visible."
    assert by_system(findings) == {
        "Lungs": ["Lungs:", "Clear."],
        "Pleura": ["Small effusion."],
        "Heart and mediastinum": ["Heart: Normal."],
        "Bones": ["Technical note: The ribs are visible."],
    }


def test_statement_is_no_heading():
    assert by_system("Cardiomegaly. Clear lungs. No effusion.") == {
        "Lungs": ["Clear lungs."],
        "Pleura": ["No effusion."],
        "Heart and mediastinum": ["Cardiomegaly."],
    }


def test_impression_is_unchanged():
    report = compose_report(findings="No effusion. Lungs are clear.", impression="Heart is big. 2. No edema.")
    assert structured_report(report) == (
        "Findings:\nLungs\nLungs are clear.\nPleura\nNo effusion.\nImpression:\nHeart is big. 2. No edema."
    )


@pytest.mark.parametrize(
    "findings",
    [
        "",
        "El corazón es normal. Los pulmones están claros.",
        "Nothing to add.",
        "Lungs are clear.\n-----\nNo effusion.",  # the dashes are in no sentence
        "No effusion. heart size is normal.",  # a heading would run into the small letter and state something
    ],
)
def test_findings_that_cannot_be_structured_safely_stay_as_they_are(findings):
    assert structured_findings(findings) == findings


def test_report_without_findings_stays_as_it_is():
    assert structured_report("Impression: No effusion. Heart is normal.") == "Impression: No effusion. Heart is normal."


def test_structured_findings_do_not_change_again():
    findings = "A chest tube. XXXX opacity. The heart is normal. Nothing else. No effusion."
    once = structured_findings(findings)
    assert once != findings
    assert structured_findings(once) == once


def test_every_name_of_a_statement_has_a_system():
    assert set(SYSTEM_OF) == {*FINDING_NAMES, *DEVICES, *OTHERS, ANY_DEVICE}
    assert set(SYSTEM_OF.values()) == set(SYSTEMS)


def words_of(text):
    return Counter(re.findall(r"\w+|[^\w\s]", text))


def without_our_headings(text):
    return "\n".join(line for line in text.split("\n") if line not in SYSTEMS)


def check_report(findings, impression):
    """Whether the report was structured; its words, labels and impression must be the same."""
    before = compose_report(findings=findings, impression=impression)
    structured, after = structured_findings(findings, impression), structured_report(before)
    assert words_of(without_our_headings(structured)) == words_of(findings)
    assert label_report(after) == label_report(before), before
    assert split_report(after).impression == split_report(before).impression
    assert structured_findings(structured, impression) == structured
    return structured != findings


def test_synthetic_reports_keep_their_words_and_labels():
    num_structured = 0
    for seed in range(NUM_SYNTHETIC):
        rng = np.random.default_rng(seed)
        written = write_report(sample_scene(rng), rng)
        num_structured += check_report(written.findings, written.impression)
        structured = structured_report(compose_report(findings=written.findings, impression=written.impression))
        assert label_report(structured) == written.labels
    assert num_structured == NUM_SYNTHETIC


def test_real_reports_keep_their_words_and_labels():
    if not REAL_REPORTS.is_file():
        pytest.skip("needs ../shared/data/iu_text, which cannot be distributed")
    reports = [json.loads(line) for line in REAL_REPORTS.read_text(encoding="utf-8").splitlines()]
    with_findings = [report for report in reports if report["findings"]]
    num_structured = sum(check_report(report["findings"], report["impression"]) for report in reports)
    assert num_structured > 0.99 * len(with_findings)
