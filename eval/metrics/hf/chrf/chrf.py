"""chrF of reports: `evaluate.load("eval/metrics/hf/chrf")`; computed by eval/metrics/chrf.py."""

from eval.metrics.chrf import CHRF_NAME, chrf
from eval.metrics.hf import module


class Chrf(module.ReportMetric):
    """`compute(predictions=, references=, normalization="plain")` returns chrf, from 0 to 1."""

    summary = CHRF_NAME

    def scores(self, predictions, references, normalization):
        return {"chrf": chrf(predictions, references, normalization).score}
