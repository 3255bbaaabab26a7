"""Metadata of the modules for the `evaluate` library: one prediction and one reference per study."""

import datasets
import evaluate

LICENSE = "Apache-2.0"


def module_info(description: str) -> evaluate.MetricInfo:
    """Metadata of a metric that compares generated reports with reference reports."""
    texts = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description="predictions, references: one report (string) per study",
        features=texts,
        license=LICENSE,
    )
