"""The labeler on sentences that were written and labeled by hand, and on real reports (tables in tests/files)."""

import json
import time
from pathlib import Path

import pytest

from bench.labeler_mesh import NARROW, REPORTS, agreement, read_reports, scores
from data.reports.labeler.context_patterns import fix_spelling
from data.reports.labeler.labeler import Evidence, explain_report, label_report
from vlm.schema.findings import FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN

P, N, U = POSITIVE, NEGATIVE, UNCERTAIN
ECM, CARDIO, OPACITY, LESION, EDEMA = FINDINGS[:5]
CONSOLIDATION, PNEUMONIA, ATELECTASIS, PTX, EFFUSION = FINDINGS[5:10]
PLEURA, FRACTURE, DEVICES, NO_FINDING = FINDINGS[10:]

TABLES = Path(__file__).parents[3] / "files"
STATES = {"positive": P, "negative": N, "uncertain": U}


def read_traps():
    """(sentence, its states) of every line of the table."""
    for line in (TABLES / "labeler_traps.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            sentence, _, states = line.rpartition(" |")
            pairs = [pair.split(": ") for pair in states.strip().split(", ") if pair]
            yield sentence, {finding: STATES[state] for finding, state in pairs}


SENTENCES = list(read_traps())


def states(text: str) -> dict[str, int]:
    labels = dict(zip(FINDINGS, label_report(text), strict=True))
    return {finding: state for finding, state in labels.items() if state and finding != NO_FINDING}


@pytest.mark.parametrize(("sentence", "expected"), SENTENCES)
def test_handwritten_sentences(sentence, expected):
    assert states(sentence) == expected


@pytest.mark.parametrize(("split", "floor"), [("train", 0.98), ("val", 0.93)])
def test_real_sentences_agree_with_manual_labels(split, floor):
    """Share of mentions with the same state. The rules were tuned on `train`, not on `val`."""
    agree = num_mentions = 0
    for line in (TABLES / "labelled_sentences.jsonl").read_text(encoding="utf-8").splitlines():
        labelled = json.loads(line)
        if labelled["split"] == split:
            by_hand = {finding: STATES[state] for finding, state in labelled["states"].items()}
            read = states(labelled["sentence"])
            num_mentions += len(by_hand | read)
            agree += sum(by_hand.get(finding) == read.get(finding) for finding in by_hand | read)
    assert num_mentions > 100
    assert agree / num_mentions >= floor


def test_negation_and_uncertainty_end_with_the_sentence():
    assert states("No effusion. Pneumothorax. Possible edema. Nodule in the left lung.") == {
        EFFUSION: N, PTX: P, EDEMA: U, LESION: P,
    }  # fmt: skip
    assert states("No effusion.Pneumothorax is seen.") == {EFFUSION: N, PTX: P}
    assert states("1. No effusion 2. Pneumothorax is seen") == {EFFUSION: N, PTX: P}
    assert states("- No effusion\n- Pneumothorax") == {EFFUSION: N, PTX: P}


def test_wrapped_line_does_not_end_the_sentence():
    assert states("There is no focal consolidation,\npleural effusion or\npneumothorax.") == {
        CONSOLIDATION: N, EFFUSION: N, PTX: N,
    }  # fmt: skip


def test_positive_overrides_uncertain_overrides_negative():
    assert states("No effusion. Possible effusion. Small effusion.") == {EFFUSION: P}
    assert states("Possible effusion. No effusion.") == {EFFUSION: U}
    assert states("No effusion. The effusion has resolved.") == {EFFUSION: N}


def test_no_finding_is_positive_unless_another_finding_than_devices_is_positive_or_uncertain():
    def no_finding(text):
        return label_report(text)[FINDINGS.index(NO_FINDING)]

    assert no_finding("No acute cardiopulmonary abnormality.") == P
    assert no_finding("No effusion. Right PICC in place.") == P
    assert no_finding("Possible effusion.") == 0
    assert no_finding("Mild cardiomegaly. No acute abnormality.") == 0


@pytest.mark.parametrize("text", ["", "  \n ", "...", "123."])
def test_text_without_letters_is_all_blank(text):
    assert label_report(text) == (0,) * 14
    assert explain_report(text) == []


def test_only_sections_that_describe_the_image_are_read():
    report = (
        "INDICATION: Pneumonia, effusion?\nCOMPARISON: None.\nFINDINGS: Small right effusion.\n"
        "IMPRESSION: No pneumothorax."
    )
    assert states(report) == {EFFUSION: P, PTX: N}
    assert states("Findings: The heart is enlarged. Impression: Cardiomegaly.") == {CARDIO: P}
    assert states("History: chest pain. The lungs are clear. Small effusion.") == {OPACITY: N, EFFUSION: P}


def test_evidence_quotes_the_sentence_and_the_deciding_words():
    evidence = explain_report("Findings: The heart is mildly enlarged. No focal consolidation or PTX. Impression: CHF.")
    assert evidence == [
        Evidence(finding=CARDIO, state=P, sentence="The heart is mildly enlarged.", words="enlarged … heart"),
        Evidence(
            finding=CONSOLIDATION, state=N, sentence="No focal consolidation or PTX.", words="no … focal consolidation"
        ),
        Evidence(finding=PTX, state=N, sentence="No focal consolidation or PTX.", words="no … ptx"),
        Evidence(finding=EDEMA, state=P, sentence="CHF.", words="chf"),
    ]


def test_evidence_explains_every_label():
    belief = {P: 3, U: 2, N: 1}
    for sentence, _ in SENTENCES:
        evidence = explain_report(sentence)
        for finding, state in zip(FINDINGS, label_report(sentence), strict=True):
            mentioned = [item.state for item in evidence if item.finding == finding]
            assert max(mentioned, key=belief.get, default=0) == state


def test_very_long_sentence_is_labeled():
    text = "no effusion, small , " * 5000 + "and the heart is enlarged."
    assert states(text)[CARDIO] == P


ENDLESS = [
    *(
        ",",
        "no effusion, ",
        "lungs is ",
        "heart, ",
        "normal ",
        "thoracic ",
        "no significant ",
        "effusion or ",
        "may be ",
    ),
    *("?", "1. A ", "Findings: ", "fracture of sternal ", "pneumothoraxi pneumothxrax ", "\n", "x"),
    *(":", ": no ", "| ", "[ ] ", "[x] no", "one ", "the left ", "a small one ", "...", "\t", "   ", "no no ", "- "),
    *("A: no\n", "no\n", "a\n\n", "<p>", "<p ", "&amp;", "\\n", "apparent heart ", "resolved ", "kein ", "is seen "),
    *(
        "normal chest ",
        "not able to tell whether ",
        "( ) ",
        "not seen is ",
        "left none, ",
        "would be missed ",
        "ü",
        "? ",
    ),
]


@pytest.mark.parametrize("unit", ENDLESS)
def test_time_is_linear_in_the_length(unit):
    """Quadratic time would take minutes at this length."""
    started = time.process_time()
    label_report(unit * (200_000 // len(unit)))
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("misspelled", "correct"),
    [
        ("effusoin", "effusion"),
        ("effussions", "effusions"),
        ("cardiomegally", "cardiomegaly"),
        ("atelectsis", "atelectasis"),
        ("pnuemothorax", "pneumothorax"),
        ("plueral", "pleural"),
        ("edma", "edema"),
    ],
)
def test_misspellings_are_corrected(misspelled, correct):
    assert fix_spelling(f"no {misspelled}.") == f"no {correct}."


def test_similar_words_are_not_corrected():
    text = "injection, infusion, module, plural, pneumonic, opacified, fractured, silhouettes, capacity, collapsed"
    assert fix_spelling(text) == text


def test_lines_without_full_stops_are_sentences():
    assert states("No effusion\nSmall pneumothorax\nHeart is normal") == {EFFUSION: N, PTX: P, CARDIO: N}
    assert states("FINDINGS:\nNo\nPneumothorax, effusion or\nEdema") == {PTX: N, EFFUSION: N, EDEMA: N}


def test_indication_after_other_sections_is_not_read():
    assert states("IMPRESSION: Small effusion. CLINICAL HISTORY: CHF, pneumothorax.") == {EFFUSION: P}
    assert states("REASON FOR EXAM: r/o pneumothorax\n\nCOMPARISON: effusion\n\nNo PTX.") == {PTX: N}


@pytest.mark.skipif(not REPORTS.exists(), reason=f"no Indiana reports at {REPORTS}")
def test_real_reports_agree_with_the_codes_of_indexers():
    """Lower bounds of the agreement for findings with equivalent codes; bench/labeler_mesh.py is the benchmark."""
    counts = agreement([report for report in read_reports(REPORTS) if report.split == "val"], NARROW, (P, U))
    floors = {CARDIO: 0.98, ATELECTASIS: 0.88, EFFUSION: 0.92, PTX: 0.95, NO_FINDING: 0.95}
    assert {finding: scores(counts[finding])[2] >= floor for finding, floor in floors.items()} == dict.fromkeys(
        floors, True
    )
