"""chrF of reports: `evaluate.load("eval/metrics/hf/chrf")`; computed by eval/metrics/chrf.py."""

import evaluate

from eval.metrics.chrf import CHRF_NAME, chrf
from eval.metrics.hf.module import module_info
from eval.metrics.normalization import DEFAULT_NORMALIZATION


class Chrf(evaluate.Metric):
    """`compute(predictions=, references=, normalization="plain")` returns chrf, from 0 to 1."""

    def _info(self):
        return module_info(CHRF_NAME)

    def _compute(self, predictions, references, normalization=DEFAULT_NORMALIZATION):
        return {"chrf": chrf(predictions, references, normalization).score}
