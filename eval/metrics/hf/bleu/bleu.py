"""BLEU-1 to 4 of reports: `evaluate.load("eval/metrics/hf/bleu")`; computed by eval/metrics/bleu.py."""

from eval.metrics.bleu import bleu
from eval.metrics.hf import module


class Bleu(module.ReportMetric):
    """`compute(predictions=, references=, normalization="plain")` returns bleu_1 to bleu_4."""

    summary = "BLEU-1 to 4, corpus level, as pycocoevalcap's"

    def scores(self, predictions, references, normalization):
        scores = bleu(predictions, references, normalization).score
        return {f"bleu_{order}": score for order, score in enumerate(scores, start=1)}
