"""The choice of one candidate report: agreement with the classifier, contradictions, sides, the first of equals."""

from dataclasses import replace

import numpy as np
import pytest

from eval.checks.candidates import best_candidate, generate_reports
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import CHANGES, FINDING_INDEX, NUM_FINDINGS
from vlm.schema.study_report import StudyReport
from vlm.uncertainty import Calibration

CALIBRATION = Calibration()
CLEAR = "Findings: The lungs are clear. No pleural effusion. Impression: No acute cardiopulmonary abnormality."
EFFUSION = "Findings: There is a small left pleural effusion. Impression: Left pleural effusion."


def report(text, positive=()):
    probabilities = np.full(NUM_FINDINGS, 0.1)
    probabilities[[FINDING_INDEX[finding] for finding in positive]] = 0.9
    return StudyReport(
        report=text,
        findings="",
        impression="",
        finding_probabilities=tuple(probabilities),
        attention_maps=np.zeros((NUM_FINDINGS, 1, 1, 1)),
        tokens=(),
        token_log_probabilities=(),
        is_truncated=False,
    )


def chosen(texts, positive, calibration=CALIBRATION):
    return best_candidate([report(text, positive) for text in texts], calibration).report


def test_report_that_agrees_with_the_classifier_is_chosen():
    assert chosen([CLEAR, CLEAR, EFFUSION], ["Pleural Effusion"]) == EFFUSION
    assert chosen([EFFUSION, EFFUSION, CLEAR], ["No Finding"]) == CLEAR


@pytest.mark.parametrize(
    "wrong",
    [
        EFFUSION + " No pleural effusion on the left.",
        EFFUSION.replace("Impression: Left", "Impression: Right"),
        EFFUSION.replace("Impression:", "Unchanged from the prior study. Impression:"),
    ],
)
def test_report_that_contradicts_itself_or_mentions_a_prior_is_not_chosen(wrong):
    assert chosen([wrong, wrong, EFFUSION], ["Pleural Effusion"]) == EFFUSION


@pytest.mark.parametrize(
    ("decided", "best"), [("worse", "increased"), ("better", "decreased"), ("unchanged", "unchanged"), ("resolved", "")]
)
def test_report_that_states_the_change_that_the_change_head_decides_is_chosen(decided, best):
    """The finding is present, so it cannot have resolved: then the next probable change counts, "unchanged"."""
    changes = np.full((NUM_FINDINGS, len(CHANGES)), 0.02)
    changes[:, CHANGES.index("none")] = 0.9
    changes[FINDING_INDEX["Pleural Effusion"], [CHANGES.index(decided), CHANGES.index("unchanged")]] = 0.9, 0.05
    changes[FINDING_INDEX["Pleural Effusion"], CHANGES.index("none")] = 0.01
    texts = [EFFUSION, *(f"{EFFUSION} The effusion has {word}." for word in ("increased", "decreased"))]
    texts.append(f"{EFFUSION} The effusion is unchanged.")
    candidates = [
        replace(report(text, ["Pleural Effusion"]), change_probabilities=tuple(map(tuple, changes))) for text in texts
    ]
    expected = next(text for text in texts if (best or "unchanged") in text)
    assert best_candidate(candidates, CALIBRATION).report == expected
    without = [replace(candidate, change_probabilities=None) for candidate in candidates]
    assert best_candidate(without, CALIBRATION).report == EFFUSION


def at_side(columns, *, views=1):
    """Attention [14, views, 1, 4] of all findings on these columns of the last view."""
    maps = np.zeros((NUM_FINDINGS, views, 1, 4))
    maps[:, -1, :, columns] = 1 / len(columns)
    return maps


@pytest.mark.parametrize(
    "wrong",
    [EFFUSION.replace("left", "right").replace("Left", "Right"), EFFUSION.replace("small left", "small bilateral")],
)
def test_report_that_names_a_side_without_attention_is_not_chosen(wrong):
    def kept(texts, maps, views=()):
        candidates = [replace(report(text, ["Pleural Effusion"]), attention_maps=maps) for text in texts]
        return best_candidate(candidates, CALIBRATION, views).report

    texts = [wrong, wrong, EFFUSION]
    assert kept(texts, at_side([3])) == EFFUSION  # the patient's left
    assert kept(texts, at_side([1, 2])) == wrong  # both sides: the first
    assert kept(texts, at_side([3], views=2), ["PA", "LATERAL"]) == wrong
    contradicting = EFFUSION + " No pleural effusion on the left."
    assert kept([wrong, contradicting], at_side([3])) == wrong


def test_first_of_equal_reports_is_chosen():
    first, second = report(CLEAR, ["No Finding"]), report(CLEAR, ["No Finding"])
    assert best_candidate([first, second], CALIBRATION) is first


def test_report_that_is_cut_off_is_not_chosen():
    whole = report(CLEAR, ["No Finding"])
    assert best_candidate([replace(whole, is_truncated=True), whole], CALIBRATION) is whole


def test_findings_without_training_labels_are_not_compared():
    labeled = np.ones(NUM_FINDINGS, dtype=int)
    labeled[FINDING_INDEX["Pleural Effusion"]] = 0
    calibration = Calibration(num_studies=1, num_labeled=tuple(labeled.tolist()))
    both = ["Pleural Effusion", "No Finding"]
    assert chosen([EFFUSION, CLEAR], both, calibration) == CLEAR
    assert chosen([EFFUSION, CLEAR], both[:1]) == EFFUSION


def test_empty_reports_can_be_compared():
    assert chosen(["", ""], []) == ""


def test_generator_writes_candidates_and_one_is_kept(tiny_checkpoint, images):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    options = GenerationOptions(max_new_tokens=10, num_candidates=4)
    [candidates] = generator.generate_candidates([images[:1]], options=options)
    [kept] = generate_reports(generator, [images[:1]], options=options)
    assert len(candidates) == 4
    assert kept.report in [candidate.report for candidate in candidates]
    greedy = GenerationOptions(max_new_tokens=10)
    assert candidates[0].report == generate_reports(generator, [images[:1]], options=greedy)[0].report
    with pytest.raises(ValueError, match="several candidates need generate_candidates"):
        generator.generate([images[:1]], options=options)


def test_only_studies_whose_greedy_report_has_an_error_get_more_candidates(tiny_checkpoint, images, monkeypatch):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    studies, views = [[image] for image in images[:3]], [["PA"], ["AP"], ["LATERAL"]]
    greedy = [report(EFFUSION, ["Pleural Effusion"]), report(CLEAR, ["Edema"]), report(CLEAR, ["No Finding"])]
    asked = []

    def generate_candidates(given, **settings):
        asked.append((given, settings))
        return [[greedy[1], report(EFFUSION, ["Edema"]), report("Findings: Edema. Impression: Edema.", ["Edema"])]]

    monkeypatch.setattr(generator, "generate", lambda given, **settings: list(greedy))
    monkeypatch.setattr(generator, "generate_candidates", generate_candidates)
    options = GenerationOptions(num_candidates=3)
    kept = generate_reports(generator, studies, options=options, view_positions=views, indications=None)
    assert [one.report for one in kept] == [EFFUSION, "Findings: Edema. Impression: Edema.", CLEAR]
    assert asked == [([studies[1]], {"options": options, "view_positions": [views[1]]})]
