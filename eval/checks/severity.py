"""Severity: is a finding as severe, or as large, as the reference says? F1 of findings does not measure this.

Reports are scored on the findings whose severity both the report and the reference name, in three steps: small (or
mild), moderate, large (or severe). The severities of the classifier are scored where the severity of a finding is
named. A guess of the most frequent severity is often right: compare with the shuffled images.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from data.reports.labeler.severity import report_severities
from eval.metrics.laterality import MAX_REPORTS_KEPT
from vlm.schema.findings import UNNAMED_SEVERITY

_severities = lru_cache(maxsize=MAX_REPORTS_KEPT)(report_severities)


def severity_counts(reports: Sequence[str], references: Sequence[str]) -> Float[np.ndarray, "studies 2"]:
    """Per study: number of findings whose severity both name, and of those with the same severity."""
    counts = np.zeros((len(reports), 2))
    for study, (report, reference) in enumerate(zip(reports, references, strict=True)):
        pairs = zip(_severities(report), _severities(reference), strict=True)
        both = [(own, true) for own, true in pairs if own > UNNAMED_SEVERITY and true > UNNAMED_SEVERITY]
        counts[study] = len(both), sum(own == true for own, true in both)
    return counts


def severity_decision_counts(
    probabilities: Float[np.ndarray, "studies findings severities"], severities: Int[np.ndarray, "studies findings"]
) -> Float[np.ndarray, "studies 2"]:
    """Per study: number of findings whose severity is named, and of those whose most probable severity is right."""
    is_named = severities > UNNAMED_SEVERITY
    is_right = is_named & (probabilities.argmax(axis=-1) == severities)
    return np.stack([is_named.sum(axis=1), is_right.sum(axis=1)], axis=1).astype(float)
