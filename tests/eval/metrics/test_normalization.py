"""Named normalisations: what each does to a report, and R2Gen's against what its own code gave."""

import pytest

from eval.metrics.normalization import DESCRIPTIONS, NORMALIZATIONS, normalize_prediction, normalize_report

REPORT = "Findings: The heart is NORMAL in size.  No 1.5-cm nodule. Impression: Normal chest x-XXXX."


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("plain", "the heart is normal in size no 1.5 cm nodule normal chest x xxxx"),
        ("none", "Findings: The heart is NORMAL in size. No 1.5-cm nodule. Impression: Normal chest x-XXXX."),
        ("lowercase", "findings: the heart is normal in size. no 1.5-cm nodule. impression: normal chest x-xxxx."),
        ("no_punctuation", "findings the heart is normal in size no 15cm nodule impression normal chest xxxxx"),
        ("r2gen", "findings the heart is normal in size . no 15-cm nodule . impression normal chest x-xxxx ."),
    ],
)
def test_each_normalization_does_what_its_description_says(normalization, expected):
    assert normalize_report(REPORT, normalization) == expected


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalizing_twice_changes_nothing(normalization, report_pairs):
    for report in [REPORT, "", "1. No effusion. 2. Clear", *report_pairs[0]]:
        once = normalize_report(report, normalization)
        assert normalize_report(once, normalization) == once


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_an_empty_report_stays_empty(normalization):
    assert normalize_report(" \n", normalization) == ""


def test_every_normalization_is_described():
    assert NORMALIZATIONS.keys() == DESCRIPTIONS.keys()


def test_placeholders_are_no_words():
    assert normalize_report("seen by ___ at XXXX.") == "seen by at xxxx"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        # Expected texts: clean_report_iu_xray of cuhksz-nlp/R2Gen, run once, its spaces joined.
        ("1. No effusion. 2. Heart (size) normal.. 3. Stable!", "no effusion . heart size normal . stable ."),
        ("Disc at L1. The rest is fine", "disc at lthe rest is fine ."),
        ("AP/lateral view: \"clear\"; 50% at 2.5 cm, T8. Ok", "aplateral view clear 50 at 25 cm t8 . ok ."),
        ("No pneumothorax.No effusion.", "no pneumothoraxno effusion ."),
        ("Heart [normal] <large> a=b it's x-ray", "heart normal large ab its x-ray ."),
        ("..... 4. 5. Clear", ". clear ."),
    ],
)  # fmt: skip
def test_r2gen_equals_its_original(report, expected):
    assert normalize_report(report, "r2gen") == expected


def test_r2gen_for_mimic_joins_underscores_and_lines():
    report = "Compared\nto ___. 2. Dr. ____ was   called"
    # clean_report_mimic_cxr of the same file.
    assert normalize_report(report, "r2gen_mimic") == "compared to . dr . was called ."


def test_text_that_r2gen_wrote_stays_as_it_is():
    for written in ("the heart is <unk> . the lungs are clear .", "the heart is normal . the lungs are"):
        assert normalize_report(written, "r2gen") == written


def test_text_without_spaced_full_stops_meets_r2gen_references():
    assert normalize_report("the heart is <unk>. the lungs are clear.", "r2gen") == (
        "the heart is <unk> . the lungs are clear ."
    )


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ("the heart is normal. the lungs are", "the heart is normal . the lungs are"),
        ("the heart is normal. the lungs are clear.", "the heart is normal . the lungs are clear ."),
        ("", ""),
    ],
)
def test_a_prediction_left_unfinished_gets_no_full_stop(prediction, expected):
    assert normalize_prediction(prediction, "r2gen") == normalize_prediction(expected, "r2gen") == expected


@pytest.mark.parametrize("normalization", ["plain", "none", "lowercase", "no_punctuation"])
def test_otherwise_predictions_are_treated_as_references(normalization, report_pairs):
    for report in [REPORT, *report_pairs[0]]:
        assert normalize_prediction(report, normalization) == normalize_report(report, normalization)
