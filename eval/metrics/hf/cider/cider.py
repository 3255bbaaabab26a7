"""CIDEr of reports: `evaluate.load("eval/metrics/hf/cider")`; computed by eval/metrics/cider.py."""

from eval.metrics.cider import CIDER_NAME, PLAIN_CIDER_NAME, cider, plain_cider
from eval.metrics.hf import module


class Cider(module.ReportMetric):
    """`compute(predictions=, references=, normalization="plain")` returns cider and plain_cider."""

    summary = f"cider: {CIDER_NAME}; plain_cider: {PLAIN_CIDER_NAME}"

    def scores(self, predictions, references, normalization):
        return {
            "cider": cider(predictions, references, normalization).score,
            "plain_cider": plain_cider(predictions, references, normalization).score,
        }
