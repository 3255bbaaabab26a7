"""Both ROUGE-L of reports: `evaluate.load("eval/metrics/hf/rouge_l")`; computed by eval/metrics/rouge.py."""

import evaluate

from eval.metrics.hf.module import module_info
from eval.metrics.normalization import DEFAULT_NORMALIZATION
from eval.metrics.rouge import ROUGE_NAME, STEMMED_ROUGE_NAME, rouge_l, stemmed_rouge_l


class RougeL(evaluate.Metric):
    """`compute(predictions=, references=, normalization="plain")` returns rouge_l and rouge_l_stemmed."""

    def _info(self):
        return module_info(f"rouge_l: {ROUGE_NAME}; rouge_l_stemmed: {STEMMED_ROUGE_NAME}")

    def _compute(self, predictions, references, normalization=DEFAULT_NORMALIZATION):
        return {
            "rouge_l": rouge_l(predictions, references, normalization).score,
            "rouge_l_stemmed": stemmed_rouge_l(predictions, references, normalization).score,
        }
