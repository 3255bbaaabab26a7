"""Writes the report of a synthetic study: a Scene in, indication, findings, impression and their labels out.

Only what the Scene holds is stated (positive, or hedged where drawn faintly), only what it lacks is denied, so
the labels say what the text says: positive where stated, uncertain where hedged, negative where denied, blank
where not mentioned. Conventions, after CheXpert and shared with `data.reports.labeler.labeler` (which reads on its
own):

- "heart size is normal" denies Cardiomegaly, "mediastinal contours are normal" Enlarged Cardiomediastinum,
  "cardiomediastinal silhouette is normal" both;
- "lungs are clear" denies Lung Opacity and no other finding by name;
- "costophrenic angles are sharp" denies Pleural Effusion, "bones are intact" Fracture;
- "no acute cardiopulmonary abnormality" and "no acute bony abnormality" name no finding;
- No Finding is positive when nothing but Support Devices is positive or uncertain, else blank.
"""

from dataclasses import dataclass, field

from numpy.random import Generator

from data.synthetic.grammar import frames
from data.synthetic.grammar.sentences import (
    capitalized,
    explain_opacity,
    listed,
    pick,
    say_finding,
    say_pair,
    say_without,
)
from data.synthetic.scene import Scene, SceneFinding
from vlm.schema.findings import BLANK, FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, view_index

_LUNG_DISEASE = {"Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis"}
_FORBIDS_DENYING = {
    "Lung Opacity": _LUNG_DISEASE,
    "Consolidation": {"Consolidation", "Pneumonia", "Lung Opacity", "Atelectasis"},
    "Pneumonia": {"Pneumonia", "Consolidation", "Lung Opacity"},
    "Edema": {"Edema", "Lung Opacity"},
    "Lung Lesion": {"Lung Lesion", "Consolidation", "Lung Opacity"},
    "Atelectasis": {"Atelectasis", "Consolidation", "Lung Opacity"},
}
"""A denial is not written beside these, true or not: a reader would take it for a contradiction."""
_SHIFTS_MEDIASTINUM = {"tension pneumothorax", "lobar collapse"}
_URGENCY = (
    "Pneumothorax", "Edema", "Pneumonia", "Consolidation", "Pleural Effusion", "Lung Lesion", "Lung Opacity",
    "Atelectasis", "Fracture", "Cardiomegaly", "Enlarged Cardiomediastinum", "Pleural Other", "Support Devices",
)  # fmt: skip
_CHRONIC = {"Cardiomegaly", "Enlarged Cardiomediastinum", "Pleural Other"}
_SYSTEM_OF = {
    "Cardiomegaly": "heart",
    "Enlarged Cardiomediastinum": "heart",
    "Pneumothorax": "pleura",
    "Pleural Effusion": "pleura",
    "Pleural Other": "pleura",
    "Fracture": "bones",
    "Support Devices": "devices",
}
_ORDERS = (
    ("devices", "heart", "lungs", "pleura", "bones"),
    ("heart", "lungs", "pleura", "bones", "devices"),
    ("lungs", "pleura", "heart", "bones", "devices"),
    ("heart", "lungs", "pleura", "devices", "bones"),
    ("devices", "lungs", "pleura", "heart", "bones"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenReport:
    """The sections of a synthetic report; `labels` are CheXbert's codes in the order of FINDINGS."""

    indication: str
    findings: str
    impression: str
    labels: tuple[int, ...]


@dataclass(kw_only=True, slots=True)
class _Draft:
    """A report as it grows: sentences per organ system, and what they deny."""

    present: frozenset[str]
    shifted: bool
    """The mediastinum is pushed or drawn aside, so it is not called normal."""
    rng: Generator
    wordiness: float
    """How much room is left for what is normal: full reports of ill chests keep short about the rest."""
    denied: set[str] = field(default_factory=set)
    systems: dict[str, list[str]] = field(
        default_factory=lambda: {"heart": [], "lungs": [], "pleura": [], "bones": [], "devices": []}
    )

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def may_deny(self, finding: str) -> bool:
        return finding not in self.present and not self.present & _FORBIDS_DENYING.get(finding, set())


def write_report(scene: Scene, rng: Generator) -> WrittenReport:
    """A report of the scene in one of very many wordings; the same scene and generator state give the same."""
    wordiness = {0: 1.0, 1: 1.0, 2: 0.95, 3: 0.8}.get(len(scene.findings), 0.5)
    draft = _Draft(
        present=frozenset(item.finding for item in scene.findings),
        shifted=any(item.kind in _SHIFTS_MEDIASTINUM for item in scene.findings),
        rng=rng,
        wordiness=wordiness,
    )
    _state_findings(draft, scene)
    _mention_normal_structures(draft)
    _deny(draft)
    sentences = [_technique(scene, rng)] if draft.chance(0.15) else []
    for system in pick(_ORDERS, rng):
        sentences += draft.systems[system]
    return WrittenReport(
        indication=_indication(draft),
        findings=" ".join(filter(None, sentences)),
        impression=_impression(draft, scene),
        labels=_labels(draft, scene),
    )


def _labels(draft: _Draft, scene: Scene) -> tuple[int, ...]:
    labels = [NEGATIVE if finding in draft.denied else BLANK for finding in FINDINGS]
    for item in sorted(scene.findings, key=lambda item: item.uncertain, reverse=True):
        labels[FINDING_INDEX[item.finding]] = UNCERTAIN if item.uncertain else POSITIVE
    diseased = draft.present - {"Support Devices"}
    labels[FINDING_INDEX["No Finding"]] = BLANK if diseased else POSITIVE
    return tuple(labels)


def _state_findings(draft: _Draft, scene: Scene) -> None:
    """Every finding in a sentence; now and then two of one organ system share one."""
    waiting: dict[tuple[str, bool], SceneFinding] = {}
    items = [scene.findings[int(index)] for index in draft.rng.permutation(len(scene.findings))]
    items = _explain_opacities(draft, items)
    for item in items:
        system = _SYSTEM_OF.get(item.finding, "lungs")
        sentences = draft.systems[system]
        key = (system, item.uncertain)
        denied = [finding for finding in frames.WITHOUT.get(item.finding, ()) if draft.may_deny(finding)]
        if key in waiting:
            sentences.append(say_pair(waiting.pop(key), item, draft.rng))
        elif draft.chance(0.4):
            waiting[key] = item
        elif denied and not item.uncertain and draft.chance(0.15):
            denial = pick(denied, draft.rng)
            sentences.append(say_without(item, denial, draft.rng))
            draft.denied.add(denial)
        else:
            sentences.append(say_finding(item, draft.rng))
    for (system, _), item in waiting.items():
        draft.systems[system].append(say_finding(item, draft.rng))


def _explain_opacities(draft: _Draft, items: list[SceneFinding]) -> list[SceneFinding]:
    """Writes of an opacity together with what it may be, where both lie on the same side; returns the rest."""
    for opacity in items:
        for cause in items:
            together = cause.side == opacity.side and cause.uncertain and cause.finding in ("Pneumonia", "Atelectasis")
            if opacity.finding == "Lung Opacity" and not opacity.uncertain and together and draft.chance(0.5):
                draft.systems["lungs"].append(explain_opacity(opacity, cause, draft.rng))
                return [item for item in items if item is not opacity and item is not cause]
    return items


def _mention_normal_structures(draft: _Draft) -> None:
    def mention(system: str, sentences: tuple[str, ...], findings: set[str], probability: float) -> None:
        if not findings & draft.present and draft.chance(probability * draft.wordiness):
            draft.systems[system].append(pick(sentences, draft.rng))
            draft.denied.update(findings)

    if draft.shifted or draft.chance(0.5):
        mention("heart", frames.NORMAL_HEART, {"Cardiomegaly"}, 0.95)
        if not draft.shifted:
            mention("heart", frames.NORMAL_MEDIASTINUM, {"Enlarged Cardiomediastinum"}, 0.6)
    else:
        mention("heart", frames.NORMAL_BOTH, {"Cardiomegaly", "Enlarged Cardiomediastinum"}, 0.95)
    if not draft.present & {"Edema", "Cardiomegaly", "Lung Opacity"}:
        mention("heart", frames.NORMAL_VESSELS, set(), 0.25)
    if not draft.present & _LUNG_DISEASE:
        mention("lungs", frames.CLEAR_LUNGS, {"Lung Opacity"}, 0.75)
    elif draft.present & _LUNG_DISEASE <= {"Lung Lesion", "Atelectasis"}:
        mention("lungs", frames.OTHERWISE_CLEAR_LUNGS, {"Lung Opacity"}, 0.3)
    if "Pleural Other" not in draft.present:
        mention("pleura", frames.SHARP_ANGLES, {"Pleural Effusion"}, 0.15)
    if draft.chance(0.6):
        mention("bones", frames.NORMAL_BONES, {"Fracture"}, 0.45)
    elif "Fracture" not in draft.present and draft.chance(0.4 * draft.wordiness):
        draft.systems["bones"].append(pick(frames.PLAIN_BONES, draft.rng))


def _deny(draft: _Draft) -> None:
    """Denies some of what is absent, in lists as radiologists do."""
    absent = [
        finding
        for finding, weight in frames.DENIAL_WEIGHTS.items()
        if draft.may_deny(finding)
        and finding not in draft.denied
        and draft.chance(weight * (0.5 + 0.5 * draft.wordiness))
    ]
    draft.rng.shuffle(absent)
    while absent:
        number = int(draft.rng.integers(1, 4))
        together, absent = absent[:number], absent[number:]
        draft.systems[_SYSTEM_OF.get(together[0], "lungs")].append(_denial(together, draft.rng))
        draft.denied.update(together)


def _denial(findings: list[str], rng: Generator) -> str:
    words = [pick(frames.DENIALS[finding], rng) for finding in findings]
    return pick(frames.DENYING, rng).format(list=listed(words, "or", rng))


def _impression(draft: _Draft, scene: Scene) -> str:
    items = sorted(scene.findings, key=lambda item: (item.uncertain, _URGENCY.index(item.finding)))
    diseases = [item for item in items if item.finding != "Support Devices"]
    if not diseases:
        certain = any(not item.uncertain for item in items)
        return pick(frames.DEVICE_IMPRESSIONS if certain else frames.NORMAL_IMPRESSIONS, draft.rng)
    number = int(draft.rng.integers(2, 4))
    sentences = [say_finding(item, draft.rng, brief=True) for item in diseases[:number]]
    if {item.finding for item in diseases} <= _CHRONIC and draft.chance(0.6):
        sentences.append(pick(frames.NOTHING_ACUTE, draft.rng))
    elif draft.chance(0.25):
        denied = [finding for finding in _URGENCY[:5] if finding in draft.denied]
        sentences += [_denial([pick(denied, draft.rng)], draft.rng)] if denied else []
    if len(sentences) > 1 and draft.chance(0.4):
        sentences = [f"{position}. {sentence}" for position, sentence in enumerate(sentences, start=1)]
    return " ".join(sentences)


def _technique(scene: Scene, rng: Generator) -> str:
    kinds = {view_index(position) for position in scene.view_positions}
    frontal = "AP" if 2 in kinds else "PA" if 1 in kinds else ""
    lateral = "LATERAL" if 3 in kinds else ""
    sentences = frames.TECHNIQUES.get((frontal, lateral))
    return pick(sentences, rng) if sentences else ""


def _indication(draft: _Draft) -> str:
    """Why the image was taken: plausible for the findings, never telling them."""
    if draft.chance(0.1):
        return ""
    leaning = [finding for finding in sorted(draft.present) if finding in frames.LEANINGS]
    if leaning and draft.chance(0.5):
        complaint = pick(frames.LEANINGS[pick(leaning, draft.rng)], draft.rng)
    else:
        complaint = pick(frames.COMPLAINTS, draft.rng)
    if draft.chance(0.3):
        who = pick(("man", "woman", "patient"), draft.rng)
        return f"{int(draft.rng.integers(19, 90))}-year-old {who} with {complaint}."
    return f"{capitalized(complaint)}."
