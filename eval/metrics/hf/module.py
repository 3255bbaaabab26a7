"""The base of the modules for the `evaluate` library: one prediction and one reference per study.

A module imports this file as a whole, because `evaluate` takes the first metric class that it finds in a module.
"""

import datasets
import evaluate

from eval.metrics.normalization import DEFAULT_NORMALIZATION


class ReportMetric(evaluate.Metric):
    """A metric that compares generated reports with reference reports.

    `scores(predictions, references, normalization)` returns its values by name.
    """

    summary: str

    def _info(self):
        texts = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description=self.summary,
            citation="",
            inputs_description="predictions, references: one report (string) per study",
            features=texts,
            license="Apache-2.0",
        )

    def _compute(self, predictions, references, normalization=DEFAULT_NORMALIZATION):
        return self.scores(predictions, references, normalization)
