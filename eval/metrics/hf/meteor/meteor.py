"""METEOR of words and stems: `evaluate.load("eval/metrics/hf/meteor")`; computed by eval/metrics/meteor.py."""

import evaluate

from eval.metrics.hf.module import module_info
from eval.metrics.meteor import METEOR_NAME, meteor
from eval.metrics.normalization import DEFAULT_NORMALIZATION


class Meteor(evaluate.Metric):
    """`compute(predictions=, references=, normalization="plain")` returns meteor_exact_and_stem."""

    def _info(self):
        return module_info(METEOR_NAME)

    def _compute(self, predictions, references, normalization=DEFAULT_NORMALIZATION):
        return {"meteor_exact_and_stem": meteor(predictions, references, normalization).score}
