"""Errors of a report against its reference: kinds, words, harm, and the order of candidates."""

import itertools
import re
from pathlib import Path

import pytest

from data.reports.labeler.device_patterns import DEVICES
from data.reports.labeler.other_patterns import OTHERS
from data.reports.labeler.statements import ANY_DEVICE, FINDING_NAMES
from eval.metrics import errors
from eval.metrics.errors import ERROR_KINDS, SHARES, error_scores, report_errors
from eval.metrics.harm import (
    BENIGN,
    CRITICAL,
    GENERAL,
    HARMS,
    LEVELS,
    MINOR,
    MISPLACED,
    NEAR,
    URGENT,
    harm_of,
    level_of,
)

ROOT = Path(__file__).parents[3]


def errors_of(report, reference):
    return [error.words for error in report_errors(report, reference).errors]


def score_of(report, reference):
    return report_errors(report, reference).score


@pytest.mark.parametrize(
    ("report", "reference", "words"),
    [
        (
            "lungs are clear.",
            "moderate left pleural effusion.",
            "missing finding: moderate left pleural effusion (urgent)",
        ),
        ("mild cardiomegaly.", "heart size is normal.", "false finding: small cardiomegaly (minor)"),
        ("right pneumothorax.", "left pneumothorax.", "wrong side: pneumothorax, right instead of left (critical)"),
        (
            "left effusion.",
            "bilateral effusions.",
            "wrong side: pleural effusion, left instead of left and right (minor)",
        ),
        ("effusion.", "left effusion.", "wrong side: pleural effusion, no place instead of left (benign)"),
        (
            "left upper lobe consolidation.",
            "left lower lobe consolidation.",
            "wrong location: consolidation, upper instead of lower (minor)",
        ),
        ("mild edema.", "severe edema.", "wrong severity: pulmonary edema, small instead of large (urgent)"),
        ("9 mm nodule.", "2.5 cm nodule.", "wrong severity: lung nodule, 9 mm instead of 25 mm (minor)"),
        ("possible pneumonia.", "pneumonia.", "wrong certainty: pneumonia, possible instead of stated (benign)"),
        ("right picc. no effusion.", "no effusion.", "false device: right PICC (minor)"),
        ("no effusion.", "right picc. no effusion.", "missing device: right PICC (minor)"),
        (
            "endotracheal tube in standard position.",
            "endotracheal tube in the right mainstem bronchus.",
            "wrong device position: endotracheal tube is in a bad position, which is not said (critical)",
        ),
        (
            "ng tube coiled in the esophagus.",
            "ng tube in the stomach.",
            "wrong device position: enteric tube is not in a bad position (urgent)",
        ),
        ("unchanged since ___. no effusion.", "no effusion.", "false comparison: “unchanged” (benign)"),
        ("no effusion.", "compared to the prior study, no effusion.", "missing comparison: “compared to” (benign)"),
        (
            "pulmonary edema has improved.",
            "pulmonary edema has worsened.",
            "false comparison: pulmonary edema, better instead of worse (minor)",
        ),
        (
            "left pleural effusion. no pleural effusion.",
            "left pleural effusion.",
            "contradiction: pleural effusion is stated and denied (minor)",
        ),
        ("no pneumothorax.", "pneumothorax.", "missing finding: pneumothorax, which is denied (critical)"),
        ("opacity.", "pneumonia.", "missing finding: pneumonia, reported as lung opacity (minor)"),
        ("clear lungs.", "granuloma.", "missing finding: granuloma (benign)"),
        ("portable view.", "clear lungs.", "missing finding: the report says nothing about the chest (urgent)"),
    ],
)
def test_each_kind_of_error_is_named_in_plain_words(report, reference, words):
    assert words in errors_of(report, reference)
    assert words.split(":")[0] in ERROR_KINDS


@pytest.mark.parametrize(
    ("report", "reference"),
    [
        ("the heart is enlarged.", "cardiomegaly."),
        ("lungs are clear. no effusion.", "no acute cardiopulmonary process. no effusion."),
        ("no pneumothorax. small effusion on the left.", "there is a small left pleural effusion."),
        ("left pleural effusion and a large pneumothorax.", "large pneumothorax. left pleural effusion."),
        ("et tube tip 4 cm above the carina.", "endotracheal tube ends 4 cm above the carina."),
        ("right base atelectasis.", "right lower lobe atelectasis."),
    ],
)
def test_other_words_for_the_same_are_no_error(report, reference):
    found = report_errors(report, reference)
    assert found.errors == ()
    assert 0.97 <= found.score < 1


@pytest.mark.parametrize(
    "report", ["Findings: Small left effusion. Impression: Effusion.", "no acute process.", "effusion. no effusion."]
)
def test_the_reference_itself_scores_1(report):
    assert score_of(report, report) == pytest.approx(1)


@pytest.mark.parametrize("reference", ["large right pneumothorax.", "clear lungs."])
def test_an_empty_report_scores_0(reference):
    assert score_of("", reference) == 0
    assert score_of("  ", reference) == 0


@pytest.mark.parametrize(
    ("reference", "candidates"),
    [
        (
            "large left pneumothorax. small right pleural effusion. calcified granuloma.",
            [
                "large left pneumothorax. small right pleural effusion.",
                "large left pneumothorax. calcified granuloma.",
                "small right pleural effusion. calcified granuloma.",
                "calcified granuloma.",
            ],
        ),
        (
            "no acute process.",
            ["clear lungs.", "degenerative spine.", "mild atelectasis.", "pneumonia.", "tension pneumothorax."],
        ),
        (
            "right lower lobe pneumonia.",
            [
                "right lower lobe pneumonia.",
                "right lower lobe consolidation.",
                "right lower lobe opacity.",
                "right atelectasis.",
                "left lung opacity.",
            ],
        ),
        (
            "moderate right effusion.",
            [
                "moderate right effusion.",
                "effusion.",
                "small right effusion.",
                "moderate left effusion.",
                "no effusion.",
            ],
        ),
    ],
)
def test_candidates_are_ordered_by_harm(reference, candidates):
    scores = [score_of(candidate, reference) for candidate in candidates]
    assert all(better > worse for better, worse in itertools.pairwise(scores)), scores


def test_candidates_with_equal_findings_are_ordered_by_words():
    reference = "the lungs are clear without effusion or pneumothorax."
    near, far = (score_of(text, reference) for text in ("the lungs are clear without effusion.", "normal chest."))
    assert 1 > near > far >= 0.97


def test_score_is_the_formula_of_the_documents():
    reference, report = "moderate pulmonary edema.", "severe pneumonia."
    found = report_errors(report, reference)
    words_in_common = 0
    near = NEAR[frozenset({"pulmonary edema", "pneumonia"})]
    harm = (URGENT + CRITICAL - URGENT / 2) * (1 - near)
    assert found.harm == pytest.approx(harm)
    agreed = URGENT * near
    assert found.score == pytest.approx(0.97 * (0.5 + agreed) / (0.5 + agreed + harm) + 0.03 * words_in_common)


def test_a_false_finding_costs_as_much_as_a_missing_one():
    with_effusion, without = "moderate effusion. clear lungs.", "no effusion. clear lungs."
    assert report_errors(with_effusion, without).harm == pytest.approx(URGENT)
    assert report_errors("clear lungs.", with_effusion).harm == pytest.approx(URGENT)


def test_a_suspected_finding_weighs_less():
    missing, suspected = (
        report_errors("clear lungs.", reference).harm for reference in ("pneumonia.", "possible pneumonia.")
    )
    assert suspected < missing


def test_the_caller_can_change_the_weights():
    report, reference = "clear lungs.", "hiatal hernia."
    changed = HARMS | {"hiatal hernia": (CRITICAL, CRITICAL, CRITICAL)}
    assert report_errors(report, reference, changed).harm == CRITICAL
    assert report_errors(report, reference).harm == MINOR


def test_a_general_word_beside_its_explanation_costs_little():
    reference = "right lower lobe pneumonia."
    with_opacity = report_errors("right lower lobe opacity, pneumonia.", reference).harm
    alone = report_errors("right lower lobe opacity.", reference).harm
    assert with_opacity < alone / 2


def test_errors_come_with_the_most_harmful_first():
    harms = [error.harm for error in report_errors("mild edema.", "left pneumothorax. scoliosis. effusion.").errors]
    assert harms == sorted(harms, reverse=True)
    assert len(harms) == 4


@pytest.mark.parametrize(
    ("severity", "harm"),
    [(None, URGENT), (0.75, MINOR), (1, MINOR), (1.5, 0.375), (2, URGENT), (2.5, 0.75), (3, CRITICAL)],
)
def test_weight_grows_with_severity(severity, harm):
    assert harm_of("pleural effusion", severity) == pytest.approx(harm)


def test_levels_of_harm():
    assert [level_of(harm) for harm in (CRITICAL, URGENT, MINOR, BENIGN)] == ["critical", "urgent", "minor", "benign"]
    assert [name for _, name in LEVELS] == ["critical", "urgent", "minor", "benign"]


def test_every_name_has_a_weight():
    assert set(HARMS) == {*FINDING_NAMES, *DEVICES, *OTHERS, ANY_DEVICE}
    assert all(mild <= usual <= severe for mild, usual, severe in HARMS.values())
    assert {name for pair in NEAR for name in pair} | GENERAL | set(MISPLACED) <= set(HARMS)


def test_scores_of_several_studies():
    reports, references = ["clear lungs.", "right picc. clear lungs."], ["effusion.", "clear lungs."]
    found = error_scores(reports, references)
    for study, pair in enumerate(zip(reports, references, strict=True)):
        one = report_errors(*pair)
        assert found.scores[study] == one.score
        assert found.harms[study] == pytest.approx(one.harm)
    counts = [dict(zip(ERROR_KINDS, row, strict=True)) for row in found.counts.tolist()]
    assert counts[0]["missing finding"] == 1 and sum(counts[0].values()) == 1
    assert counts[1]["false device"] == 1 and sum(counts[1].values()) == 1


def test_lists_of_different_lengths_are_rejected():
    with pytest.raises(ValueError, match="2 reports but 1 references"):
        error_scores(["one", "two"], ["one"])


def test_the_documented_weights_are_those_of_the_table():
    text = (ROOT / "docs" / "METRICS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (critical|urgent|minor|benign) \| (\w+) \| (\w+) \|$", text, re.MULTILINE)
    documented = {name.strip(): levels for names, *levels in rows for name in names.split(",")}
    assert documented == {name: [level_of(harm) for harm in harms] for name, harms in HARMS.items()}
    assert all(f"| {difference} | {share:g} |" in text for difference, share in SHARES.items())


def test_each_reference_is_read_once_for_all_systems(monkeypatch):
    references = [f"There is a {size} mm nodule in the left upper lobe." for size in range(2, 302)]
    read = []
    described = errors.described_sentences
    monkeypatch.setattr(errors, "described_sentences", lambda text: read.append(text) or described(text))
    errors._content.cache_clear()
    for report in ("The lungs are clear.", "There is a left pneumothorax."):
        error_scores([report] * len(references), references)
    assert sorted(read) == sorted([*references, "The lungs are clear.", "There is a left pneumothorax."])
