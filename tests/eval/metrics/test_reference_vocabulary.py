"""References through a training vocabulary: rare words, cuts, and what is said about it."""

import json
from pathlib import Path

import pytest

from eval.metrics.bleu import bleu
from eval.metrics.normalization import R2GEN_MAX_WORDS, ReferenceVocabulary

TRAINING = ["The heart is large.", "The heart is small.", "The heart is normal. No edema."]
IU_TEXT = Path(__file__).parents[4] / "shared" / "data" / "iu_text" / "reports.jsonl"


def test_words_seen_fewer_than_three_times_become_unknown():
    vocabulary = ReferenceVocabulary.from_reports(TRAINING)
    assert vocabulary.words == {"the", "heart", "is", "."}
    assert vocabulary.apply("The heart is huge.") == "the heart is <unk> ."


def test_references_are_cut_after_the_given_number_of_words():
    vocabulary = ReferenceVocabulary.from_reports(TRAINING, min_count=1, max_words=5)
    assert vocabulary.apply("The heart is normal. No edema.") == "the heart is normal ."


def test_a_written_unknown_word_matches_an_unknown_one_of_the_reference():
    vocabulary = ReferenceVocabulary.from_reports(TRAINING)
    assert bleu(["the heart is <unk> ."], [vocabulary.apply("The heart is huge.")], "none").scores[3] == (
        pytest.approx(1.0)
    )


def test_its_description_says_all_that_moves_the_scores():
    vocabulary = ReferenceVocabulary.from_reports(TRAINING, max_words=R2GEN_MAX_WORDS["r2gen"])
    assert vocabulary.description == (
        "references' words seen fewer than 3 times in 3 training reports replaced by <unk> (4 words known), "
        "references cut after 59 words"
    )


def test_a_vocabulary_of_nothing_is_rejected():
    with pytest.raises(ValueError, match="no word occurs 3 times in the 1 training reports for the reference vocab"):
        ReferenceVocabulary.from_reports(["clear lungs"])


@pytest.mark.parametrize("name", ["min_count", "max_words"])
def test_numbers_below_one_are_rejected(name):
    with pytest.raises(ValueError, match=f"{name} is 0; give at least 1"):
        ReferenceVocabulary.from_reports(TRAINING, **{name: 0})


@pytest.mark.skipif(not IU_TEXT.is_file(), reason="needs ../shared/data/iu_text, which cannot be shipped")
def test_r2gens_vocabulary_of_indiana_is_found_again():
    with IU_TEXT.open(encoding="utf-8") as lines:
        studies = [json.loads(line) for line in lines]
    vocabulary = ReferenceVocabulary.from_reports(study["findings"] for study in studies if study["split"] == "train")
    # R2Gen's IU X-Ray model has 760 words, <unk> among them.
    assert len(vocabulary.words | {"<unk>"}) == 760
