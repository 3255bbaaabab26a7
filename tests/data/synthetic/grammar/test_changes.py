"""Sentences about changes: the labeler reads the present state and the same change, and priors are never compared."""

import numpy as np
import pytest

from data.reports.labeler.labeler import label_sections
from data.reports.labeler.severity import report_severities
from data.reports.sentences import speaks_of_prior, split_sentences
from data.synthetic.grammar.changes import COMPARED, NOTHING_CHANGED, say_change
from data.synthetic.grammar.report import write_report
from data.synthetic.grammar.sentences import Department
from data.synthetic.prior import sample_prior
from data.synthetic.scene import KINDS, SceneFinding, sample_scene
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, POSITIVE

CERTAIN = [
    SceneFinding(finding=finding, kind=kind, laterality="left", zone="lower", degree="moderate")
    for finding, kinds in KINDS.items()
    for kind in kinds
]


def reports(number, generator=lambda index: np.random.default_rng([5, index])):
    for index in range(number):
        scene = sample_scene(np.random.default_rng([3, index]))
        prior = sample_prior(scene, np.random.default_rng([4, index]))
        yield prior, write_report(scene, generator(index), comparison=prior.comparison)


def test_the_labeler_finds_the_labels_and_severities_of_the_grammar():
    for _, report in reports(400):
        text = report.findings, report.impression
        assert label_sections(*text) == report.labels, text
        for stated, true in zip(report_severities(*text), report.severities, strict=True):
            assert stated in (true, 0, -1) or "borderline" in report.findings, text


@pytest.mark.parametrize("item", CERTAIN, ids=lambda item: item.kind)
def test_every_sentence_names_the_present_state(item):
    changes = ("new", "unchanged", "resolved")
    for change in changes if item.finding == "Support Devices" else (*changes, "worse", "better"):
        for seed in range(30):
            sentence = say_change(item, change, np.random.default_rng(seed))
            state = label_sections(sentence)[FINDING_INDEX[item.finding]]
            assert state == (NEGATIVE if change == "resolved" else POSITIVE), sentence
            assert speaks_of_prior(sentence) or change == "resolved", sentence
            if item.laterality in sentence and change != "resolved":
                assert "right" not in sentence


def test_most_changes_are_told_and_nothing_else_is():
    told, num_changes = 0, 0
    for prior, report in reports(200):
        states = set(prior.comparison.changes.values()) - {"none"}
        speaks = [s for s in split_sentences(f"{report.findings} {report.impression}") if speaks_of_prior(s)]
        general = {*COMPARED, *NOTHING_CHANGED}
        if not states:
            assert all(sentence.lstrip("123. ") in general for sentence in speaks), speaks
        num_changes += bool(states)
        told += bool(states and speaks)
    assert told / num_changes > 0.9


def test_the_report_of_the_prior_study_compares_with_nothing():
    for index in range(200):
        scene = sample_scene(np.random.default_rng([3, index]))
        prior = sample_prior(scene, np.random.default_rng([4, index]))
        report = write_report(prior.scene, np.random.default_rng([6, index]))
        for sentence in split_sentences(f"{report.findings} {report.impression}"):
            assert not speaks_of_prior(sentence), sentence


def test_a_department_uses_few_of_the_wordings():
    item = CERTAIN[-1]

    def wordings(make):
        return {say_change(item, "resolved", make(seed)) for seed in range(60)}

    def department(seed):
        return Department(np.random.default_rng(seed).bit_generator, 3)

    assert len(wordings(department)) < len(wordings(np.random.default_rng))
