"""Severity of the findings in a report: small, moderate or large."""

import pytest

from data.reports.labeler.severity import report_severities
from data.sources import kermany, nih
from vlm.schema.findings import FINDINGS, SEVERITIES


def named(*texts):
    return {
        finding: SEVERITIES[code] for finding, code in zip(FINDINGS, report_severities(*texts), strict=True) if code
    }


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("Trace left pleural effusion. Severe cardiomegaly.", {"Pleural Effusion": "small", "Cardiomegaly": "large"}),
        ("Small to moderate right pneumothorax.", {"Pneumothorax": "moderate"}),
        ("Small right and moderate left pleural effusions.", {"Pleural Effusion": "moderate"}),
        ("Possible mild pulmonary edema.", {"Edema": "small"}),
        ("There is pulmonary vascular congestion, moderate.", {"Edema": "moderate"}),
        ("Left pleural effusion. Consolidation in the right lower lobe.", {}),
        ("No large pleural effusion. No moderate pneumothorax.", {}),
        ("Mild pulmonary edema, improved from moderate.", {"Edema": "small"}),
        ("The effusion has decreased from large.", {}),
        ("The heart is obscured by a large effusion.", {"Pleural Effusion": "large"}),
        ("Large hiatal hernia. Small bore chest tube.", {}),
        ("2.5 cm nodule.", {}),
    ],
)
def test_severity_of_each_finding_that_is_stated_or_suspected(report, expected):
    assert named(report) == expected


def test_greatest_severity_of_the_sections_counts():
    assert named("Small left effusion.", "Moderate left effusion.") == {"Pleural Effusion": "moderate"}


def test_reports_that_are_composed_from_labels_name_no_severity():
    for number in range(40):
        labels = [label for index, label in enumerate(nih.NIH_LABELS) if (number * 7 + index) % 5 == 0]
        assert not named(*nih.compose_sections(tuple(labels), str(number), seed=0))
        for image_class in kermany.IMAGE_CLASSES:
            assert not named(*kermany.compose_sections(image_class, str(number), seed=0))
