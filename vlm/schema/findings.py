"""The vocabulary of findings: CheXpert's 14, in their order, and CheXbert's codes for their states.

Irvin et al. 2019, "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels", table 1;
Smit et al. 2020, "CheXbert", section 3.1 for the codes.

View positions: the names that sources use, and the few kinds of view that the model tells apart.
"""

VIEW_KINDS = ("unknown", "frontal PA", "frontal AP", "lateral")
"""The model learns one embedding for each of these."""

_KIND_OF_POSITION = {
    "UNKNOWN": 0,
    "FRONTAL": 1,
    "PA": 1,
    "AP": 2,
    "AP SUPINE": 2,
    "AP ERECT": 2,
    "LATERAL": 3,
    "LL": 3,
    "RL": 3,
    "L": 3,
    "LLD": 3,
    "RLD": 3,
}


def view_index(view_position: str) -> int:
    """Index in VIEW_KINDS of a view position as sources name it; 0 for names not known."""
    return _KIND_OF_POSITION.get(view_position.strip().upper(), 0)


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
