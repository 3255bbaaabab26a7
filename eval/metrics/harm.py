"""How much harm an error in a report does: weights of findings and devices, and findings that are near each other.

These tables are data. `eval.metrics.errors` takes another table of weights from its caller."""

from collections.abc import Mapping

from data.reports.labeler.device_patterns import DEVICES
from data.reports.labeler.statements import ANY_DEVICE

CRITICAL, URGENT, MINOR, BENIGN = 1.0, 0.5, 0.25, 0.0
IN_PLACE = MINOR / 2
"""A device that is where it should be: four of them must not outweigh a pneumothorax."""
LEVELS = ((0.75, "critical"), (0.375, "urgent"), (0.125, "minor"), (0.0, "benign"))
"""The name of a harm: that of the first bound that it reaches."""

Harms = Mapping[str, tuple[float, float, float]]
"""Name -> weights if small or mild, if no degree or a moderate one is given, and if large or severe."""

HARMS: Harms = {
    "pneumothorax": (URGENT, CRITICAL, CRITICAL),
    "free air": (CRITICAL, CRITICAL, CRITICAL),
    "mediastinal shift": (URGENT, CRITICAL, CRITICAL),
    "pulmonary edema": (MINOR, URGENT, CRITICAL),
    "pleural effusion": (MINOR, URGENT, CRITICAL),
    "hemothorax or empyema": (URGENT, CRITICAL, CRITICAL),
    "pneumonia": (URGENT, URGENT, CRITICAL),
    "consolidation": (URGENT, URGENT, URGENT),
    "aspiration": (URGENT, URGENT, URGENT),
    "lung opacity": (MINOR, URGENT, URGENT),
    "lung mass": (URGENT, URGENT, CRITICAL),
    "lung nodule": (MINOR, URGENT, URGENT),
    "lung abscess": (URGENT, URGENT, CRITICAL),
    "tuberculosis": (URGENT, URGENT, CRITICAL),
    "lymphadenopathy": (MINOR, URGENT, URGENT),
    "widened mediastinum": (MINOR, URGENT, CRITICAL),
    "aortic aneurysm": (MINOR, URGENT, CRITICAL),
    "pericardial effusion": (MINOR, URGENT, CRITICAL),
    "pneumomediastinum": (URGENT, URGENT, CRITICAL),
    "contusion or hemorrhage": (URGENT, URGENT, CRITICAL),
    "foreign body": (URGENT, URGENT, URGENT),
    "rib fracture": (MINOR, URGENT, URGENT),
    "fracture": (URGENT, URGENT, URGENT),
    "spine fracture": (MINOR, MINOR, URGENT),
    "vertebral deformity": (BENIGN, MINOR, MINOR),
    "dislocation": (URGENT, URGENT, URGENT),
    "bone lesion": (URGENT, URGENT, URGENT),
    "atelectasis": (MINOR, MINOR, URGENT),
    "volume loss": (MINOR, MINOR, URGENT),
    "cardiomegaly": (MINOR, MINOR, URGENT),
    "vascular congestion": (MINOR, MINOR, URGENT),
    "interstitial opacity": (MINOR, MINOR, URGENT),
    "interstitial lung disease": (MINOR, MINOR, URGENT),
    "pleural thickening": (BENIGN, MINOR, MINOR),
    "blunted costophrenic angle": (MINOR, MINOR, MINOR),
    "subcutaneous emphysema": (MINOR, MINOR, URGENT),
    "emphysema": (MINOR, MINOR, MINOR),
    "hyperinflation": (MINOR, MINOR, MINOR),
    "bronchiectasis": (MINOR, MINOR, MINOR),
    "bronchial wall thickening": (MINOR, MINOR, MINOR),
    "elevated hemidiaphragm": (MINOR, MINOR, MINOR),
    "pulmonary hypertension": (MINOR, MINOR, URGENT),
    "bowel distension": (MINOR, MINOR, URGENT),
    "hiatal hernia": (BENIGN, MINOR, MINOR),
    "old fracture": (BENIGN, BENIGN, BENIGN),
    "granuloma": (BENIGN, BENIGN, BENIGN),
    "scar": (BENIGN, BENIGN, MINOR),
    "lung resection": (BENIGN, MINOR, MINOR),
    "low lung volumes": (BENIGN, BENIGN, MINOR),
    "tortuous aorta": (BENIGN, BENIGN, BENIGN),
    "vascular calcification": (BENIGN, BENIGN, BENIGN),
    "degenerative change": (BENIGN, BENIGN, BENIGN),
    "scoliosis": (BENIGN, BENIGN, MINOR),
    "osteopenia": (BENIGN, BENIGN, BENIGN),
    "cervical rib or variant": (BENIGN, BENIGN, BENIGN),
    "endotracheal tube": (IN_PLACE, IN_PLACE, IN_PLACE),
    "tracheostomy tube": (IN_PLACE, IN_PLACE, IN_PLACE),
    "enteric tube": (IN_PLACE, IN_PLACE, IN_PLACE),
    "chest tube": (IN_PLACE, IN_PLACE, IN_PLACE),
    "pulmonary artery catheter": (IN_PLACE, IN_PLACE, IN_PLACE),
    "PICC": (IN_PLACE, IN_PLACE, IN_PLACE),
    "port": (IN_PLACE, IN_PLACE, IN_PLACE),
    "dialysis catheter": (IN_PLACE, IN_PLACE, IN_PLACE),
    "central line": (IN_PLACE, IN_PLACE, IN_PLACE),
    "pacemaker": (IN_PLACE, IN_PLACE, IN_PLACE),
    "circulatory assist device": (IN_PLACE, IN_PLACE, IN_PLACE),
    ANY_DEVICE: (IN_PLACE, IN_PLACE, IN_PLACE),
    "sternal wires": (BENIGN, BENIGN, BENIGN),
    "heart valve": (BENIGN, BENIGN, BENIGN),
    "surgical clips": (BENIGN, BENIGN, BENIGN),
    "stent": (BENIGN, BENIGN, BENIGN),
    "orthopedic hardware": (BENIGN, BENIGN, BENIGN),
    "other device": (BENIGN, BENIGN, BENIGN),
}

MISPLACED: Mapping[str, float] = {
    "endotracheal tube": CRITICAL,
    "tracheostomy tube": CRITICAL,
    "enteric tube": CRITICAL,
    "chest tube": URGENT,
    "pulmonary artery catheter": URGENT,
    "PICC": URGENT,
    "port": URGENT,
    "dialysis catheter": URGENT,
    "central line": URGENT,
    "pacemaker": URGENT,
    "circulatory assist device": CRITICAL,
    ANY_DEVICE: URGENT,
}
"""Harm if a report does not say that this device is in a bad position; MINOR for the others."""

_NEAR = {
    0.7: (
        ("consolidation", "pneumonia"), ("aspiration", "pneumonia"), ("lung opacity", "consolidation"),
        ("hemothorax or empyema", "pleural effusion"), ("interstitial lung disease", "interstitial opacity"),
        ("fracture", "rib fracture"), ("spine fracture", "vertebral deformity"),
        ("central line", "dialysis catheter"), ("lung opacity", "interstitial opacity"),
    ),
    0.6: (
        ("lung opacity", "pneumonia"), ("lung opacity", "aspiration"), ("lung mass", "lung nodule"),
        ("vascular congestion", "pulmonary edema"), ("blunted costophrenic angle", "pleural effusion"),
        ("volume loss", "atelectasis"), ("hyperinflation", "emphysema"), ("central line", "PICC"),
        ("central line", "port"), ("central line", "pulmonary artery catheter"),
        ("endotracheal tube", "tracheostomy tube"), ("blunted costophrenic angle", "pleural thickening"),
    ),
    0.5: (
        ("lung opacity", "atelectasis"), ("interstitial opacity", "pulmonary edema"), ("old fracture", "rib fracture"),
        ("lung opacity", "contusion or hemorrhage"), ("interstitial opacity", "bronchial wall thickening"),
        ("scar", "atelectasis"), ("lung abscess", "lung mass"), ("dialysis catheter", "PICC"), ("port", "PICC"),
        ("port", "dialysis catheter"), ("fracture", "spine fracture"), ("old fracture", "fracture"),
        ("interstitial opacity", "vascular congestion"), ("consolidation", "aspiration"),
        ("low lung volumes", "atelectasis"), ("interstitial lung disease", "scar"), ("lymphadenopathy", "lung mass"),
    ),
    0.4: (
        ("lung opacity", "pulmonary edema"), ("consolidation", "atelectasis"), ("pneumonia", "atelectasis"),
        ("lung opacity", "lung nodule"), ("lung opacity", "lung mass"), ("widened mediastinum", "cardiomegaly"),
        ("aortic aneurysm", "tortuous aorta"), ("aortic aneurysm", "widened mediastinum"), ("lung opacity", "scar"),
        ("lymphadenopathy", "widened mediastinum"), ("granuloma", "lung nodule"),
        ("tuberculosis", "pneumonia"), ("tuberculosis", "consolidation"), ("consolidation", "lung mass"),
        ("pneumomediastinum", "subcutaneous emphysema"), ("scar", "pleural thickening"), ("bone lesion", "fracture"),
        ("cardiomegaly", "pericardial effusion"), ("pulmonary hypertension", "lymphadenopathy"),
        ("spine fracture", "degenerative change"),
        ("vertebral deformity", "degenerative change"), ("consolidation", "contusion or hemorrhage"),
    ),
    0.3: (
        ("pleural thickening", "pleural effusion"), ("pulmonary edema", "pneumonia"),
        ("tortuous aorta", "vascular calcification"), ("lung opacity", "tuberculosis"),
        ("consolidation", "pulmonary edema"), ("tortuous aorta", "widened mediastinum"),
    ),
}  # fmt: skip
NEAR = {frozenset(pair): share for share, pairs in _NEAR.items() for pair in pairs}
NEAR |= {frozenset({ANY_DEVICE, kind}): 0.6 for kind in DEVICES}
"""Two names -> share of the harm that is saved if a report has the one for the other in the same place."""

GENERAL = frozenset({
    "lung opacity", "interstitial opacity", "consolidation", "vascular congestion", "volume loss", "low lung volumes",
    "blunted costophrenic angle", ANY_DEVICE,
})  # fmt: skip
"""Names of what is seen, which other names explain."""


def harm_of(name: str, severity: float | None, harms: Harms = HARMS) -> float:
    """The weight of a finding or device; a degree between two columns gets the weight between them."""
    mild, usual, severe = harms[name]
    if severity is None:
        return usual
    if severity <= 1:
        return mild
    return mild + (usual - mild) * (severity - 1) if severity <= 2 else usual + (severe - usual) * (severity - 2)


def level_of(harm: float) -> str:
    return next(name for bound, name in LEVELS if harm >= bound)
