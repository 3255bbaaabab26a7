"""The labeler on sentences written by hand, with the traps of real reports; each case names all that is not blank."""

import json
from pathlib import Path

import pytest

from data.labeler import Evidence, explain_report, label_report
from vlm.findings import FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN

P, N, U = POSITIVE, NEGATIVE, UNCERTAIN
ECM, CARDIO, OPACITY, LESION, EDEMA = FINDINGS[:5]
CONSOLIDATION, PNEUMONIA, ATELECTASIS, PTX, EFFUSION = FINDINGS[5:10]
PLEURA, FRACTURE, DEVICES, NO_FINDING = FINDINGS[10:]

SENTENCES = [
    # Stated
    ("Small left pleural effusion.", {EFFUSION: P}),
    ("There is mild cardiomegaly with small bilateral effusions.", {CARDIO: P, EFFUSION: P}),
    ("Bibasilar subsegmental atelectasis.", {ATELECTASIS: P}),
    ("Left lower lobe collapse.", {ATELECTASIS: P}),
    ("The heart is mildly enlarged.", {CARDIO: P}),
    ("Stable enlarged cardiomediastinal silhouette.", {CARDIO: P, ECM: P}),
    ("The mediastinum appears widened.", {ECM: P}),
    ("Patchy right lower lobe infiltrate.", {OPACITY: P}),
    ("Airspace disease in the lingula.", {OPACITY: P}),
    ("A 7 mm nodular opacity projects over the left apex.", {LESION: P}),
    ("Congestive heart failure with interstitial edema.", {EDEMA: P}),
    ("Prominent interstitial markings.", {OPACITY: P}),
    ("Large left hydropneumothorax.", {PTX: P, EFFUSION: P}),
    ("Biapical pleural thickening.", {PLEURA: P}),
    ("Healed left rib fractures.", {FRACTURE: P}),
    ("Dual lead pacemaker and sternotomy wires.", {DEVICES: P}),
    ("Findings consistent with pneumonia.", {PNEUMONIA: P}),
    # Denied: one, lists, and where the scope ends
    ("No pleural effusion.", {EFFUSION: N}),
    ("No focal consolidation, pleural effusion, or pneumothorax.", {CONSOLIDATION: N, EFFUSION: N, PTX: N}),
    ("There is no evidence of pneumothorax or large effusion.", {PTX: N, EFFUSION: N}),
    ("Without evidence of acute infiltrate.", {OPACITY: N}),
    ("Negative for pneumothorax, effusion or focal airspace consolidation.", {PTX: N, EFFUSION: N, CONSOLIDATION: N}),
    ("The lungs are free of focal airspace disease.", {OPACITY: N}),
    ("No effusion but there is a small pneumothorax.", {EFFUSION: N, PTX: P}),
    ("Small effusion without pneumothorax.", {EFFUSION: P, PTX: N}),
    ("No pneumothorax, small left effusion.", {PTX: N, EFFUSION: P}),
    ("No pneumothorax and stable mild cardiomegaly.", {PTX: N, CARDIO: P}),
    ("No consolidation, possible small effusion.", {CONSOLIDATION: N, EFFUSION: U}),
    ("Right effusion is seen, no pneumothorax.", {EFFUSION: P, PTX: N}),
    ("Neither effusion nor pneumothorax is seen.", {EFFUSION: N, PTX: N}),
    ("No pneumothorax with moderate left effusion.", {PTX: N, EFFUSION: P}),
    ("No pneumonia, effusions, edema, pneumothorax, adenopathy, nodules or masses.",
     {PNEUMONIA: N, EFFUSION: N, EDEMA: N, PTX: N, LESION: N}),
    ("There is no focal air space opacity to suggest a pneumonia.", {OPACITY: N, PNEUMONIA: N}),
    ("No definite pleural effusion seen.", {EFFUSION: N}),
    ("No typical findings of pulmonary edema.", {EDEMA: N}),
    # Denied by words behind
    ("The right effusion has resolved.", {EFFUSION: N}),
    ("Interval resolution of left effusion.", {EFFUSION: N}),
    ("The previously visualized bilateral pneumothoraces have resolved.", {PTX: N}),
    ("Pneumothorax is not identified.", {PTX: N}),
    ("The nodule is no longer seen.", {LESION: N}),
    ("Pneumothorax: None. Pleural effusion: absent.", {PTX: N, EFFUSION: N}),
    ("Effusion or pneumothorax is not seen.", {EFFUSION: N, PTX: N}),
    ("Interval removal of right PICC.", {DEVICES: N}),
    ("Atelectasis is present and pneumothorax is not seen.", {ATELECTASIS: P, PTX: N}),
    # Negations that deny nothing
    ("No change in the left effusion.", {EFFUSION: P}),
    ("No significant interval change in moderate cardiomegaly.", {CARDIO: P}),
    ("Near-complete resolution of the effusion.", {EFFUSION: P}),
    ("The lungs are not clear.", {}),
    ("First rib fracture not well demonstrated.", {FRACTURE: U}),
    # Hedges
    ("Cannot exclude pneumonia.", {PNEUMONIA: U}),
    ("Pneumonia cannot be excluded.", {PNEUMONIA: U}),
    ("A small pneumothorax is not entirely excluded.", {PTX: U}),
    ("Opacity at the left base may represent pneumonia.", {OPACITY: P, PNEUMONIA: U}),
    ("Likely small effusion.", {EFFUSION: U}),
    ("Findings are suspicious for rib fracture.", {FRACTURE: U}),
    ("Left basilar opacity, atelectasis versus infiltrate.", {OPACITY: P, ATELECTASIS: U}),
    ("Scarring or atelectasis in the right midlung.", {ATELECTASIS: U}),
    ("Question of pneumothorax at the right apex.", {PTX: U}),
    ("Basilar opacities, in the correct clinical setting this could represent pneumonia.", {OPACITY: P, PNEUMONIA: U}),
    ("Atelectasis is suspected.", {ATELECTASIS: U}),
    ("Consider CT to exclude a true nodule.", {LESION: U}),
    ("Heart size is borderline.", {CARDIO: U}),
    ("Opacity favored to be fat, but atelectasis or infiltrate cannot be ruled out.", {OPACITY: P, ATELECTASIS: U}),
    ("Minimal if any effusion.", {EFFUSION: U}),
    ("? pneumonia. Edema?", {PNEUMONIA: U, EDEMA: U}),
    # Structures
    ("Heart size is normal.", {CARDIO: N}),
    ("Normal heart size and mediastinal contours.", {CARDIO: N, ECM: N}),
    ("The cardiomediastinal silhouette and pulmonary vasculature are within normal limits.", {CARDIO: N, ECM: N}),
    ("The heart is not significantly enlarged.", {CARDIO: N}),
    ("Heart size is at the upper limits of normal.", {CARDIO: N}),
    ("The heart is normal and the aorta is enlarged.", {CARDIO: N}),
    ("The heart is enlarged but the mediastinum is unremarkable.", {CARDIO: P, ECM: N}),
    ("The lungs are clear.", {OPACITY: N}),
    ("Lungs are clear of consolidation.", {CONSOLIDATION: N}),
    ("The costophrenic angles are sharp.", {EFFUSION: N}),
    ("Bony structures are intact.", {FRACTURE: N}),
    ("The thoracic aorta is tortuous.", {}),
    ("Hyperexpanded lungs with enlarged pulmonary arteries.", {}),
    ("Blunting of the left costophrenic angle.", {}),
    # What is no finding
    ("No acute cardiopulmonary abnormality.", {}),
    ("Small pericardial effusion.", {}),
    ("No mass effect on the trachea, which is midline.", {}),
    ("The thoracic cavity and soft tissues are unremarkable.", {}),
    ("History of pneumonia.", {}),
    ("Evidence of previous granulomatous infection.", {}),
    ("Please note that fractures may not be demonstrated.", {}),
    ("Recommend followup to document resolution.", {}),
    ("XXXX XXXX are normal.", {}),
    # Abbreviations, misspellings, styles
    ("NO PTX OR EFFUSION.", {PTX: N, EFFUSION: N}),
    ("CHF. ETT and right PICC in place.", {EDEMA: P, DEVICES: P}),
    ("No pnuemothorax or plueral effussion.", {PTX: N, EFFUSION: N}),
    ("Cardiomegally.", {CARDIO: P}),
    ("Bibasilar atelectatic changes vs. infiltrate.", {ATELECTASIS: U, OPACITY: U}),
    ("Lungs: no consolidation. Heart: enlarged.", {CONSOLIDATION: N, CARDIO: P}),
    ("Left chest XXXX with tip in the mid SVC.", {DEVICES: P}),
]  # fmt: skip


def states(text: str) -> dict[str, int]:
    labels = dict(zip(FINDINGS, label_report(text), strict=True))
    return {finding: state for finding, state in labels.items() if state and finding != NO_FINDING}


@pytest.mark.parametrize(("sentence", "expected"), SENTENCES)
def test_sentences_written_by_hand(sentence, expected):
    assert states(sentence) == expected


def test_denial_and_doubt_end_with_the_sentence():
    assert states("No effusion. Pneumothorax. Possible edema. Nodule in the left lung.") == {
        EFFUSION: N, PTX: P, EDEMA: U, LESION: P,
    }  # fmt: skip
    assert states("No effusion.Pneumothorax is seen.") == {EFFUSION: N, PTX: P}
    assert states("1. No effusion 2. Pneumothorax is seen") == {EFFUSION: N, PTX: P}
    assert states("- No effusion\n- Pneumothorax") == {EFFUSION: N, PTX: P}


def test_a_wrapped_line_does_not_end_the_sentence():
    assert states("There is no focal consolidation,\npleural effusion or\npneumothorax.") == {
        CONSOLIDATION: N, EFFUSION: N, PTX: N,
    }  # fmt: skip


def test_of_several_mentions_positive_beats_uncertain_beats_negative():
    assert states("No effusion. Possible effusion. Small effusion.") == {EFFUSION: P}
    assert states("Possible effusion. No effusion.") == {EFFUSION: U}
    assert states("No effusion. The effusion has resolved.") == {EFFUSION: N}


def test_no_finding_is_positive_unless_something_but_a_device_is_stated_or_suspected():
    def no_finding(text):
        return label_report(text)[FINDINGS.index(NO_FINDING)]

    assert no_finding("No acute cardiopulmonary abnormality.") == P
    assert no_finding("No effusion. Right PICC in place.") == P
    assert no_finding("Possible effusion.") == 0
    assert no_finding("Mild cardiomegaly. No acute abnormality.") == 0


@pytest.mark.parametrize("text", ["", "  \n ", "...", "123."])
def test_a_text_that_says_nothing_is_all_blank(text):
    assert label_report(text) == (0,) * 14
    assert explain_report(text) == []


def test_headings_are_tolerated_and_only_what_describes_the_picture_is_read():
    report = (
        "INDICATION: Pneumonia, effusion?\nCOMPARISON: None.\nFINDINGS: Small right effusion.\n"
        "IMPRESSION: No pneumothorax."
    )
    assert states(report) == {EFFUSION: P, PTX: N}
    assert states("Findings: The heart is enlarged. Impression: Cardiomegaly.") == {CARDIO: P}
    assert states("History: chest pain. The lungs are clear. Small effusion.") == {OPACITY: N, EFFUSION: P}


def test_evidence_quotes_the_sentence_and_the_words_that_decided():
    evidence = explain_report("Findings: The heart is mildly enlarged. No focal consolidation or PTX. Impression: CHF.")
    assert evidence == [
        Evidence(finding=CARDIO, state=P, sentence="The heart is mildly enlarged.", words="enlarged … heart"),
        Evidence(
            finding=CONSOLIDATION, state=N, sentence="No focal consolidation or PTX.", words="no … focal consolidation"
        ),
        Evidence(finding=PTX, state=N, sentence="No focal consolidation or PTX.", words="no … ptx"),
        Evidence(finding=EDEMA, state=P, sentence="CHF.", words="chf"),
    ]


def test_evidence_accounts_for_every_label():
    belief = {P: 3, U: 2, N: 1}
    for sentence, _ in SENTENCES:
        evidence = explain_report(sentence)
        for finding, state in zip(FINDINGS, label_report(sentence), strict=True):
            mentioned = [item.state for item in evidence if item.finding == finding]
            assert max(mentioned, key=belief.get, default=0) == state


def test_an_endless_sentence_is_read():
    text = "no effusion, small , " * 5000 + "and the heart is enlarged."
    assert states(text)[CARDIO] == P


IU_REPORTS = Path(__file__).parents[1] / "../shared/data/iu_text/reports.jsonl"


@pytest.mark.skipif(not IU_REPORTS.exists(), reason=f"no Indiana reports at {IU_REPORTS}")
def test_real_reports_agree_with_the_codes_that_indexers_gave_them():
    """Not a benchmark: three findings with codes of the same meaning must not fall far."""
    codes = {CARDIO: "Cardiomegaly", ATELECTASIS: "Pulmonary Atelectasis", EFFUSION: "Pleural Effusion"}
    hits = dict.fromkeys(codes, 0)
    wrong = dict.fromkeys(codes, 0)
    normal = []
    for line in IU_REPORTS.read_text(encoding="utf-8").splitlines():
        report = json.loads(line)
        if report["split"] != "val":
            continue
        labels = dict(zip(FINDINGS, label_report(f"{report['findings']}\n{report['impression']}"), strict=True))
        coded = {code.split("/")[0] for code in report["mesh"]}
        for finding, code in codes.items():
            read = labels[finding] in (P, U)
            hits[finding] += read and code in coded
            wrong[finding] += read != (code in coded)
        if coded == {"normal"}:
            normal.append(labels[NO_FINDING] == P)
    for finding in codes:
        assert 2 * hits[finding] / (2 * hits[finding] + wrong[finding]) > 0.8, finding
    assert sum(normal) / len(normal) > 0.97
