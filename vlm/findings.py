"""The vocabulary of findings: CheXpert's 14, in their order, and CheXbert's codes for their states.

Irvin et al. 2019, "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels", table 1;
Smit et al. 2020, "CheXbert", section 3.1 for the codes.
"""

FINDINGS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)
NUM_FINDINGS = len(FINDINGS)
FINDING_INDEX = {finding: index for index, finding in enumerate(FINDINGS)}

CHEXPERT_5 = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
"""The five findings of CheXpert's competition, over which "macro-F1 (5)" is averaged."""

BLANK, POSITIVE, NEGATIVE, UNCERTAIN = 0, 1, 2, 3
"""State of a finding in a report: not mentioned, present, denied, left open."""

UNLABELED = -100
"""Nobody looked: masked in every loss and every score."""

LABEL_CODES = frozenset({BLANK, POSITIVE, NEGATIVE, UNCERTAIN, UNLABELED})
UNLABELED_STUDY = (UNLABELED,) * NUM_FINDINGS
