"""Metrics that need weights, packages or Java: errors for missing parts, and the common interface."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from eval.metrics.learned.registry import LEARNED, TAKES_NORMALIZED, WHERE, learned_scores, means_over_studies

REPORTS = ["no effusion", "clear lungs"]


def test_unknown_metric_error_lists_the_known_metrics():
    with pytest.raises(ValueError, match="metric 'green' is not known; choose one of bertscore, chexbert, meteor"):
        learned_scores("green", "folder", REPORTS, REPORTS)


@pytest.mark.parametrize("name", LEARNED)
def test_metric_without_location_error_names_what_to_give(name):
    with pytest.raises(ValueError, match=f"{name} needs a location: give {name}=, then "):
        learned_scores(name, "", REPORTS, REPORTS)
    assert LEARNED.keys() == WHERE.keys() >= TAKES_NORMALIZED


@pytest.mark.parametrize("name", LEARNED)
def test_missing_location_error_names_the_fix(name, tmp_path):
    with pytest.raises(ValueError, match=rf"^{name}=\S*nothing.*([Gg]ive|unpack)"):
        learned_scores(name, str(tmp_path / "nothing"), REPORTS, REPORTS)


@pytest.mark.parametrize("name", LEARNED)
def test_unequal_numbers_and_empty_lists_are_rejected(name):
    with pytest.raises(ValueError, match="2 predictions but 1 references"):
        learned_scores(name, "somewhere", REPORTS, REPORTS[:1])
    with pytest.raises(ValueError, match=f"0 predictions for {name} to score"):
        learned_scores(name, "somewhere", [], [])


def test_registry_does_not_import_torch_or_transformers():
    code = "import sys, eval.metrics.learned.registry; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_resampled_means_equal_weighted_means():
    scores = means_over_studies({"score": np.array([0.0, 1.0, 0.5])}, note="")
    assert scores.figures == {"score": 0.5}
    np.testing.assert_allclose(scores.per_study["score"], [0.0, 1.0, 0.5])
    weights = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    np.testing.assert_allclose(scores.figures_of(weights @ scores.statistics)["score"], [2 / 3, 0.5])


def test_resample_without_studies_is_undefined():
    scores = means_over_studies({"score": np.array([0.5])}, note="")
    assert np.isnan(scores.figures_of(np.zeros((1, 2)))["score"]).all()


@pytest.fixture
def radgraph_weights(tmp_path):
    (tmp_path / "radgraph-xl").mkdir()
    (tmp_path / "radgraph-xl" / "weights.th").touch()
    return str(tmp_path)


def test_radgraph_returns_the_f1_of_the_package_per_study(monkeypatch, radgraph_weights):
    def scorer(*, reward_level, model_type, model_cache_dir):
        assert (reward_level, model_type, model_cache_dir) == ("all", "radgraph-xl", radgraph_weights)
        return lambda hyps, refs: ((0.5, 0.4, 0.3), ([1.0, 0.0], [0.8, 0.0], [0.6, 0.0]), [hyps], [refs])

    monkeypatch.setitem(sys.modules, "radgraph", SimpleNamespace(F1RadGraph=scorer))
    scores = learned_scores("radgraph", radgraph_weights, REPORTS, REPORTS)
    assert scores.figures == {"radgraph_simple": 0.5, "radgraph_partial": 0.4, "radgraph_complete": 0.3}
    assert scores.per_study["radgraph_partial"].tolist() == [0.8, 0.0]


def test_missing_radgraph_package_error_names_what_to_install(monkeypatch, radgraph_weights):
    monkeypatch.setitem(sys.modules, "radgraph", None)
    with pytest.raises(ValueError, match="needs the package radgraph: pip install radgraph"):
        learned_scores("radgraph", radgraph_weights, REPORTS, REPORTS)


def test_radcliq_returns_the_score_of_the_package_per_study(monkeypatch):
    def evaluator(*, metrics, per_sample):
        assert (metrics, per_sample) == (["radcliq"], True)
        return lambda refs, hyps: {"radcliq_v1": [1.5, 0.5]}

    monkeypatch.setitem(sys.modules, "radeval", SimpleNamespace(RadEval=evaluator))
    scores = learned_scores("radcliq", "radeval", REPORTS, REPORTS)
    assert scores.figures == {"radcliq_v1": 1.0}
    assert "lower is better" in scores.note


def test_missing_radcliq_package_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "radeval", None)
    with pytest.raises(ValueError, match=r"needs the package radeval .*pip install radeval"):
        learned_scores("radcliq", "radeval", REPORTS, REPORTS)
