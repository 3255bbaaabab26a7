"""Statements of a report: finer names of findings, devices with their position, and what the 14 findings leave out."""

import pytest

from data.reports.labeler.attributes import LARGE
from data.reports.labeler.claims import join_claims
from data.reports.labeler.device_patterns import DEVICES, find_devices, read_position
from data.reports.labeler.labeler import label_report
from data.reports.labeler.other_patterns import OTHERS
from data.reports.labeler.statements import FINDING_NAMES, report_statements, sentence_statements
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, POSITIVE, UNCERTAIN


def states_in(report):
    return {statement.name: statement.state for statement in report_statements(report)}


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("the endotracheal tube tip is 4 cm above the carina.", "endotracheal tube"),
        ("et tube in standard position.", "endotracheal tube"),
        ("ett terminates 3 cm above the carina.", "endotracheal tube"),
        ("tracheostomy tube is in place.", "tracheostomy tube"),
        ("ng tube courses below the diaphragm.", "enteric tube"),
        ("nasogastric tube with tip in the stomach.", "enteric tube"),
        ("dobbhoff tube in the duodenum.", "enteric tube"),
        ("enteric tube ends in the stomach.", "enteric tube"),
        ("right-sided chest tube.", "chest tube"),
        ("left pigtail catheter.", "chest tube"),
        ("swan-ganz catheter in the right pulmonary artery.", "pulmonary artery catheter"),
        ("right picc ends in the svc.", "PICC"),
        ("left chest wall port-a-cath.", "port"),
        ("hemodialysis catheter in the right atrium.", "dialysis catheter"),
        ("right ij central venous catheter.", "central line"),
        ("left subclavian line.", "central line"),
        ("dual-lead pacemaker.", "pacemaker"),
        ("left pectoral icd.", "pacemaker"),
        ("intra-aortic balloon pump.", "circulatory assist device"),
        ("median sternotomy wires are intact.", "sternal wires"),
        ("status post median sternotomy.", "sternal wires"),
        ("prosthetic aortic valve.", "heart valve"),
        ("surgical clips in the right axilla.", "surgical clips"),
        ("coronary stents.", "stent"),
        ("cervical fusion hardware.", "orthopedic hardware"),
        ("tubes are unchanged.", "device"),
    ],
)
def test_devices_by_kind(sentence, name):
    (statement,) = sentence_statements(sentence)
    assert (statement.name, statement.state) == (name, POSITIVE)


@pytest.mark.parametrize(
    ("sentence", "is_good", "place"),
    [
        ("endotracheal tube tip is 4 cm above the carina.", True, "carina"),
        ("endotracheal tube terminates in the right mainstem bronchus.", False, "main bronchus"),
        ("endotracheal tube is at the level of the carina.", False, "carina"),
        ("endotracheal tube is low-lying.", False, ""),
        ("endotracheal tube should be advanced by 2 cm.", False, ""),
        ("endotracheal tube in standard position.", True, ""),
        ("ng tube tip in the stomach.", True, "stomach"),
        ("ng tube is coiled in the esophagus.", False, "esophagus"),
        ("ng tube with side port above the ge junction.", False, "esophagus"),
        ("ng tube is coiled in the stomach.", True, "stomach"),
        ("enteric tube courses into the right lower lobe bronchus.", False, "main bronchus"),
        ("right picc tip in the mid svc.", True, "superior vena cava"),
        ("right picc ends at the cavoatrial junction.", True, "cavoatrial junction"),
        ("right picc ends in the right internal jugular vein.", False, "jugular vein"),
        ("left picc is malpositioned.", False, ""),
        ("left picc is not malpositioned.", None, ""),
        ("picc with tip at the level of the carina.", None, "carina"),
        ("chest tube is kinked.", False, ""),
        ("chest tube in unchanged position.", True, ""),
        ("pacemaker with lead in the right ventricle.", True, "right ventricle"),
        ("right chest tube.", None, ""),
    ],
)
def test_position_of_a_device(sentence, is_good, place):
    (position,) = (statement.position for statement in sentence_statements(sentence) if statement.position)
    assert (position.is_good, position.place) == (is_good, place)


def test_distance_of_a_tip_is_in_mm():
    assert read_position("endotracheal tube", "endotracheal tube ends 4.5 cm above the carina").distance_mm == 45


def test_a_sentence_about_the_tip_belongs_to_the_device_before_it():
    statements = report_statements("There is a right PICC. The tip is in the right internal jugular vein.")
    assert [statement.name for statement in statements] == ["PICC", "PICC"]
    assert statements[-1].position.is_good is False


@pytest.mark.parametrize(
    "report",
    [
        "the patient has been extubated.",
        "interval removal of the endotracheal tube.",
        "the endotracheal tube has been removed.",
        "no endotracheal tube is seen.",
    ],
)
def test_a_removed_device_is_denied(report):
    assert states_in(report) == {"endotracheal tube": NEGATIVE}


@pytest.mark.parametrize(
    ("report", "states"),
    [
        ("free air under the right hemidiaphragm.", {"free air": POSITIVE}),
        ("no free air below the diaphragm.", {"free air": NEGATIVE}),
        ("possible pneumoperitoneum.", {"free air": UNCERTAIN}),
        ("subcutaneous emphysema.", {"subcutaneous emphysema": POSITIVE}),
        ("the lungs are hyperinflated.", {"hyperinflation": POSITIVE}),
        ("the aorta is tortuous and calcified.", {"tortuous aorta": POSITIVE}),
        ("calcified granuloma.", {"granuloma": POSITIVE}),
        ("a calcified nodule in the left lung.", {"granuloma": POSITIVE}),
        ("hiatal hernia.", {"hiatal hernia": POSITIVE}),
        ("degenerative changes of the spine.", {"degenerative change": POSITIVE}),
        ("mild scoliosis.", {"scoliosis": POSITIVE}),
        ("rightward mediastinal shift.", {"mediastinal shift": POSITIVE}),
        ("no hilar adenopathy.", {"lymphadenopathy": NEGATIVE}),
        ("low lung volumes.", {"low lung volumes": POSITIVE}),
        ("no pericardial effusion.", {"pericardial effusion": NEGATIVE}),
        ("history of emphysema.", {}),
    ],
)
def test_abnormalities_that_the_14_findings_leave_out(report, states):
    assert states_in(report) == states


@pytest.mark.parametrize(
    ("report", "name"),
    [
        ("right hilar mass.", "lung mass"),
        ("right lung nodule.", "lung nodule"),
        ("pulmonary edema.", "pulmonary edema"),
        ("pulmonary vascular congestion.", "vascular congestion"),
        ("congestive heart failure.", "pulmonary edema"),
        ("interstitial opacities.", "interstitial opacity"),
        ("patchy opacity.", "lung opacity"),
        ("compression fracture of t8.", "spine fracture"),
        ("fracture of the left seventh rib.", "rib fracture"),
        ("clavicle fracture.", "fracture"),
        ("right empyema.", "hemothorax or empyema"),
        ("mediastinal widening.", "widened mediastinum"),
        ("the cardiomediastinal silhouette is enlarged.", "cardiomegaly"),
    ],
)
def test_finer_names_of_findings(report, name):
    assert list(states_in(report)) == [name]


def test_a_stretched_hedge_reaches_each_name():
    assert states_in("opacity in the right base, atelectasis versus pneumonia.") == {
        "lung opacity": POSITIVE,
        "atelectasis": UNCERTAIN,
        "pneumonia": UNCERTAIN,
    }


def test_statements_do_not_change_the_labels():
    report = "Small left effusion. Swan-Ganz catheter. No pneumothorax. Possible pneumonia."
    labels = label_report(report)
    report_statements(report)
    assert label_report(report) == labels
    assert labels[FINDING_INDEX["Pleural Effusion"]] == POSITIVE


def test_names_are_distinct():
    names = [*FINDING_NAMES, *DEVICES, *OTHERS]
    assert len(names) == len(set(names))


def test_the_more_specific_device_comes_first():
    assert [kind for *_, kind in find_devices("right internal jugular dialysis catheter and swan-ganz catheter")] == [
        "dialysis catheter",
        "pulmonary artery catheter",
    ]


def test_claims_join_all_statements_of_a_report():
    claims = join_claims(report_statements("Large right effusion. Impression: Possible left effusion."))
    (claim,) = claims.stated.values()
    assert (claim.name, claim.sides, claim.severity, claim.is_certain) == (
        "pleural effusion",
        {"left", "right"},
        LARGE,
        True,
    )
    assert claim.describe() == "large bilateral pleural effusion"


@pytest.mark.parametrize(
    ("report", "contradicted"),
    [
        ("small left pleural effusion. no pleural effusion.", {"pleural effusion"}),
        ("small left pleural effusion. no right pleural effusion.", set()),
        ("small left pleural effusion. no large pleural effusion.", set()),
        ("possible effusion. no pleural effusion.", set()),
        ("the prior effusion. no pleural effusion.", set()),
        ("no pneumothorax. there is a pneumothorax.", {"pneumothorax"}),
    ],
)
def test_contradictions_need_a_denial_without_limits(report, contradicted):
    assert join_claims(report_statements(report)).contradicted == contradicted


@pytest.mark.parametrize(
    ("sentence", "statements"),
    [
        (
            "No pleural effusion on the left, but a large effusion on the right.",
            [(NEGATIVE, {"left"}, None, ""), (POSITIVE, {"right"}, LARGE, "")],
        ),
        (
            "Left pleural effusion has increased and the right effusion has decreased.",
            [(POSITIVE, {"left"}, None, "worse"), (POSITIVE, {"right"}, None, "better")],
        ),
        (
            "The left effusion has resolved, but a large pleural effusion and a loculated effusion are on the right.",
            [(NEGATIVE, {"left"}, None, "better"), (POSITIVE, {"right"}, LARGE, ""), (POSITIVE, {"right"}, None, "")],
        ),
        (
            "No focal consolidation on the left, although right lower lobe consolidation is present.",
            [(NEGATIVE, {"left"}, None, ""), (POSITIVE, {"right"}, None, "")],
        ),
    ],
)
def test_each_mention_of_a_finding_is_a_statement_of_its_own(sentence, statements):
    assert [
        (one.state, set(one.attributes.sides), one.attributes.severity, one.attributes.change)
        for one in sentence_statements(sentence)
    ] == statements


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("22 mm right upper lobe nodule, not calcified.", "lung nodule"),
        ("9 mm left lower lobe nodule, not definitively calcified.", "lung nodule"),
        ("A non calcified nodule in the right upper lobe.", "lung nodule"),
        ("Noncalcified nodule.", "lung nodule"),
        ("Nodule without calcified center.", "lung nodule"),
        ("9 mm left lower lobe nodule, densely calcified.", "granuloma"),
        ("Calcified right upper lobe nodule.", "granuloma"),
    ],
)
def test_a_nodule_that_is_not_calcified_is_no_granuloma(sentence, name):
    assert [one.name for one in sentence_statements(sentence)] == [name]
