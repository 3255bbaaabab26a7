"""CIDEr of reports: `evaluate.load("eval/metrics/hf/cider")`; computed by eval/metrics/cider.py."""

import evaluate

from eval.metrics.cider import CIDER_NAME, PLAIN_CIDER_NAME, cider, plain_cider
from eval.metrics.hf.module import module_info
from eval.metrics.normalization import DEFAULT_NORMALIZATION


class Cider(evaluate.Metric):
    """`compute(predictions=, references=, normalization="plain")` returns cider and plain_cider."""

    def _info(self):
        return module_info(f"cider: {CIDER_NAME}; plain_cider: {PLAIN_CIDER_NAME}")

    def _compute(self, predictions, references, normalization=DEFAULT_NORMALIZATION):
        return {
            "cider": cider(predictions, references, normalization).score,
            "plain_cider": plain_cider(predictions, references, normalization).score,
        }
