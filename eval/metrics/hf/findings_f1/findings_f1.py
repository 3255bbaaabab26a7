"""F1 of the CheXpert findings that the labeler extracts: `evaluate.load("eval/metrics/hf/findings_f1")`."""

from data.reports.labeler.labeler import label_report
from eval.metrics.clinical import convention_name, f1_scores
from eval.metrics.hf import module


class FindingsF1(module.ReportMetric):
    """`compute(predictions=, references=, uncertain_is_positive=True)` returns the averages over 14 and over the five
    CheXpert findings (_5), and the convention; an average without a defined finding is None."""

    summary = "precision, recall and F1 of 14 findings, extracted from both texts by data/reports/labeler/labeler.py"

    def _compute(self, predictions, references, uncertain_is_positive=True):
        labels = ([label_report(report) for report in reports] for reports in (predictions, references))
        return f1_scores(*labels, uncertain_is_positive) | {"convention": convention_name(uncertain_is_positive)}
