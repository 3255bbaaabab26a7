"""Both ROUGE-L of reports: `evaluate.load("eval/metrics/hf/rouge_l")`; computed by eval/metrics/rouge.py."""

from eval.metrics.hf import module
from eval.metrics.rouge import ROUGE_NAME, STEMMED_ROUGE_NAME, rouge_l, stemmed_rouge_l


class RougeL(module.ReportMetric):
    """`compute(predictions=, references=, normalization="plain")` returns rouge_l and rouge_l_stemmed."""

    summary = f"rouge_l: {ROUGE_NAME}; rouge_l_stemmed: {STEMMED_ROUGE_NAME}"

    def scores(self, predictions, references, normalization):
        return {
            "rouge_l": rouge_l(predictions, references, normalization).score,
            "rouge_l_stemmed": stemmed_rouge_l(predictions, references, normalization).score,
        }
