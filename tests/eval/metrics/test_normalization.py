"""Text normalizations: expected results, and R2Gen's compared with its original code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eval.metrics.bleu import bleu
from eval.metrics.chrf import chrf
from eval.metrics.cider import cider, plain_cider
from eval.metrics.meteor import meteor
from eval.metrics.normalization import (
    DESCRIPTIONS,
    NORMALIZATIONS,
    R2GEN_MAX_WORDS,
    ReferenceVocabulary,
    normalize_prediction,
    normalize_report,
)
from eval.metrics.rouge import rouge_l, stemmed_rouge_l

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
def test_each_normalization_gives_the_expected_text(normalization, expected):
    assert normalize_report(REPORT, normalization) == expected


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalizing_twice_changes_nothing(normalization, report_pairs):
    for report in [REPORT, "", "1. No effusion. 2. Clear", *report_pairs[0]]:
        once = normalize_report(report, normalization)
        assert normalize_report(once, normalization) == once


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_empty_report_stays_empty(normalization):
    assert normalize_report(" \n", normalization) == ""


def test_every_normalization_has_a_description():
    assert NORMALIZATIONS.keys() == DESCRIPTIONS.keys()


def test_underscore_placeholders_are_removed():
    assert normalize_report("seen by ___ at XXXX.") == "seen by at xxxx"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        # Expected texts: output of clean_report_iu_xray of cuhksz-nlp/R2Gen, with single spaces.
        ("1. No effusion. 2. Heart (size) normal.. 3. Stable!", "no effusion . heart size normal . stable ."),
        ("Disc at L1. The rest is fine", "disc at lthe rest is fine ."),
        ("AP/lateral view: \"clear\"; 50% at 2.5 cm, T8. Ok", "aplateral view clear 50 at 25 cm t8 . ok ."),
        ("No pneumothorax.No effusion.", "no pneumothoraxno effusion ."),
        ("Heart [normal] <large> a=b it's x-ray", "heart normal large ab its x-ray ."),
        ("..... 4. 5. Clear", ". clear ."),
    ],
)  # fmt: skip
def test_r2gen_equals_the_original_code(report, expected):
    assert normalize_report(report, "r2gen") == expected


def test_r2gen_for_mimic_joins_underscores_and_lines():
    report = "Compared\nto ___. 2. Dr. ____ was   called"
    # Expected text: output of clean_report_mimic_cxr of the same file.
    assert normalize_report(report, "r2gen_mimic") == "compared to . dr . was called ."


def test_text_in_r2gen_format_is_unchanged():
    for report in ("the heart is <unk> . the lungs are clear .", "the heart is normal . the lungs are"):
        assert normalize_report(report, "r2gen") == report


def test_r2gen_adds_spaces_before_full_stops():
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
def test_unfinished_prediction_gets_no_full_stop(prediction, expected):
    assert normalize_prediction(prediction, "r2gen") == normalize_prediction(expected, "r2gen") == expected


@pytest.mark.parametrize("normalization", ["plain", "none", "lowercase", "no_punctuation"])
def test_other_normalizations_treat_predictions_like_references(normalization, report_pairs):
    for report in [REPORT, *report_pairs[0]]:
        assert normalize_prediction(report, normalization) == normalize_report(report, normalization)


TRAINING = ["The heart is large.", "The heart is small.", "The heart is normal. No edema."]
IU_TEXT = Path(__file__).parents[4] / "shared" / "data" / "iu_text" / "reports.jsonl"


def test_words_with_fewer_than_three_occurrences_become_unknown():
    vocabulary = ReferenceVocabulary.from_reports(TRAINING)
    assert vocabulary.words == {"the", "heart", "is", "."}
    assert vocabulary.apply("The heart is huge.") == "the heart is <unk> ."


def test_references_are_truncated_to_the_maximum_number_of_words():
    vocabulary = ReferenceVocabulary.from_reports(TRAINING, min_count=1, max_words=5)
    assert vocabulary.apply("The heart is normal. No edema.") == "the heart is normal ."


def test_predicted_unknown_token_matches_unknown_word_of_the_reference():
    vocabulary = ReferenceVocabulary.from_reports(TRAINING)
    assert bleu(["the heart is <unk> ."], [vocabulary.apply("The heart is huge.")], "none").score[3] == (
        pytest.approx(1.0)
    )


def test_description_of_the_vocabulary_has_all_its_settings():
    vocabulary = ReferenceVocabulary.from_reports(TRAINING, max_words=R2GEN_MAX_WORDS["r2gen"])
    assert vocabulary.description == (
        "references' words seen fewer than 3 times in 3 training reports replaced by <unk> (4 words known), "
        "references cut after 59 words"
    )


def test_empty_vocabulary_is_rejected():
    with pytest.raises(ValueError, match="no word occurs 3 times in the 1 training reports for the reference vocab"):
        ReferenceVocabulary.from_reports(["clear lungs"])


@pytest.mark.parametrize("name", ["min_count", "max_words"])
def test_numbers_below_one_are_rejected(name):
    with pytest.raises(ValueError, match=f"{name} is 0; give at least 1"):
        ReferenceVocabulary.from_reports(TRAINING, **{name: 0})


@pytest.mark.skipif(not IU_TEXT.is_file(), reason="needs ../shared/data/iu_text, which cannot be distributed")
def test_r2gen_vocabulary_of_indiana_is_reproduced():
    with IU_TEXT.open(encoding="utf-8") as lines:
        studies = [json.loads(line) for line in lines]
    vocabulary = ReferenceVocabulary.from_reports(study["findings"] for study in studies if study["split"] == "train")
    # R2Gen's IU X-Ray model has 760 words, including <unk>.
    assert len(vocabulary.words | {"<unk>"}) == 760


METRICS = [bleu, chrf, cider, meteor, plain_cider, rouge_l, stemmed_rouge_l]


@pytest.mark.parametrize("metric", METRICS)
def test_unequal_numbers_of_reports_are_rejected(metric):
    with pytest.raises(ValueError, match="1 predictions but 2 references"):
        metric(["a"], ["a", "b"])


@pytest.mark.parametrize("metric", METRICS)
def test_empty_lists_are_rejected(metric):
    with pytest.raises(ValueError, match="0 predictions to score"):
        metric([], [])


@pytest.mark.parametrize("metric", METRICS)
def test_unknown_normalization_is_rejected(metric):
    with pytest.raises(ValueError, match="normalization 'porter' is not known; choose one of plain, none, lowercase"):
        metric(["a"], ["a"], normalization="porter")


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_a_score_per_study(metric):
    predictions, references = ["the heart is large", "no effusion", ""], ["the heart is large", "clear lungs", "clear"]
    per_study = metric(predictions, references).per_study
    assert len(per_study) == 3
    best_first = per_study.reshape(3, -1).mean(axis=1)
    assert best_first[0] > 0.5 > best_first[1] >= best_first[2] == pytest.approx(0, abs=1e-9)


def test_text_metrics_do_not_import_torch():
    modules = ", ".join(f"eval.metrics.{name}" for name in ("bleu", "chrf", "cider", "meteor", "rouge"))
    code = f"import sys, {modules}; eval.metrics.meteor.meteor(['a'], ['a']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
