"""Sample what a synthetic study shows, before it is drawn or described: findings with laterality, zone and degree.

A study follows one of a few stories (heart failure, infection, intensive care, trauma, ...). Each story adds its
findings with some probability, and any finding can also occur by chance. Findings that would hide each other in the
image are placed in other zones, or left out.

The renderer (`data.synthetic.phantom`) and the report grammar (`data.synthetic.grammar.report`) read only the Scene, so
a report can only state what the image shows.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

Laterality = Literal["", "left", "right", "bilateral"]
Zone = Literal["", "apical", "upper", "mid", "lower", "basal", "perihilar", "diffuse"]
Degree = Literal["", "minimal", "small", "moderate", "large"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFinding:
    """A finding to draw. `kind` is its form (`KINDS`). `laterality` is the side of the patient: the patient's left is
    on the right of a frontal image. Uncertain findings are drawn faintly."""

    finding: str
    kind: str = ""
    laterality: Laterality = ""
    zone: Zone = ""
    degree: Degree = ""
    uncertain: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What the views of one synthetic study show. Without findings, the chest is normal."""

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
        "endotracheal tube", "nasogastric tube", "central venous catheter", "PICC line", "pacemaker",
        "sternotomy wires", "chest tube",
    ),
}  # fmt: skip
"""Forms of each finding. Each is recognizable in the image, and has its own words."""


_STORIES = {
    "normal": (0.195, {}),
    "heart failure": (0.125, {"Cardiomegaly": 0.8, "Edema": 0.92, "Pleural Effusion": 0.55, "Support Devices": 0.2}),
    "infection": (
        0.16,
        {"Pneumonia": 0.55, "Consolidation": 0.5, "Pleural Effusion": 0.2, "Lung Opacity": 0.15, "Atelectasis": 0.1},
    ),
    "intensive care": (
        0.075,
        {"Support Devices": 1.0, "Edema": 0.35, "Atelectasis": 0.4, "Pleural Effusion": 0.4, "Pneumothorax": 0.25,
         "Pneumonia": 0.2, "Lung Opacity": 0.2},
    ),
    "trauma": (
        0.105,
        {"Fracture": 0.85, "Pneumothorax": 0.6, "Enlarged Cardiomediastinum": 0.15, "Support Devices": 0.15,
         "Lung Opacity": 0.1},
    ),
    "tumor": (
        0.09,
        {"Lung Lesion": 0.92, "Enlarged Cardiomediastinum": 0.25, "Atelectasis": 0.25, "Pleural Effusion": 0.15},
    ),
    "old pleura": (0.10, {"Pleural Other": 0.92, "Lung Lesion": 0.1, "Fracture": 0.2, "Atelectasis": 0.15}),
    "old heart": (0.085, {"Enlarged Cardiomediastinum": 0.75, "Cardiomegaly": 0.5, "Support Devices": 0.35}),
    "diffuse lung disease": (0.065, {"Lung Opacity": 0.95, "Pneumothorax": 0.12, "Cardiomegaly": 0.15}),
}  # fmt: skip
"""For each story: the fraction of studies, and the probability of each finding."""

_UNCERTAIN = 0.18
_SHAPES = ("Cardiomegaly", "Enlarged Cardiomediastinum")
"""Uncertain ones are not faint but of borderline size, so they have no degree."""
LUNGS, ZONES = ("right", "left"), ("upper", "mid", "lower")


class Chest:
    """The free parts of the lungs: pairs of laterality and zone."""

    def __init__(self):
        self.free = set(product(LUNGS, ZONES))

    def is_free(self, zones, lungs=LUNGS) -> bool:
        return self.free.issuperset(product(lungs, zones))

    def fill(self, zones, lungs=LUNGS) -> None:
        self.free.difference_update(product(lungs, zones))

    def take(self, rng, zones=ZONES, *, also: int = 0) -> tuple[str, str] | None:
        """Take a free place at random, and `also` this many zones above it. None if no place is free."""
        places = sorted(place for place in self.free if place[1] in zones)
        if not places:
            return None
        laterality, zone = places[rng.integers(len(places))]
        last = ZONES.index(zone)
        self.fill(ZONES[max(0, last - also) : last + 1], (laterality,))
        return laterality, zone

    def free_lung(self, rng, zones=ZONES) -> str | None:
        """A random lung with these zones free."""
        lungs = [laterality for laterality in LUNGS if self.is_free(zones, (laterality,))]
        return lungs[rng.integers(len(lungs))] if lungs else None


def _pick(rng: np.random.Generator, **chances: float) -> str:
    weights = np.array(list(chances.values()))
    return list(chances)[int(rng.choice(len(chances), p=weights / weights.sum()))].replace("_", " ")


def _degree(rng: np.random.Generator, **chances: float) -> str:
    return _pick(rng, **(chances or {"small": 0.25, "moderate": 0.45, "large": 0.3}))


def _placed(kind: str, place: tuple[str, str] | None, rng: np.random.Generator, **degrees: float) -> dict | None:
    return place and {"kind": kind, "laterality": place[0], "zone": place[1], "degree": _degree(rng, **degrees)}


def _effusion(chest: Chest, rng, story: str) -> dict | None:
    degree = _degree(rng, minimal=0.12, small=0.28, moderate=0.36, large=0.24)
    both = rng.random() < (0.55 if story in ("heart failure", "intensive care") else 0.12)
    if both and chest.is_free(("lower",)):
        degree = "moderate" if degree == "large" else degree
        chest.fill(("mid", "lower") if degree == "moderate" else ("lower",))
        return {"kind": "pleural effusion", "laterality": "bilateral", "degree": degree}
    place = chest.take(rng, ("lower",), also={"moderate": 1, "large": 2}.get(degree, 0))
    return place and {"kind": "pleural effusion", "laterality": place[0], "degree": degree}


def _pneumothorax(chest: Chest, rng, story: str) -> dict | None:
    laterality = chest.free_lung(rng)
    if laterality is None:
        return None
    if rng.random() < 0.17:
        chest.fill(ZONES, (laterality,))
        return {"kind": "tension pneumothorax", "laterality": laterality, "degree": "large", "uncertain": False}
    degree = _degree(rng, minimal=0.1, small=0.3, moderate=0.35, large=0.25)
    chest.fill(ZONES[: {"moderate": 2, "large": 3}.get(degree, 1)], (laterality,))
    zone = "apical" if degree in ("minimal", "small") else ""
    return {"kind": "pneumothorax", "laterality": laterality, "zone": zone, "degree": degree}


def _consolidation(chest: Chest, rng, story: str) -> dict | None:
    place = chest.take(rng)
    if place == ("left", "mid"):  # there is no middle lobe on the left
        place = chest.take(rng, ("upper", "lower"))
    return _placed("lobar consolidation", place, rng)


def _pneumonia(chest: Chest, rng, story: str) -> dict | None:
    zones = [zone for zone in ZONES if chest.is_free((zone,))] if rng.random() < 0.25 else []
    if zones:
        zone = zones[rng.integers(len(zones))]
        chest.fill((zone,))
        return _placed("bronchopneumonia", ("bilateral", zone), rng)
    return _placed("bronchopneumonia", chest.take(rng), rng)


def _atelectasis(chest: Chest, rng, story: str) -> dict | None:
    if rng.random() >= 0.58:
        return _placed("lobar collapse", chest.take(rng, ("upper", "lower")), rng, moderate=0.5, large=0.5)
    if rng.random() < 0.3 and chest.is_free(("lower",)):
        chest.fill(("lower",))
        return _placed("linear atelectasis", ("bilateral", "basal"), rng)
    place = chest.take(rng, ("lower", "mid"))
    if place and rng.random() < 0.6 and place[1] == "lower":
        place = place[0], "basal"
    return _placed("linear atelectasis", place, rng)


def _opacity(chest: Chest, rng, story: str) -> dict | None:
    if rng.random() < (0.85 if story == "diffuse lung disease" else 0.35):
        return _placed("interstitial opacity", ("bilateral", _pick(rng, diffuse=0.5, lower=0.35, upper=0.15)), rng)
    return _placed("hazy opacity", chest.take(rng), rng)


def _lesion(chest: Chest, rng, story: str) -> dict | None:
    kind = _pick(rng, nodule=0.45, mass=0.33, cavitary_lesion=0.22)
    place = chest.take(rng)
    degree = _degree(rng, small=0.4, moderate=0.4, large=0.2)
    return place and {"kind": kind, "laterality": place[0], "zone": place[1], "degree": degree}


def _pleural_other(chest: Chest, rng, story: str) -> dict | None:
    if rng.random() < 0.5:
        return _placed("calcified plaque", (_pick(rng, right=0.3, left=0.3, bilateral=0.4), ""), rng)
    zone = _pick(rng, apical=0.4, lower=0.6)
    taken = {"apical": ("upper",), "lower": ("mid", "lower")}[zone]
    laterality = chest.free_lung(rng, taken)
    if laterality is None:
        return None
    chest.fill(taken, (laterality,))
    return _placed("pleural thickening", (laterality, zone), rng)


def _fracture(chest: Chest, rng, story: str) -> dict | None:
    laterality = _pick(rng, right=0.5, left=0.5)
    if rng.random() < 0.35:
        return {"kind": "clavicle fracture", "laterality": laterality}
    return _placed("rib fracture", (laterality, _pick(rng, upper=0.3, mid=0.4, lower=0.3)), rng)


def _edema(chest: Chest, rng, story: str) -> dict | None:
    if rng.random() < 0.5:
        return _placed("interstitial edema", ("bilateral", "diffuse"), rng)
    if len(chest.free) < 5:
        return None
    chest.fill(("mid",))
    return _placed("alveolar edema", ("bilateral", "perihilar"), rng, moderate=0.5, large=0.5)


def _mediastinum(chest: Chest, rng, story: str) -> dict | None:
    tortuous = rng.random() < (0.75 if story == "old heart" else 0.15)
    return {"kind": "tortuous aorta" if tortuous else "widened mediastinum", "degree": _degree(rng)}


SAMPLERS = {
    "Pneumothorax": (_pneumothorax, 0.06),
    "Pleural Effusion": (_effusion, 0.06),
    "Edema": (_edema, 0.02),
    "Consolidation": (_consolidation, 0.07),
    "Pneumonia": (_pneumonia, 0.05),
    "Lung Lesion": (_lesion, 0.04),
    "Lung Opacity": (_opacity, 0.04),
    "Pleural Other": (_pleural_other, 0.05),
    "Atelectasis": (_atelectasis, 0.11),
    "Fracture": (_fracture, 0.035),
    "Enlarged Cardiomediastinum": (_mediastinum, 0.06),
    "Cardiomegaly": (lambda chest, rng, story: {"kind": "enlarged heart", "degree": _degree(rng)}, 0.03),
}
"""The sampler of each finding, and its probability if it is not part of the story. In the order in which the findings
take their places: large ones first."""


def sample_devices(rng: np.random.Generator, story: str, found: list[SceneFinding]) -> list[SceneFinding]:
    """Devices that fit the story and the findings; at least one."""
    laterality = _pick(rng, right=0.6, left=0.4)
    if story == "intensive care":
        tubes = {"endotracheal tube": 0.65, "nasogastric tube": 0.5}
        kinds = [kind for kind, chance in tubes.items() if rng.random() < chance]
        if not kinds or rng.random() < 0.6:
            kinds.append(_pick(rng, central_venous_catheter=0.65, PICC_line=0.35))
    elif story in ("old heart", "heart failure"):
        kinds = [_pick(rng, pacemaker=0.55, sternotomy_wires=0.45)]
    else:
        kinds = [_pick(rng, central_venous_catheter=0.25, PICC_line=0.25, pacemaker=0.25, sternotomy_wires=0.25)]
    air = [finding.laterality for finding in found if finding.finding == "Pneumothorax"]
    if air and rng.random() < 0.6:
        kinds = [*kinds, "chest tube"] if story == "intensive care" else ["chest tube"]
    devices = []
    for kind in kinds:
        sided = {"pacemaker": _pick(rng, left=0.85, right=0.15), "chest tube": air[0] if air else laterality}
        sided |= {"central venous catheter": laterality, "PICC line": laterality}
        devices.append(SceneFinding(finding="Support Devices", kind=kind, laterality=sided.get(kind, "")))
    return devices


def sample_scene(rng: np.random.Generator) -> Scene:
    """Sample one synthetic study. About a fifth are normal; a tenth of these have devices."""
    story = list(_STORIES)[int(rng.choice(len(_STORIES), p=[share for share, _ in _STORIES.values()]))]
    chances = _STORIES[story][1]
    chest = Chest()
    found: list[SceneFinding] = []
    for name, (sampler, by_chance) in SAMPLERS.items():
        chance = 0.0 if story == "normal" else chances.get(name, by_chance)
        if rng.random() < chance and (details := sampler(chest, rng, story)):
            uncertain = bool(rng.random() < _UNCERTAIN and details.get("degree") != "large")
            if uncertain and name in _SHAPES:
                details["degree"] = ""
            found.append(SceneFinding(finding=name, **{"uncertain": uncertain} | details))
    if story != "normal" and not found and "Support Devices" not in chances:
        found.append(SceneFinding(finding="Lung Lesion", **_lesion(chest, rng, story)))
    if rng.random() < (0.10 if story == "normal" else chances.get("Support Devices", 0.03)):
        found += sample_devices(rng, story, found)
    return Scene(findings=tuple(found), view_positions=_views(rng, story))


def _views(rng: np.random.Generator, story: str) -> tuple[str, ...]:
    in_bed = story in ("intensive care", "trauma")
    frontal = "AP" if rng.random() < (0.85 if in_bed else 0.15) else "PA"
    return (frontal, "LATERAL") if rng.random() < (0.12 if in_bed else 0.4) else (frontal,)
