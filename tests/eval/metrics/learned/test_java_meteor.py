"""The original METEOR: counts and formula, compared with values of pycocoevalcap's wrapper of the jar."""

import gzip
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from eval.metrics.learned.java_meteor import meteor_from_statistics
from eval.metrics.learned.registry import learned_scores

PAIRS = [
    ("the heart is normal in size", "heart size is normal"),
    ("no effusions seen", "there is no pleural effusion"),
    ("the lung is clearing", "the lungs are clear"),
    ("", "a b"),
    ("a | b ||| c", "d e f"),
]
EXPECTED = [0.42091989633306687, 0.04597701149425287, 0.6749999999999999, 0.0, 0.0]
EXPECTED_OF_ALL = 0.20311543049038716

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")


@pytest.fixture
def quick_jar(tmp_path):
    """The real jar with an empty paraphrase table: reading the original takes 10 seconds, and no pair needs it."""
    jar = Path(importlib.util.find_spec("pycocoevalcap").submodule_search_locations[0]) / "meteor" / "meteor-1.5.jar"
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data" / "paraphrase-en.gz", "wb"):
        pass
    return str(shutil.copy(jar, tmp_path))


@needs_java
def test_meteor_equals_pycocoevalcap(quick_jar):
    predictions, references = zip(*PAIRS, strict=True)
    scores = learned_scores("meteor", quick_jar, predictions, references)
    np.testing.assert_allclose(scores.per_study["meteor"], EXPECTED, atol=1e-9)
    assert scores.figures["meteor"] == pytest.approx(EXPECTED_OF_ALL, abs=1e-9)


@needs_java
def test_equal_reports_with_accents_score_one(quick_jar):
    reports = ["no effusion", "épanchement ödem"]
    scores = learned_scores("meteor", quick_jar, reports, reports)
    assert scores.per_study["meteor"].tolist() == [1.0, 1.0]
    assert scores.figures["meteor"] == 1.0
    assert scores.statistics[1, 0] == 2


def test_meteor_is_computed_from_the_counts_of_the_jar():
    # First pair: exact matches of 4 of 6 and 4 of 4 words, one of them a function word, in 3 chunks.
    counts = np.array([6, 4, 3, 1, 3, 3, 1, 1, *[0] * 12, 3, 4, 4], dtype=float)
    assert meteor_from_statistics(counts) == pytest.approx(EXPECTED[0], abs=1e-12)


def test_no_match_scores_zero():
    assert meteor_from_statistics(np.zeros(23)) == 0.0


def test_missing_java_error_names_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(ValueError, match=r"meteor needs Java, .* install a JRE"):
        learned_scores("meteor", "pycocoevalcap", ["a"], ["a"])


@needs_java
def test_file_that_is_not_meteor_is_rejected(tmp_path):
    jar = tmp_path / "meteor-1.5.jar"
    jar.write_bytes(b"no jar")
    with pytest.raises(ValueError, match=r"did not respond like METEOR 1.5 \(0 of 1 studies\); Java said: Error"):
        learned_scores("meteor", str(jar), ["a"], ["a"])
