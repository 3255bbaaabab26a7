"""The 14 findings of CheXpert, CheXbert's label codes, severities, changes since a prior study, and view positions.

Irvin et al. 2019, "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels", table 1;
Smit et al. 2020, "CheXbert", section 3.1 for the codes.
"""

from collections.abc import Iterable

VIEW_KINDS = ("unknown", "frontal PA", "frontal AP", "lateral")
"""The model learns one embedding for each of these."""
LATERAL = VIEW_KINDS.index("lateral")
FRONTAL_ONLY, LATERAL_ONLY, BOTH_VIEWS = "frontal only", "lateral only", "frontal and lateral"

_KIND_OF_POSITION = {
    **dict.fromkeys(("FRONTAL", "PA", "PA LLD", "PA RLD"), 1),
    **dict.fromkeys(("AP", "AP SUPINE", "AP ERECT", "AP LLD", "AP RLD"), 2),
    **dict.fromkeys(("LATERAL", "LL", "RL", "L"), 3),
}
"""LLD and RLD (left and right lateral decubitus) say how the patient lies, not the direction of the beam. Alone they
are unknown names, which count as frontal."""


def view_index(view_position: str) -> int:
    """Index in VIEW_KINDS of a view position; 0 for unknown names."""
    return _KIND_OF_POSITION.get(view_position.strip().upper(), 0)


def is_lateral(view_position: str) -> bool:
    """Whether it is the name of a lateral view. Views with unknown names count as frontal."""
    return view_index(view_position) == LATERAL


def views_shown(view_positions: Iterable[str]) -> str:
    """The views of a study in words: "frontal only", "lateral only", "frontal and lateral", or "no view"."""
    shown = {is_lateral(position) for position in view_positions}
    if len(shown) == 2:
        return BOTH_VIEWS
    return LATERAL_ONLY if True in shown else FRONTAL_ONLY if shown else "no view"


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
"""The five findings of the CheXpert competition; "macro-F1 (5)" is the average over them."""

BLANK, POSITIVE, NEGATIVE, UNCERTAIN = 0, 1, 2, 3
"""Label of a finding in a report: not mentioned, present, absent, uncertain."""

UNLABELED = -100
"""Not labeled: masked in every loss and every score."""

SEVERITIES = ("", "small", "moderate", "large")
"""How severe or how large a finding is, by code, as a report names it; code 0: it names none. "small" includes minimal
and mild, "large" includes severe."""
UNNAMED_SEVERITY, UNKNOWN_SEVERITY = 0, -1
"""The severity is unknown if the finding is absent, or if there is no report."""
SEVERITY_CODES = frozenset({UNKNOWN_SEVERITY, *range(len(SEVERITIES))})
WITHOUT_SEVERITY = (FINDING_INDEX["Support Devices"], FINDING_INDEX["No Finding"])
"""Indices of the findings that have no severity."""
UNKNOWN_SEVERITIES = (UNKNOWN_SEVERITY,) * NUM_FINDINGS

CHANGES = ("none", "new", "worse", "unchanged", "better", "resolved")
"""How a finding changed since the prior study, by code. "none": absent in both studies; "resolved": only in the prior.
Support devices are new (placed), unchanged (also if moved) or resolved (removed)."""
PRESENT_CHANGES = CHANGES[1:-1]
"""The changes of a finding that is present now."""
UNKNOWN_CHANGE = -1
"""The change is unknown without a prior study. It is always unknown for No Finding."""
CHANGE_CODES = frozenset({UNKNOWN_CHANGE, *range(len(CHANGES))})
UNKNOWN_CHANGES = (UNKNOWN_CHANGE,) * NUM_FINDINGS
WITHOUT_CHANGE = FINDING_INDEX["No Finding"]
"""Index of the finding that has no change."""

LABEL_CODES = frozenset({BLANK, POSITIVE, NEGATIVE, UNCERTAIN, UNLABELED})
UNLABELED_STUDY = (UNLABELED,) * NUM_FINDINGS
