"""Severity of findings: reports and the classifier against the reference."""

import numpy as np

from eval.checks.severity import severity_counts, severity_decision_counts


def test_findings_whose_severity_both_reports_name_are_scored():
    references = ["Small left effusion. Severe cardiomegaly.", "Moderate edema.", "Large pneumothorax.", "Clear lungs."]
    reports = ["Trace right effusion. Mild cardiomegaly.", "Edema.", "No pneumothorax.", "Small effusion."]
    assert severity_counts(reports, references).tolist() == [[2, 1], [0, 0], [0, 0], [0, 0]]


def test_most_probable_severity_is_scored_where_the_severity_is_known():
    severities = np.full((2, 14), -1)
    severities[0, :3] = 1, 2, 3
    severities[1, 5] = 0
    probabilities = np.full((2, 14, 4), (0.1, 0.2, 0.4, 0.3))
    assert severity_decision_counts(probabilities, severities).tolist() == [[3, 1], [0, 0]]
