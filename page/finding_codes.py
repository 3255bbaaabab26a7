"""Codes of the findings and of the study for other systems: a finding in, its code in this project's own list and,
where SNOMED CT has the same notion, there.

A finding of CheXpert is what its labelling rules make it. SNOMED CT's code is given where a radiologist would name both
alike; none is for the categories that are CheXpert's own (Lung Opacity, Lung Lesion, Pleural Other, …).
"""

from dataclasses import dataclass

from vlm.schema.findings import FINDING_INDEX

OWN_SYSTEM = "urn:cxrscribe:report"
OWN_SCHEME = "99CXRSCRIBE"
"""The same list in DICOM, where names of private lists begin with 99."""

_SNOMED = {
    "Cardiomegaly": ("8186001", "Cardiomegaly"),
    "Edema": ("19242006", "Pulmonary edema"),
    "Consolidation": ("95436008", "Lung consolidation"),
    "Pneumonia": ("233604007", "Pneumonia"),
    "Atelectasis": ("46621007", "Atelectasis"),
    "Pneumothorax": ("36118008", "Pneumothorax"),
    "Pleural Effusion": ("60046008", "Pleural effusion"),
    "Fracture": ("125605004", "Fracture of bone"),
}
_LOINC_OF_NUM_VIEWS = {1: ("36554-4", "XR Chest Single view"), 2: ("36643-5", "XR Chest 2 Views")}


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingCode:
    """`own` is F01 to F14 in CheXpert's order; `snomed` and its words are empty where there is none."""

    own: str
    snomed: str = ""
    snomed_display: str = ""


def finding_code(finding: str) -> FindingCode:
    snomed, display = _SNOMED.get(finding, ("", ""))
    return FindingCode(own=f"F{FINDING_INDEX[finding] + 1:02d}", snomed=snomed, snomed_display=display)


def study_loinc(num_views: int) -> tuple[str, str]:
    """LOINC's code and words for a radiograph of the chest in so many views."""
    return _LOINC_OF_NUM_VIEWS.get(num_views, ("30745-4", "XR Chest Views"))
