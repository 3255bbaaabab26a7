"""What a made-up study shows, before it is drawn or written: the findings with side, zone and degree.

The renderer (`data.phantom`) and the report grammar (`data.grammar`) both read a Scene and nothing else,
so a report can say only what the picture shows.
"""

from dataclasses import dataclass
from typing import Literal

Side = Literal["", "left", "right", "bilateral"]
Zone = Literal["", "apical", "upper", "mid", "lower", "basal", "perihilar", "diffuse"]
Degree = Literal["", "minimal", "small", "moderate", "large"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFinding:
    """One thing drawn. `kind` says which form of the finding it is (`KINDS`); sides are the patient's:
    the patient's left lies at the right of a frontal picture. `uncertain` things are drawn faintly."""

    finding: str
    kind: str = ""
    side: Side = ""
    zone: Zone = ""
    degree: Degree = ""
    uncertain: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What the views of one made-up examination show; no entries means a normal chest (devices aside)."""

    findings: tuple[SceneFinding, ...]
    view_positions: tuple[str, ...]


KINDS = {
    "Enlarged Cardiomediastinum": ("widened mediastinum", "tortuous aorta"),
    "Cardiomegaly": ("enlarged heart",),
    "Lung Opacity": ("hazy opacity", "interstitial opacity"),
    "Lung Lesion": ("nodule", "mass", "cavitary lesion"),
    "Edema": ("interstitial edema", "alveolar edema"),
    "Consolidation": ("lobar consolidation",),
    "Pneumonia": ("bronchopneumonia",),
    "Atelectasis": ("linear atelectasis", "lobar collapse"),
    "Pneumothorax": ("pneumothorax", "tension pneumothorax"),
    "Pleural Effusion": ("pleural effusion",),
    "Pleural Other": ("pleural thickening", "calcified plaque"),
    "Fracture": ("rib fracture", "clavicle fracture"),
    "Support Devices": (
        "endotracheal tube",
        "nasogastric tube",
        "central venous catheter",
        "PICC line",
        "pacemaker",
        "sternotomy wires",
        "chest tube",
    ),
}
"""Forms of each finding. Each must be recognisable in the picture, and each has words of its own."""
