"""Convert MeSH codes of the Indiana reports to findings that a phantom can show, with the status of each code.

A code is "Finding/place/side/degree": "Opacity/lung/base/left", "Cardiomegaly/mild", "normal". The renderer has about
25 kinds of findings and the indexers use about 120 headings, so related headings share a kind (a calcified granuloma
and a calcified lymph node are small nodules, a scar is a band). Headings without a kind (spine, diaphragm, calcified
vessels, inspiration) get the status "no form". Only the codes are used, never the report.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from data.synthetic.scene import Degree, SceneFinding, Side, Zone

Fate = Literal["drawn", "normal", "no form", "not indexed"]

_PLACES: tuple[tuple[str, Zone], ...] = (
    ("diffuse", "diffuse"),
    ("apex", "apical"),
    ("upper lobe", "upper"),
    ("middle lobe", "mid"),
    ("lingula", "lower"),
    ("lower lobe", "lower"),
    ("retrocardiac", "lower"),
    ("cardiophrenic angle", "lower"),
    ("base", "basal"),
    ("hilum", "perihilar"),
    ("mediastinum", "perihilar"),
    ("paratracheal", "perihilar"),
)
"""Part of a code -> zone; the first match counts. The "apex" of the heart matches no rule with zones."""
_LEFT_BY_ITSELF = {"lingula", "retrocardiac"}
_DEGREES: dict[str, Degree] = {
    "borderline": "minimal",
    "mild": "small",
    "small": "small",
    "moderate": "moderate",
    "severe": "large",
    "large": "large",
}

_ELSEWHERE = (
    "abdomen|breast|neck|humerus|shoulder|spine|thoracic vertebrae|lumbar vertebrae|cervical vertebrae|ribs|clavicle|"
    "sternum|adipose tissue|aorta|blood vessels|coronary vessels|aortic valve|mitral valve|bronchi|nipple|esophagus"
)
_IN_THE_CHEST = rf"(?!.*/(?:{_ELSEWHERE}))"


def _found(finding: str, kind: str, *, side: Side = "", zone: Zone = "", degree: Degree = "") -> SceneFinding:
    return SceneFinding(finding=finding, kind=kind, side=side, zone=zone, degree=degree)


_EFFUSION = _found("Pleural Effusion", "pleural effusion")
_PNEUMOTHORAX = _found("Pneumothorax", "pneumothorax")
_NET = _found("Lung Opacity", "interstitial opacity", zone="diffuse")
_WIRES = _found("Support Devices", "sternotomy wires")
_OLD_GRANULOMA = _found("Lung Lesion", "nodule", degree="minimal")
_LUNG_RULES = (
    (r"pulmonary edema/.*pulmonary alveoli", _found("Edema", "alveolar edema", zone="perihilar")),
    (r"pulmonary edema", _found("Edema", "interstitial edema", zone="diffuse")),
    (r"heart failure", _found("Edema", "interstitial edema", zone="diffuse")),
    (r"pulmonary congestion", _found("Edema", "interstitial edema", zone="diffuse", degree="minimal")),
    (r"pneumonia", _found("Pneumonia", "bronchopneumonia")),
    (r"consolidation", _found("Consolidation", "lobar consolidation")),
    (r"pulmonary atelectasis", _found("Atelectasis", "linear atelectasis")),
    (r"volume loss", _found("Atelectasis", "lobar collapse")),
    (r"pneumothorax", _PNEUMOTHORAX),
    (r"pleural effusion|hemothorax", _EFFUSION),
    (r"(?:costophrenic angle|sulcus|pleura)/.*(?:blunted|obscured)", replace(_EFFUSION, degree="minimal")),
    (r"calcinosis/.*pleura", _found("Pleural Other", "calcified plaque")),
    (r"(?:thickening|cicatrix)/pleura|pleura/", _found("Pleural Other", "pleural thickening", zone="lower")),
    (r"cicatrix/(?:lung/)?apex", _found("Pleural Other", "pleural thickening", degree="small")),
    (r"cicatrix", _found("Atelectasis", "linear atelectasis", degree="minimal")),
    (r"cavitation", _found("Lung Lesion", "cavitary lesion")),
    (r"mass", _found("Lung Lesion", "mass")),
    (r"nodule|(?:opacity|density)/.*round", _found("Lung Lesion", "nodule")),
    (r"calcinosis/.*lymph nodes", replace(_OLD_GRANULOMA, zone="perihilar")),
    (r"(?:calcified )?granuloma|granulomatous disease|calcinosis/", _OLD_GRANULOMA),
    (r"(?:opacity|infiltrate|density|markings|thickening)/.*(?:interstitial|reticular)", _NET),
    (r"lung/.*interstitial|lung diseases, interstitial|pulmonary fibrosis", _NET),
    (r"markings", replace(_NET, zone="perihilar", degree="minimal")),
    (r"(?:opacity|density)/.*streaky", _found("Atelectasis", "linear atelectasis", degree="small")),
    (r"(?:opacity|density|infiltrate|airspace disease)", _found("Lung Opacity", "hazy opacity")),
    (r"mediastinum/.*(?:prominent|enlarged)", _found("Enlarged Cardiomediastinum", "widened mediastinum")),
)
_RULES: tuple[tuple[str, tuple[SceneFinding, ...]], ...] = (
    (r"hydropneumothorax|hemopneumothorax", (_PNEUMOTHORAX, _EFFUSION)),
    *((rf"{_IN_THE_CHEST}(?:{pattern})", (drawn,)) for pattern, drawn in _LUNG_RULES),
    (
        r"cardiomegaly|cardiac shadow/.*(?:enlarged|borderline)|heart (?:ventricles|atria)/.*enlarged|"
        r"pericardial effusion",
        (_found("Cardiomegaly", "enlarged heart"),),
    ),
    (
        r"aorta(?:, thoracic)?/.*(?:tortuous|prominent|enlarged)|aortic aneurysm",
        (_found("Enlarged Cardiomediastinum", "tortuous aorta"),),
    ),
    (r"(?:fractures, bone|deformity)/ribs", (_found("Fracture", "rib fracture"),)),
    (r"(?:fractures, bone|deformity)/clavicle", (_found("Fracture", "clavicle fracture"),)),
    (r"catheters, indwelling(?!/abdomen|/thoracic vertebrae)", (_found("Support Devices", "central venous catheter"),)),
    (r"tube, inserted/trachea", (_found("Support Devices", "endotracheal tube"),)),
    (r"tube, inserted/(?:thorax|left|right)", (_found("Support Devices", "chest tube"),)),
    (r"tube, inserted", (_found("Support Devices", "nasogastric tube"),)),
    (r"implanted medical device/(?:aortic valve|mitral valve)", (_WIRES,)),
    (rf"{_IN_THE_CHEST}implanted medical device(?!/pulmonary)", (_found("Support Devices", "pacemaker"),)),
    (r"surgical instruments(?:$|/mediastinum|/heart|/thorax$)|sutures/sternum", (_WIRES,)),
)
"""Pattern for the start of a code, in lower case -> findings to draw; the first match counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadCode:
    """A code, its status, and the findings to draw."""

    code: str
    fate: Fate
    findings: tuple[SceneFinding, ...] = ()

    @property
    def heading(self) -> str:
        """The part before the first "/"."""
        return self.code.partition("/")[0]


def read_code(code: str) -> ReadCode:
    """The findings to draw for one code, with its side, zone and degree."""
    lowered = " ".join(code.lower().split())
    if lowered in ("normal", "no indexing"):
        return ReadCode(code=code, fate="normal" if lowered == "normal" else "not indexed")
    drawn = next((findings for pattern, findings in _RULES if re.match(pattern, lowered)), ())
    parts = set(lowered.split("/")[1:])
    placed = tuple(_placed(finding, parts) for finding in drawn)
    return ReadCode(code=code, fate="drawn" if placed else "no form", findings=placed)


def scene_findings(codes: tuple[str, ...]) -> tuple[SceneFinding, ...]:
    """The findings of a phantom: each finding once, in the order of the codes."""
    return tuple(dict.fromkeys(finding for code in codes for finding in read_code(code).findings))


def _placed(finding: SceneFinding, parts: set[str]) -> SceneFinding:
    zone = next((zone for place, zone in _PLACES if place in parts), finding.zone)
    degree = next((degree for word, degree in _DEGREES.items() if word in parts), finding.degree)
    side: Side = next((side for side in ("bilateral", "left", "right") if side in parts), finding.side)
    if {"left", "right"} <= parts:
        side = "bilateral"
    if not side:
        side = "left" if parts & _LEFT_BY_ITSELF else "bilateral" if parts & {"scattered", "diffuse"} else ""
    if finding.kind in _WITHOUT_PLACE:
        zone = side = ""
    elif finding.finding == "Support Devices" and side == "bilateral":
        side = ""
    return replace(finding, side=side, zone=zone, degree=degree)


_WITHOUT_PLACE = {
    "enlarged heart",
    "widened mediastinum",
    "tortuous aorta",
    "endotracheal tube",
    "nasogastric tube",
    "sternotomy wires",
}
