"""What the modules under eval/metrics tell the `evaluate` library: one prediction and one reference text a study."""

import datasets
import evaluate

LICENSE = "Apache-2.0"


def module_info(description: str) -> evaluate.MetricInfo:
    """Of a metric that compares written reports with reference reports."""
    texts = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description="predictions, references: a report as one string for each study",
        features=texts,
        license=LICENSE,
    )
