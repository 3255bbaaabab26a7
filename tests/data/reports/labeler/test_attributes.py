"""Attributes of mentions: side, zone, severity, size, number and change, read from the words around each mention."""

import pytest

from data.reports.labeler.attributes import LARGE, MODERATE, SMALL, TRACE, mention_windows, read_attributes
from data.reports.labeler.claims import join_claims
from data.reports.labeler.labeler import label_report
from data.reports.labeler.statements import report_statements, sentence_statements
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, POSITIVE

LEFT, RIGHT, BOTH = {"left"}, {"right"}, {"left", "right"}
LOWER, MIDDLE, UPPER = {"lower"}, {"middle"}, {"upper"}


def attributes_of(sentence, name):
    return [statement.attributes for statement in sentence_statements(sentence) if statement.name == name]


@pytest.mark.parametrize(
    ("sentence", "name", "sides"),
    [
        ("small left pleural effusion.", "pleural effusion", LEFT),
        ("there is an effusion on the right.", "pleural effusion", RIGHT),
        ("bilateral pleural effusions are seen.", "pleural effusion", BOTH),
        ("left greater than right pleural effusions.", "pleural effusion", BOTH),
        ("pleural effusions, right greater than left.", "pleural effusion", BOTH),
        ("bibasilar atelectasis.", "atelectasis", BOTH),
        ("atelectasis at both bases.", "atelectasis", BOTH),
        ("atelectasis at the lung bases.", "atelectasis", BOTH),
        ("right middle lobe pneumonia.", "pneumonia", RIGHT),
        ("opacity in the middle lobe.", "lung opacity", RIGHT),
        ("lingular consolidation.", "consolidation", LEFT),
        ("rul opacity.", "lung opacity", RIGHT),
        ("lll collapse.", "atelectasis", LEFT),
        ("retrocardiac opacity.", "lung opacity", LEFT),
        ("right retrocardiac opacity.", "lung opacity", RIGHT),
        ("there is a pneumothorax.", "pneumothorax", set()),
        ("left-sided pneumothorax.", "pneumothorax", LEFT),
        ("small left effusion with adjacent atelectasis.", "atelectasis", LEFT),
        ("opacity at the left base may represent atelectasis or pneumonia.", "pneumonia", LEFT),
        ("atelectasis or pneumonia in the right lower lobe.", "atelectasis", RIGHT),
        ("left effusion and right pneumothorax.", "pneumothorax", RIGHT),
        ("left effusion and right pneumothorax.", "pleural effusion", LEFT),
        ("edema with left ventricular enlargement.", "pulmonary edema", set()),
        ("opacity obscures the right heart border.", "lung opacity", set()),
        ("left base opacity, may be pneumonia in the right clinical setting.", "pneumonia", LEFT),
        ("pneumonia in the right context.", "pneumonia", set()),
        ("right lower lobe opacity, left effusion.", "lung opacity", RIGHT),
        ("right lower lobe opacity, left effusion.", "pleural effusion", LEFT),
        ("no pneumothorax on the right; small effusion.", "pneumothorax", RIGHT),
        ("elevated right hemidiaphragm.", "elevated hemidiaphragm", RIGHT),
        ("blunting of the left costophrenic angle.", "blunted costophrenic angle", LEFT),
        ("fractures of the right fifth and sixth ribs.", "rib fracture", RIGHT),
    ],
)
def test_side(sentence, name, sides):
    assert {frozenset(one.sides) for one in attributes_of(sentence, name)} == {frozenset(sides)}


@pytest.mark.parametrize(
    ("sentence", "name", "zones"),
    [
        ("right lower lobe consolidation.", "consolidation", LOWER),
        ("left upper lobe nodule.", "lung nodule", UPPER),
        ("right middle lobe opacity.", "lung opacity", MIDDLE),
        ("lingular opacity.", "lung opacity", MIDDLE),
        ("left apical pneumothorax.", "pneumothorax", UPPER),
        ("perihilar opacities.", "lung opacity", MIDDLE),
        ("mid and lower lung opacities.", "lung opacity", {"middle", "lower"}),
        ("diffuse opacities in both lungs.", "lung opacity", {"upper", "middle", "lower"}),
        ("multifocal pneumonia.", "pneumonia", {"upper", "middle", "lower"}),
        ("bibasilar atelectasis.", "atelectasis", LOWER),
        ("retrocardiac consolidation.", "consolidation", LOWER),
        ("opacity at the right base.", "lung opacity", LOWER),
        ("rll opacity.", "lung opacity", LOWER),
        ("lul mass.", "lung mass", UPPER),
        ("focal opacity.", "lung opacity", set()),
        ("consolidation in the right upper lobe, mild edema.", "pulmonary edema", set()),
    ],
)
def test_zone(sentence, name, zones):
    assert [set(one.zones) for one in attributes_of(sentence, name)] == [zones]


@pytest.mark.parametrize(
    ("sentence", "name", "severity"),
    [
        ("small left pleural effusion.", "pleural effusion", SMALL),
        ("trace effusion.", "pleural effusion", TRACE),
        ("tiny apical pneumothorax.", "pneumothorax", TRACE),
        ("moderate pulmonary edema.", "pulmonary edema", MODERATE),
        ("mild to moderate pulmonary edema.", "pulmonary edema", 1.5),
        ("small-to-moderate effusion.", "pleural effusion", 1.5),
        ("moderate to severe edema.", "pulmonary edema", 2.5),
        ("moderate-to-large right effusion.", "pleural effusion", 2.5),
        ("large right pneumothorax.", "pneumothorax", LARGE),
        ("tension pneumothorax.", "pneumothorax", LARGE),
        ("massive effusion.", "pleural effusion", LARGE),
        ("severe cardiomegaly.", "cardiomegaly", LARGE),
        ("the heart is mildly enlarged.", "cardiomegaly", SMALL),
        ("the heart is markedly enlarged.", "cardiomegaly", LARGE),
        ("minimal left basilar atelectasis.", "atelectasis", SMALL),
        ("plate-like atelectasis.", "atelectasis", SMALL),
        ("complete collapse of the left lung.", "atelectasis", LARGE),
        ("pleural effusion.", "pleural effusion", None),
        ("the effusion has slightly increased.", "pleural effusion", None),
        ("mild interval improvement of pulmonary edema.", "pulmonary edema", None),
        ("small left pneumothorax without evidence of tension.", "pneumothorax", SMALL),
        ("small pneumothorax, no tension.", "pneumothorax", SMALL),
        ("small left pleural effusion, grossly unchanged.", "pleural effusion", SMALL),
        ("cardiomegaly is grossly stable.", "cardiomegaly", None),
        ("the heart is grossly enlarged.", "cardiomegaly", LARGE),
        ("left pneumothorax has decreased from large to small.", "pneumothorax", SMALL),
        ("the previously large left pneumothorax is now small.", "pneumothorax", SMALL),
        ("large left pneumothorax is now small.", "pneumothorax", SMALL),
        ("large effusion has decreased in size to moderate.", "pleural effusion", MODERATE),
        ("the effusion was large and is now small.", "pleural effusion", SMALL),
        ("pleural effusion is not large.", "pleural effusion", None),
        ("no change in the large effusion.", "pleural effusion", LARGE),
        ("atelectasis from large effusion.", "pleural effusion", LARGE),
        ("severely limited film, small effusion.", "pleural effusion", SMALL),
        ("cardiomegaly, mild edema and a large effusion.", "cardiomegaly", None),
        ("cardiomegaly, mild edema and a large effusion.", "pulmonary edema", SMALL),
        ("cardiomegaly, mild edema and a large effusion.", "pleural effusion", LARGE),
    ],
)
def test_severity(sentence, name, severity):
    assert [one.severity for one in attributes_of(sentence, name)] == [severity]


@pytest.mark.parametrize(
    "sentence",
    [
        "small right and moderate left pleural effusions.",
        "moderate left and small right effusions are unchanged.",
        "pleural effusions, small on the right and moderate on the left.",
        "bilateral pleural effusions, moderate on the left and small on the right.",
    ],
)
def test_each_side_keeps_its_own_severity(sentence):
    (claim,) = join_claims(sentence_statements(sentence)).stated.values()
    assert claim.severities == {"right": SMALL, "left": MODERATE}


@pytest.mark.parametrize(
    ("sentence", "name", "size_mm"),
    [
        ("9 mm nodule in the right upper lobe.", "lung nodule", 9),
        ("a 2.5 cm mass.", "lung mass", 25),
        ("mass measuring 4.5 x 6.8 cm.", "lung mass", 68),
        ("nodule measuring 8 x 9 mm.", "lung nodule", 9),
        ("a 12-mm nodule.", "lung nodule", 12),
        ("right lung nodule.", "lung nodule", None),
        ("2 cm apical pneumothorax.", "pneumothorax", 20),
    ],
)
def test_size_in_mm(sentence, name, size_mm):
    assert [one.size_mm for one in attributes_of(sentence, name)] == [size_mm]


@pytest.mark.parametrize(
    ("sentence", "name", "count"),
    [
        ("multiple pulmonary nodules.", "lung nodule", 3),
        ("a solitary nodule.", "lung nodule", 1),
        ("two nodules in the left lung.", "lung nodule", 2),
        ("several rib fractures.", "rib fracture", 3),
        ("left lung nodule.", "lung nodule", None),
    ],
)
def test_number(sentence, name, count):
    assert [one.count for one in attributes_of(sentence, name)] == [count]


@pytest.mark.parametrize(
    ("sentence", "name", "change"),
    [
        ("the effusion has increased.", "pleural effusion", "worse"),
        ("interval worsening of pulmonary edema.", "pulmonary edema", "worse"),
        ("enlarging left pneumothorax.", "pneumothorax", "worse"),
        ("interval increase in the right effusion.", "pleural effusion", "worse"),
        ("the right effusion is larger.", "pleural effusion", "worse"),
        ("pulmonary edema has improved.", "pulmonary edema", "better"),
        ("decreased left effusion.", "pleural effusion", "better"),
        ("the pneumothorax is smaller.", "pneumothorax", "better"),
        ("improving right basilar opacity.", "lung opacity", "better"),
        ("new right lower lobe opacity.", "lung opacity", "new"),
        ("interval development of an effusion.", "pleural effusion", "new"),
        ("stable cardiomegaly.", "cardiomegaly", "same"),
        ("the effusion is unchanged.", "pleural effusion", "same"),
        ("no significant change in the effusion.", "pleural effusion", "same"),
        ("the opacity has not increased.", "lung opacity", "same"),
        ("persistent left effusion.", "pleural effusion", "same"),
        ("small left effusion.", "pleural effusion", ""),
        ("bilateral pleural effusions, right larger than left.", "pleural effusion", ""),
        ("bibasilar opacities, left worse than right.", "lung opacity", ""),
        ("bibasilar opacities, left base worse than right base.", "lung opacity", ""),
        ("pulmonary edema, worse on the right.", "pulmonary edema", ""),
        ("pulmonary edema, less on the left.", "pulmonary edema", ""),
        ("bilateral opacities, more prominent on the right.", "lung opacity", ""),
        ("bilateral effusions have increased, right larger than left.", "pleural effusion", "worse"),
        ("the effusion is larger on the right since the prior.", "pleural effusion", "worse"),
        ("edema is now worse on the right.", "pulmonary edema", "worse"),
        ("stable cardiomegaly and new effusion.", "cardiomegaly", "same"),
        ("stable cardiomegaly and new effusion.", "pleural effusion", "new"),
    ],
)
def test_change(sentence, name, change):
    assert [one.change for one in attributes_of(sentence, name)] == [change]


@pytest.mark.parametrize(
    ("sentence", "is_old"),
    [("old rib fracture.", True), ("healed left rib fractures.", True), ("acute rib fracture.", False)],
)
def test_old_fractures(sentence, is_old):
    (found,) = (statement for statement in sentence_statements(sentence) if "fracture" in statement.name)
    assert found.attributes.is_old == is_old
    assert found.name == ("old fracture" if is_old else "rib fracture")


def test_words_without_attributes_give_one_empty_set():
    (found,) = read_attributes("pleural effusion")
    assert not any((found.sides, found.zones, found.severity, found.size_mm, found.count, found.change, found.is_old))


def test_windows_of_mentions_do_not_overlap():
    text = "opacity in the right lower lobe, likely atelectasis; no effusion"
    spans = [(text.index(word), text.index(word) + len(word)) for word in ("opacity", "atelectasis", "effusion")]
    assert [window.strip(" ,;") for window in mention_windows(text, spans)] == [
        "opacity in the right lower lobe",
        "likely atelectasis",
        "no effusion",
    ]


@pytest.mark.parametrize(
    ("report", "name", "sides", "severity"),
    [
        ("Pleural effusion: small right.", "pleural effusion", RIGHT, SMALL),
        ("Pneumothorax: large, left.", "pneumothorax", LEFT, LARGE),
        ("Effusion – small left", "pleural effusion", LEFT, SMALL),
        ("Edema: mild", "pulmonary edema", set(), SMALL),
        ("Effusion: small right, large left pneumothorax", "pleural effusion", RIGHT, SMALL),
        ("Effusion: small right, large left pneumothorax", "pneumothorax", LEFT, LARGE),
        ("There is a right pleural effusion, which is large.", "pleural effusion", RIGHT, LARGE),
        ("Small effusion: there is a large left pneumothorax.", "pneumothorax", LEFT, LARGE),
    ],
)
def test_answers_of_forms_and_relative_clauses_describe_the_finding(report, name, sides, severity):
    (found,) = (one.attributes for one in report_statements(report) if one.name == name)
    assert (set(found.sides), found.severity) == (sides, severity)


def test_both_findings_of_a_hydropneumothorax_have_its_side_and_severity():
    statements = report_statements("Large right hydropneumothorax.")
    assert {one.name for one in statements} == {"pneumothorax", "pleural effusion"}
    assert [(set(one.attributes.sides), one.attributes.severity) for one in statements] == [(RIGHT, LARGE)] * 2


@pytest.mark.parametrize(
    ("report", "sides"),
    [
        ("Small L effusion.", LEFT),
        ("SMALL R PLEURAL EFFUSION.", RIGHT),
        ("R-sided pleural effusion.", RIGHT),
        ("Lt basal pleural effusion.", LEFT),
        ("L loculated effusion with R basilar atelectasis.", LEFT),
        ("PLEURAL EFFUSION ON THE L.", LEFT),
        ("Pleural effusions (R > L).", BOTH),
        ("L<R pleural effusions.", BOTH),
        ("L greater than R pleural effusions.", BOTH),
        ("R/L pleural effusions.", BOTH),
        ("R AND L PLEURAL EFFUSIONS.", BOTH),
        # A letter that is no side, or not certainly one:
        ("R, L pleural effusions.", set()),
        ("L or R pleural effusion.", set()),
        ("Pleural effusion, 4 L pleural fluid was removed.", set()),
        ("One L pleural fluid was removed, the effusion is smaller.", set()),
        ("PA and L chest radiographs show a pleural effusion.", set()),
        ("Pleural effusion, discussed with Dr L Chest.", set()),
        ("Pleural effusion and fusion of the L spine.", set()),
        ("RT changes and pleural effusion.", set()),
        ("R/O pleural effusion.", set()),
    ],
)
def test_letters_are_sides_where_words_of_the_chest_say_so(report, sides):
    found = [one.attributes for one in report_statements(report) if one.name == "pleural effusion"]
    assert {side for one in found for side in one.sides} == sides and found


def test_letter_at_the_end_of_a_sentence_does_not_join_the_next_one():
    for letter in ("R", "Rt", "LT", "right"):
        labels = label_report(f"No pneumothorax on the {letter}. Small effusion is seen.")
        assert (labels[FINDING_INDEX["Pneumothorax"]], labels[FINDING_INDEX["Pleural Effusion"]]) == (
            NEGATIVE,
            POSITIVE,
        )


def test_sentence_about_the_finding_of_the_last_one_has_its_own_letter():
    statements = report_statements("There is a small effusion on the R. A tiny one is on the L.")
    assert [set(one.attributes.sides) for one in statements] == [RIGHT, LEFT]
