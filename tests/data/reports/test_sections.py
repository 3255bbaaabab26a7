"""Splitting reports: all styles of headings give the same sections, and no word is lost."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.reports.sections import Sections, split_sections

STYLES = {
    "upper case, own lines": (
        "INDICATION:\nCough.\nCOMPARISON:\nNone.\nFINDINGS:\nThe heart is large.\nIMPRESSION:\nNormal."
    ),
    "title case, inline": ("Indication: Cough. Comparison: None. Findings: The heart is large. Impression: Normal."),
    "lower case": ("indication : Cough.\ncomparison : None.\nfindings : The heart is large.\nimpression : Normal."),
    "no colon": ("INDICATION Cough. COMPARISON None. FINDINGS The heart is large. IMPRESSION Normal."),
    "no colon, own lines": (
        "Indication\nCough.\n\nComparison\nNone.\n\nFindings\nThe heart is large.\n\nImpression\nNormal."
    ),
    "dashes": ("INDICATION - Cough.\nCOMPARISON - None.\nFINDINGS - The heart is large.\nIMPRESSION - Normal."),
    "markdown": (
        "**Indication:** Cough.\n**Comparison:** None.\n## Findings\nThe heart is large.\n## Impression\nNormal."
    ),
    "windows and tabs": (
        "INDICATION:\tCough.\r\nCOMPARISON:\tNone.\r\nFINDINGS:\tThe heart is large.\r\nIMPRESSION:\tNormal."
    ),
    "full-width and no-break": (
        "INDICATION： Cough.\nCOMPARISON:\u00a0None.\nFINDINGS：The heart is large.\nIMPRESSION： Normal."
    ),
    "other names": ("REASON FOR EXAM: Cough.\nPRIOR STUDIES: None.\nREPORT: The heart is large.\nCONCLUSION: Normal."),
    "british": ("Clinical information: Cough.\nComparison: None.\nFindings: The heart is large.\nOpinion: Normal."),
    "history": ("CLINICAL HISTORY: Cough.\nCOMPARISON: None.\nFINDINGS: The heart is large.\nSUMMARY: Normal."),
    "joined history": (
        "HISTORY AND INDICATION: Cough.\nCOMPARISON STUDY: None.\nFINDINGS: The heart is large.\nIMP: Normal."
    ),
    "one line run together": ("INDICATION: Cough.COMPARISON: None.FINDINGS: The heart is large.IMPRESSION: Normal."),
}


@pytest.mark.parametrize("style", STYLES)
def test_all_heading_styles_give_the_same_sections(style):
    expected = Sections(indication="Cough.", comparison="None.", findings="The heart is large.", impression="Normal.")
    assert split_sections(STYLES[style]) == expected


MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with ?pleural effusion  // ?pleural effusion

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 Cardiac size cannot be evaluated.  Large left
 pleural effusion is new.

 IMPRESSION:

 1.  Large left pleural effusion.
 2.  No pneumothorax.

 NOTIFICATION:  Told to Dr. ___ by phone at 3 pm.
"""


def test_report_in_the_style_of_mimic_cxr():
    assert split_sections(MIMIC) == Sections(
        indication="___ year old woman with ?pleural effusion // ?pleural effusion",
        comparison="___",
        findings="Cardiac size cannot be evaluated. Large left\npleural effusion is new.",
        impression="1. Large left pleural effusion.\n2. No pneumothorax.",
        other="CHEST (PA AND LAT)\n\nChest PA and lateral\n\nTold to Dr. ___ by phone at 3 pm.",
    )


def test_paragraphs_without_heading_are_findings_in_older_reports():
    report = """WET READ: ___ 3:40 PM
 Small effusion.
 ______________________________________________________________________________
                                 FINAL REPORT
 PORTABLE CHEST, ___

 HISTORY:  Chest pain.

 COMPARISON:  ___.

 The lungs are clear.

 No effusion.

 IMPRESSION:  No acute process.

 Follow-up is advised.
 Electronically signed by Dr. Quimby"""
    assert split_sections(report) == Sections(
        indication="Chest pain.",
        comparison="___.",
        findings="The lungs are clear.\n\nNo effusion.",
        impression="No acute process.\n\nFollow-up is advised.",
        other="___ 3:40 PM\nSmall effusion.\n\nPORTABLE CHEST, ___\n\nElectronically signed by Dr. Quimby",
    )


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("", {}),
        ("The lungs are clear.\nNo effusion.", {"findings": "The lungs are clear.\nNo effusion."}),
        (
            "The heart is large.\n\nIn summary, cardiomegaly.",
            {"findings": "The heart is large.", "impression": "In summary, cardiomegaly."},
        ),
        (
            "The heart is large.\n\nIMPRESSION: Large.",
            {"findings": "The heart is large.", "impression": "Large."},
        ),
        ("COMPARISON: None.\nThe lungs are clear.", {"comparison": "None.", "findings": "The lungs are clear."}),
        ("PA AND LATERAL CHEST: Clear.", {"findings": "PA AND LATERAL CHEST: Clear."}),
        (
            "CXR, 2 views\n\nHISTORY: Cough.\n\nClear.",
            {"other": "CXR, 2 views", "indication": "Cough.", "findings": "Clear."},
        ),
        ("FINDINGS AND IMPRESSION: Clear.", {"findings": "Clear."}),
        ("IMPRESSION AND FINDINGS\nClear.", {"findings": "Clear."}),
        ("FINDINGS/IMPRESSION: Clear.", {"findings": "Clear."}),
        ("INDICATION/HISTORY: Cough. IMPRESSION: Clear.", {"indication": "Cough.", "impression": "Clear."}),
        ("IMPRESSION: 1. No edema. 2. Clear.", {"impression": "1. No edema. 2. Clear."}),
        ("1. FINDINGS: Clear.\n2. IMPRESSION: Normal.", {"findings": "Clear.", "impression": "Normal."}),
        ("WET READ: Effusion.", {"findings": "Effusion."}),
        ("WET READ: Effusion. FINDINGS: Clear.", {"other": "Effusion.", "findings": "Clear."}),
        ("LUNGS CLEAR.\nIMPRESSION NO ACUTE DISEASE.", {"findings": "LUNGS CLEAR.", "impression": "NO ACUTE DISEASE."}),
        ("Findings: Clear.\nDictated by: Dr. Quimby", {"findings": "Clear.", "other": "Dictated by: Dr. Quimby"}),
        ("Impression: Clear. Findings: Old. Impression: New.", {"findings": "Old.", "impression": "Clear.\n\nNew."}),
    ],
)
def test_sections_of_short_reports(report, expected):
    assert split_sections(report) == Sections(**expected)


@pytest.mark.parametrize(
    "sentence",
    [
        "Findings consistent with edema.",
        "FINDINGS SUGGEST PNEUMONIA.",
        "The following findings: a nodule.",
        "HISTORY OF HEART FAILURE.",
        "There is an impression on the esophagus.",
        "Comparison to old films would help.",
        "Findings are in keeping with\nhistory.",
        "Results were called.",
        "STUDY LIMITED BY ROTATION.",
    ],
)
def test_section_name_inside_a_sentence_is_not_a_heading(sentence):
    assert split_sections(sentence) == Sections(findings=sentence)


def test_addendum_belongs_to_the_impression_or_to_its_own_headings():
    assert split_sections("FINDINGS: A.\nIMPRESSION: B.\nADDENDUM: C.").impression == "B.\n\nC."
    assert split_sections("FINDINGS: A.\nADDENDUM: C.").findings == "A.\n\nC."
    split = split_sections("ADDENDUM\nC.\nIMPRESSION: D.\nFINAL REPORT\nFINDINGS: A.\nIMPRESSION: B.")
    assert (split.findings, split.impression) == ("A.", "C.\n\nD.\n\nB.")


@pytest.mark.parametrize("report", ["INDICATION ___", "INDICATION: ___", "INDICATION:___", "INDICATION\n___"])
def test_placeholder_alone_is_the_text_of_its_section(report):
    assert split_sections(report) == Sections(indication="___")


HEADING = st.sampled_from(
    ["FINDINGS:", "Impression:", "INDICATION", "Comparison -", "ADDENDUM:", "WET READ:", "TECHNIQUE:", "History:\n", ""]
)
BLANKS = st.sampled_from([" ", "\n", "\n\n", " \t", "\r\n", "\n_______\n"])
WORDS = st.lists(
    st.sampled_from(["heart", "clear", "No", "3.5", "Dr.", "findings", "___", "edema,", "pa", "é"]),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(HEADING, BLANKS, WORDS, BLANKS), max_size=8))
def test_no_word_is_lost_or_duplicated(parts):
    report = "".join(f"{heading}{blank}{blank.join(words)}{end}" for heading, blank, words, end in parts)
    split = split_sections(report)
    out = " ".join([split.indication, split.comparison, split.findings, split.impression, split.other])
    names = {"findings", "impression", "indication", "comparison", "addendum", "wet", "read", "technique", "history"}
    assert body_words(out, names) == body_words(report, names)


def body_words(text, names):
    return sorted(word for word in re.findall(r"[^\W_]+|(?<!_)_{3}(?!_)", text) if word.lower() not in names)


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_is_split_without_error(text):
    split = split_sections(text)
    assert split_sections(split.findings) is not None


@pytest.mark.parametrize("piece", [".", "-:", "1..", "_ ", "a.m. ", "chest - ", ". . 2 views "])
def test_repeated_fragments_are_split_in_linear_time(piece):
    """An untrained decoder writes texts like this; a backtracking pattern would never finish."""
    text = f"{piece * 2000}zzz"
    assert split_sections(text).findings.endswith("zzz")


@pytest.mark.parametrize(
    ("report", "indication", "findings"),
    [
        ("INDICATION: Pain. Two views of the chest. Heart is large. No edema.", "Pain.", "Heart is large. No edema."),
        ("HISTORY: Dyspnea. CHEST PA AND LATERAL: Large nodule. No edema.", "Dyspnea.", "Large nodule. No edema."),
        ("Indication: Cough. The lungs are clear.", "Cough.", "The lungs are clear."),
        ("INDICATION: Fall. Chest pain. No edema. Old fracture.", "Fall. Chest pain.", "No edema. Old fracture."),
        ("REASON FOR EXAM: Rule out effusion. Heart is normal.", "Rule out effusion.", "Heart is normal."),
        ("CLINICAL HISTORY: Trauma. PORTABLE CHEST: No pneumothorax.", "Trauma.", "No pneumothorax."),
        ("History: Pain. Evaluate for effusion. No edema.", "Pain. Evaluate for effusion.", "No edema."),
        ("INDICATION: Man. Shortness of breath. Lungs clear.", "Man. Shortness of breath.", "Lungs clear."),
        ("INDICATION: Cough; Frontal view: Right nodule.", "Cough;", "Right nodule."),
        ("INDICATION: Pain. AP chest. Cardiac silhouette is enlarged.", "Pain.", "Cardiac silhouette is enlarged."),
        ("EXAM: Chest x-ray. The lungs are clear.", "", "The lungs are clear."),
        ("TECHNIQUE: PA and lateral. Lungs are clear. Heart is normal.", "", "Lungs are clear. Heart is normal."),
        ("COMPARISON: None. Small left effusion.", "", "Small left effusion."),
        ("INDICATION: Pain. CHEST, TWO VIEWS: No edema. IMPRESSION: Normal.", "Pain.", "No edema."),
        ("INDICATION: Chest pain.", "Chest pain.", ""),
        ("INDICATION: Pneumonia. Cough for 2 weeks.", "Pneumonia. Cough for 2 weeks.", ""),
        ("INDICATION: Pain. Known effusion? IMPRESSION: No edema.", "Pain. Known effusion?", ""),
    ],
)  # fmt: skip
def test_findings_of_a_report_on_one_line_begin_behind_the_indication(report, indication, findings):
    sections = split_sections(report)
    assert (sections.indication, sections.findings) == (indication, findings)
