"""Mistakes that every text metric words alike, and what none of them imports."""

import subprocess
import sys

import pytest

from eval.metrics.bleu import bleu
from eval.metrics.chrf import chrf
from eval.metrics.cider import cider, plain_cider
from eval.metrics.meteor import meteor
from eval.metrics.rouge import rouge_l, stemmed_rouge_l

METRICS = [bleu, chrf, cider, meteor, plain_cider, rouge_l, stemmed_rouge_l]


@pytest.mark.parametrize("metric", METRICS)
def test_unequal_numbers_of_reports_are_rejected(metric):
    with pytest.raises(ValueError, match="1 predictions but 2 references"):
        metric(["a"], ["a", "b"])


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_to_score_is_rejected(metric):
    with pytest.raises(ValueError, match="0 predictions to score"):
        metric([], [])


@pytest.mark.parametrize("metric", METRICS)
def test_unknown_normalization_is_named(metric):
    with pytest.raises(ValueError, match="normalization 'porter' is not known; choose one of plain, none, lowercase"):
        metric(["a"], ["a"], normalization="porter")


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_says_how_good_each_study_is(metric):
    predictions, references = ["the heart is large", "no effusion", ""], ["the heart is large", "clear lungs", "clear"]
    per_study = metric(predictions, references).per_study
    assert len(per_study) == 3
    best_first = per_study.reshape(3, -1).mean(axis=1)
    assert best_first[0] > 0.5 > best_first[1] >= best_first[2] == pytest.approx(0, abs=1e-9)


def test_text_metrics_need_no_torch():
    modules = ", ".join(f"eval.metrics.{name}" for name in ("bleu", "chrf", "cider", "meteor", "rouge"))
    code = f"import sys, {modules}; eval.metrics.meteor.meteor(['a'], ['a']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
