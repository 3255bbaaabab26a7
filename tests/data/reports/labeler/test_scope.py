"""What a sentence denies and where: findings that are on one side only, and denials and doubts behind a finding."""

import pytest

from data.reports.labeler.changes import report_changes
from data.reports.labeler.labeler import label_report
from data.reports.labeler.statements import sentence_statements
from vlm.schema.findings import FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN

P, N, U = POSITIVE, NEGATIVE, UNCERTAIN
LEFT, RIGHT, NO_SIDE = {"left"}, {"right"}, set()


def states(text):
    labels = zip(FINDINGS[:-1], label_report(text), strict=False)
    return {finding: state for finding, state in labels if state and finding != "No Finding"}


def sides(sentence):
    return [(one.state, set(one.attributes.sides)) for one in sentence_statements(sentence)]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("There is a small right and no left pleural effusion.", [(P, RIGHT), (N, LEFT)]),
        ("Moderate right but no left effusion.", [(P, RIGHT), (N, LEFT)]),
        ("There is a right but no left pneumothorax.", [(P, RIGHT), (N, LEFT)]),
        ("Right, but no left, pleural effusion.", [(P, RIGHT), (N, LEFT)]),
        ("Right-sided, not left-sided, effusion.", [(P, RIGHT), (N, LEFT)]),
        ("Possible left but no definite right effusion.", [(U, LEFT), (N, RIGHT)]),
        ("No left and small right pleural effusion.", [(N, LEFT), (P, RIGHT)]),
        ("There is no left but a right pneumothorax.", [(N, LEFT), (P, RIGHT)]),
        ("No left or right pneumothorax.", [(N, LEFT | RIGHT)]),
        ("No right and no left pneumothorax.", [(N, RIGHT), (N, LEFT)]),
        ("Opacity on the right and no left effusion.", [(P, RIGHT), (N, LEFT)]),
        ("Effusion on the right, none on the left.", [(P, RIGHT), (N, LEFT)]),
        ("Right effusion, none on left.", [(P, RIGHT), (N, LEFT)]),
        ("Effusion on the right and not on the left.", [(P, RIGHT), (N, LEFT)]),
        ("Small right pleural effusion but none on the left.", [(P, RIGHT), (N, LEFT)]),
        ("No effusion on the right, none on the left.", [(N, RIGHT), (N, LEFT)]),
    ],
)
def test_a_finding_on_one_side_is_there_and_denied_on_the_other(sentence, expected):
    assert sides(sentence) == expected


def test_the_side_before_a_denied_side_keeps_its_severity():
    first, second = sentence_statements("Large right and no left pleural effusion.")
    assert (first.name, first.attributes.severity) == ("pleural effusion", 3.0)
    assert second.attributes.severity is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pneumothorax, none.", {"Pneumothorax": N}),
        ("Pneumothorax, none. Effusion, small.", {"Pneumothorax": N, "Pleural Effusion": P}),
        ("Pneumothorax, none seen.", {"Pneumothorax": N}),
        ("Opacity on the right and no left effusion.", {"Lung Opacity": P, "Pleural Effusion": N}),
        ("The tip of the left PICC is not in the right atrium.", {"Support Devices": P}),
    ],
)
def test_none_denies_the_finding_before_it(text, expected):
    assert states(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It would be difficult to exclude superimposed pneumonia.", {"Pneumonia": U}),
        ("It is difficult to exclude superimposed pneumonia.", {"Pneumonia": U}),
        ("Pneumonia would be difficult to exclude.", {"Pneumonia": U}),
        ("A small pneumothorax would be difficult to see on this film.", {"Pneumothorax": U}),
        ("A small effusion is difficult to see.", {"Pleural Effusion": U}),
        ("Superimposed pneumonia must be considered.", {"Pneumonia": U}),
        ("Superimposed pneumonia would have to be considered.", {"Pneumonia": U}),
        ("Superimposed pneumonia would need to be excluded.", {"Pneumonia": U}),
        ("Pneumonia has to be considered.", {"Pneumonia": U}),
        ("Pleural effusion is minimal, if any.", {"Pleural Effusion": U}),
        ("Pleural effusions are small if any.", {"Pleural Effusion": U}),
        ("Pleural effusion is small, if present.", {"Pleural Effusion": U}),
        ("Right pleural effusion is small or absent.", {"Pleural Effusion": U}),
        ("Small pleural effusions are presumed.", {"Pleural Effusion": U}),
        ("Aspiration pneumonia is a concern.", {"Pneumonia": U}),
        ("Pneumonia is of concern.", {"Pneumonia": U}),
        ("Pleural effusion is small.", {"Pleural Effusion": P}),
        ("Nodule is present, and there is a concern for pneumonia.", {"Lung Lesion": P, "Pneumonia": U}),
    ],
)
def test_hedges_make_a_finding_uncertain(text, expected):
    assert states(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pneumothorax cannot be assessed.", {}),
        ("Pneumothorax could not be adequately evaluated.", {}),
        ("The apices are excluded, so pneumothorax cannot be assessed.", {}),
        ("There is a small effusion, so the size of the heart cannot be assessed.", {"Pleural Effusion": P}),
        ("Large right effusion, the heart size cannot be assessed.", {"Pleural Effusion": P}),
        ("Detection of pneumothorax is limited.", {}),
        ("Assessment for pneumothorax is limited.", {}),
        ("Extensive subcutaneous emphysema makes detection of pneumothorax difficult.", {}),
        ("Sensitivity for pneumothorax is reduced on a supine film.", {}),
        ("Emphysema makes it difficult to detect a small pneumothorax.", {}),
    ],
)
def test_what_cannot_be_assessed_is_not_counted(text, expected):
    assert states(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pneumothorax has not recurred.", {"Pneumothorax": N}),
        ("Pneumothorax did not recur.", {"Pneumothorax": N}),
        ("Pneumothorax never recurred.", {"Pneumothorax": N}),
        ("Effusion did not reaccumulate.", {"Pleural Effusion": N}),
        ("The right effusion has not re-accumulated.", {"Pleural Effusion": N}),
        ("Pneumonia has not developed.", {"Pneumonia": N}),
        ("Pneumonia has not developed further.", {"Pneumonia": P}),
        ("The effusion has not changed.", {"Pleural Effusion": P}),
    ],
)
def test_a_finding_that_did_not_come_back_is_denied(text, expected):
    assert states(text) == expected


def test_a_finding_that_did_not_come_back_has_no_change():
    assert not any(report_changes("Effusion did not reaccumulate. Pneumonia has not developed."))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Small or moderate left effusion.", {"Pleural Effusion": P}),
        ("Mild or moderate cardiomegaly.", {"Cardiomegaly": P}),
        ("New or increased right effusion.", {"Pleural Effusion": P}),
        ("Edema is unchanged or slightly improved.", {"Edema": P}),
        ("One or two nodules in the left lung.", {"Lung Lesion": P}),
        ("Atelectasis or small effusion.", {"Atelectasis": U, "Pleural Effusion": U}),
        ("Vessels or small nodule.", {"Lung Lesion": U}),
        ("No small or moderate effusion or pneumothorax.", {"Pleural Effusion": N, "Pneumothorax": N}),
        ("No pneumothorax, small or moderate effusion.", {"Pneumothorax": N, "Pleural Effusion": P}),
        ("No consolidation, new or increased opacity.", {"Consolidation": N, "Lung Opacity": N}),
        ("No effusion, small or large, or pneumothorax.", {"Pleural Effusion": N, "Pneumothorax": N}),
    ],
)
def test_an_or_between_adjectives_leaves_a_finding_certain(text, expected):
    assert states(text) == expected
