"""BLEU-1 to 4 of reports: `evaluate.load("eval/metrics/hf/bleu")`; computed by eval/metrics/bleu.py."""

import evaluate

from eval.metrics.bleu import bleu
from eval.metrics.hf.module import module_info
from eval.metrics.normalization import DEFAULT_NORMALIZATION


class Bleu(evaluate.Metric):
    """`compute(predictions=, references=, normalization="plain")` returns bleu_1 to bleu_4."""

    def _info(self):
        return module_info("BLEU-1 to 4, corpus level, as pycocoevalcap's")

    def _compute(self, predictions, references, normalization=DEFAULT_NORMALIZATION):
        scores = bleu(predictions, references, normalization).score
        return {f"bleu_{order}": score for order, score in enumerate(scores, start=1)}
