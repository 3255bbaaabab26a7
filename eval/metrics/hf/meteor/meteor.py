"""METEOR of words and stems: `evaluate.load("eval/metrics/hf/meteor")`; computed by eval/metrics/meteor.py."""

from eval.metrics.hf import module
from eval.metrics.meteor import METEOR_NAME, meteor


class Meteor(module.ReportMetric):
    """`compute(predictions=, references=, normalization="plain")` returns meteor_exact_and_stem."""

    summary = METEOR_NAME

    def scores(self, predictions, references, normalization):
        return {"meteor_exact_and_stem": meteor(predictions, references, normalization).score}
