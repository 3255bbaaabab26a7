"""Errors of reports weighted by harm: `evaluate.load("eval/metrics/hf/report_errors")`."""

from eval.metrics.errors import ERROR_KINDS, error_scores
from eval.metrics.hf import module


class ReportErrors(module.ReportMetric):
    """`compute(predictions=, references=)` returns the mean score (1: no error), the mean harm of the errors, and the
    errors per report by kind."""

    summary = (
        "errors against the reference reports by kind, and a score that weights them by harm (eval/metrics/errors.py)"
    )

    def _compute(self, predictions, references):
        found = error_scores(predictions, references)
        rates = dict(zip(ERROR_KINDS, found.counts.mean(axis=0).tolist(), strict=True))
        return {
            "error_score": float(found.scores.mean()),
            "error_harm": float(found.harms.mean()),
            "errors_by_kind": rates,
        }
