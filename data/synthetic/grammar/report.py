"""Write the report of a synthetic study: indication, findings and impression of a Scene, with their labels.

Only findings of the Scene are stated (hedged if uncertain), and only absent findings are denied. So the labels match
the text: positive if stated, uncertain if hedged, negative if denied, blank if not mentioned. Conventions, after
CheXpert and the same as in `data.reports.labeler.labeler` (which is independent of this module):

- "heart size is normal" denies Cardiomegaly, "mediastinal contours are normal" Enlarged Cardiomediastinum,
  "cardiomediastinal silhouette is normal" both;
- "lungs are clear" denies Lung Opacity, and no other finding by name;
- "costophrenic angles are sharp" denies Pleural Effusion, "bones are intact" Fracture;
- "no acute cardiopulmonary abnormality" and "no acute bony abnormality" name no finding;
- No Finding is positive if nothing except Support Devices is positive or uncertain, else blank. Other conditions
  (emphysema, fibrosis, hernia) do not count.

With a prior study, most sentences say what changed (`data.synthetic.grammar.changes`), and findings that have resolved
are denied. Without one, nothing mentions a change.

Reports for labeled images (`data.sources.nih`) are written from a Scene too. What their labels leave open is `unknown`:
it is neither stated nor denied, not even by a sentence about normal bones.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from numpy.random import Generator

from data.synthetic.grammar import frames
from data.synthetic.grammar.changes import COMPARED, NOTHING_CHANGED, say_change
from data.synthetic.grammar.phrases import NAMINGS
from data.synthetic.grammar.sentences import (
    capitalized,
    explain_opacity,
    listed,
    pick,
    say_finding,
    say_pair,
    say_without,
)
from data.synthetic.prior import Comparison
from data.synthetic.scene import Scene, SceneFinding
from vlm.schema.findings import (
    BLANK,
    FINDING_INDEX,
    FINDINGS,
    NEGATIVE,
    POSITIVE,
    SEVERITIES,
    UNCERTAIN,
    UNKNOWN_SEVERITIES,
    WITHOUT_SEVERITY,
    view_index,
)

_LUNG_DISEASE = {"Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis"}
_FORBIDS_DENYING = {
    "Lung Opacity": _LUNG_DISEASE,
    "Consolidation": {"Consolidation", "Pneumonia", "Lung Opacity", "Atelectasis"},
    "Pneumonia": {"Pneumonia", "Consolidation", "Lung Opacity"},
    "Edema": {"Edema", "Lung Opacity"},
    "Lung Lesion": {"Lung Lesion", "Consolidation", "Lung Opacity"},
    "Atelectasis": {"Atelectasis", "Consolidation", "Lung Opacity"},
}
"""For each finding, the findings with which it is not denied, because readers would see a contradiction."""
_SHIFTS_MEDIASTINUM = {"tension pneumothorax", "lobar collapse"}
_URGENCY = (
    "Pneumothorax", "Edema", "Pneumonia", "Consolidation", "Pleural Effusion", "Lung Lesion", "Lung Opacity",
    "Atelectasis", "Fracture", "Cardiomegaly", "Enlarged Cardiomediastinum", "Pleural Other", "Emphysema", "Fibrosis",
    "Hernia", "Support Devices",
)  # fmt: skip
_CHRONIC = {"Cardiomegaly", "Enlarged Cardiomediastinum", "Pleural Other", "Emphysema", "Fibrosis", "Hernia"}
_SYSTEM_OF = {
    **dict.fromkeys(("Cardiomegaly", "Enlarged Cardiomediastinum"), "heart"),
    **dict.fromkeys(("Pneumothorax", "Pleural Effusion", "Pleural Other"), "pleura"),
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
    """The sections of a synthetic report. `labels` are the codes of CheXbert in the order of FINDINGS, `severities` are
    those of the scene, as indices of SEVERITIES."""

    indication: str
    findings: str
    impression: str
    labels: tuple[int, ...]
    severities: tuple[int, ...]


@dataclass(kw_only=True, slots=True)
class _ReportState:
    """A report while it is written: sentences per organ system, and the findings they deny."""

    present: frozenset[str]
    unknown: frozenset[str]
    shifted: bool
    """The mediastinum is displaced, so it is not described as normal."""
    rng: Generator
    wordiness: float
    """How many normal structures are described; less if there are many findings."""
    comparison: Comparison | None = None
    """What changed since the prior study; None without one."""
    denied: set[str] = field(default_factory=set)
    systems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def change_of(self, item: SceneFinding) -> str:
        """The change to write about a finding, "" to write none."""
        if self.comparison is None or not self.chance(0.85):
            return ""
        return self.comparison.changes[item.finding]

    def may_deny(self, finding: str) -> bool:
        is_open = finding not in self.present | self.unknown
        return is_open and not self.present & _FORBIDS_DENYING.get(finding, set())


def write_report(
    scene: Scene, rng: Generator, *, unknown: frozenset[str] = frozenset(), comparison: Comparison | None = None
) -> WrittenReport:
    """Write a report of the scene that does not mention the `unknown` findings, and compares with the prior study if
    there is one. The same scene and generator state give the same report."""
    wordiness = {0: 1.0, 1: 1.0, 2: 0.95, 3: 0.8}.get(len(scene.findings), 0.5)
    state = _ReportState(
        present=frozenset(item.finding for item in scene.findings),
        unknown=unknown,
        shifted=any(item.kind in _SHIFTS_MEDIASTINUM for item in scene.findings),
        rng=rng,
        wordiness=wordiness,
        comparison=comparison,
    )
    _state_findings(state, scene)
    _state_resolved(state)
    _mention_normal_structures(state)
    _deny(state)
    sentences = [_technique(scene, rng)] if state.chance(0.15) else []
    if comparison and state.chance(0.2):
        sentences.append(pick(COMPARED, rng))
    for system in pick(_ORDERS, rng):
        sentences += state.systems[system]
    return WrittenReport(
        indication=_indication(state),
        findings=" ".join(filter(None, sentences)),
        impression=_impression(state, scene),
        labels=_labels(state, scene),
        severities=_severities(scene),
    )


def _labels(state: _ReportState, scene: Scene) -> tuple[int, ...]:
    labels = [NEGATIVE if finding in state.denied else BLANK for finding in FINDINGS]
    for item in sorted(scene.findings, key=lambda item: item.uncertain, reverse=True):
        if item.finding in FINDING_INDEX:
            labels[FINDING_INDEX[item.finding]] = UNCERTAIN if item.uncertain else POSITIVE
    diseased = state.present & FINDING_INDEX.keys() - {"Support Devices"}
    labels[FINDING_INDEX["No Finding"]] = BLANK if diseased else POSITIVE
    return tuple(labels)


def _severities(scene: Scene) -> tuple[int, ...]:
    """The words of `data.synthetic.grammar.phrases` for "minimal" count as small in reports."""
    severities = list(UNKNOWN_SEVERITIES)
    for item in scene.findings:
        if FINDING_INDEX.get(item.finding, WITHOUT_SEVERITY[0]) not in WITHOUT_SEVERITY:
            named = item.degree if NAMINGS[item.kind].degrees else ""
            degree = "small" if named == "minimal" else named
            severities[FINDING_INDEX[item.finding]] = SEVERITIES.index(degree)
    return tuple(severities)


def _state_findings(state: _ReportState, scene: Scene) -> None:
    """Write a sentence for each finding; sometimes one for two findings of an organ system."""
    waiting: dict[tuple[str, bool], SceneFinding] = {}
    items = [scene.findings[int(index)] for index in state.rng.permutation(len(scene.findings))]
    items = _explain_opacities(state, _state_changes(state, items))
    for item in items:
        system = _SYSTEM_OF.get(item.finding, "lungs")
        sentences = state.systems[system]
        key = (system, item.uncertain)
        denied = [finding for finding in frames.WITHOUT.get(item.finding, ()) if state.may_deny(finding)]
        if key in waiting:
            sentences.append(say_pair(waiting.pop(key), item, state.rng))
        elif state.chance(0.4):
            waiting[key] = item
        elif denied and not item.uncertain and state.chance(0.15):
            denial = pick(denied, state.rng)
            sentences.append(say_without(item, denial, state.rng))
            state.denied.add(denial)
        else:
            sentences.append(say_finding(item, state.rng))
    for (system, _), item in waiting.items():
        state.systems[system].append(say_finding(item, state.rng))


def _state_changes(state: _ReportState, items: list[SceneFinding]) -> list[SceneFinding]:
    """Write a sentence with the change of most findings; returns the other findings."""
    others = []
    for item in items:
        if change := state.change_of(item):
            state.systems[_SYSTEM_OF.get(item.finding, "lungs")].append(say_change(item, change, state.rng))
        else:
            others.append(item)
    return others


def _state_resolved(state: _ReportState) -> None:
    """Deny the findings that have resolved."""
    for item in state.comparison.resolved if state.comparison else ():
        if change := state.change_of(item):
            state.systems[_SYSTEM_OF.get(item.finding, "lungs")].append(say_change(item, change, state.rng))
            state.denied.add(item.finding)


def _explain_opacities(state: _ReportState, items: list[SceneFinding]) -> list[SceneFinding]:
    """Write one sentence about an opacity and its possible cause on the same side; returns the other findings."""
    for opacity in items:
        for cause in items:
            together = (
                cause.laterality == opacity.laterality
                and cause.uncertain
                and cause.finding in ("Pneumonia", "Atelectasis")
            )
            if opacity.finding == "Lung Opacity" and not opacity.uncertain and together and state.chance(0.5):
                state.systems["lungs"].append(explain_opacity(opacity, cause, state.rng))
                return [item for item in items if item is not opacity and item is not cause]
    return items


def _mention_normal_structures(state: _ReportState) -> None:
    def mention(system: str, sentences: tuple[str, ...], findings: set[str], probability: float) -> None:
        if not findings & (state.present | state.unknown) and state.chance(probability * state.wordiness):
            state.systems[system].append(pick(sentences, state.rng))
            state.denied.update(findings)

    if state.shifted or "Enlarged Cardiomediastinum" in state.unknown or state.chance(0.5):
        mention("heart", frames.NORMAL_HEART, {"Cardiomegaly"}, 0.95)
        if not state.shifted:
            mention("heart", frames.NORMAL_MEDIASTINUM, {"Enlarged Cardiomediastinum"}, 0.6)
    else:
        mention("heart", frames.NORMAL_BOTH, {"Cardiomegaly", "Enlarged Cardiomediastinum"}, 0.95)
    if not state.unknown and not state.present & {"Edema", "Cardiomegaly", "Lung Opacity"}:
        mention("heart", frames.NORMAL_VESSELS, set(), 0.25)
    if not state.present & _LUNG_DISEASE:
        mention("lungs", frames.CLEAR_LUNGS, {"Lung Opacity"}, 0.75)
    elif state.present & _LUNG_DISEASE <= {"Lung Lesion", "Atelectasis"}:
        mention("lungs", frames.OTHERWISE_CLEAR_LUNGS, {"Lung Opacity"}, 0.3)
    if "Pleural Other" not in state.present:
        mention("pleura", frames.SHARP_ANGLES, {"Pleural Effusion"}, 0.15)
    if state.chance(0.6):
        mention("bones", frames.NORMAL_BONES, {"Fracture"}, 0.45)
    elif "Fracture" not in state.present | state.unknown and state.chance(0.4 * state.wordiness):
        state.systems["bones"].append(pick(frames.PLAIN_BONES, state.rng))


def _deny(state: _ReportState) -> None:
    """Deny some of the absent findings, in lists as radiologists do."""
    absent = [
        finding
        for finding, (weight, _) in frames.DENIALS.items()
        if state.may_deny(finding)
        and finding not in state.denied
        and state.chance(weight * (0.5 + 0.5 * state.wordiness))
    ]
    state.rng.shuffle(absent)
    while absent:
        number = int(state.rng.integers(1, 4))
        together, absent = absent[:number], absent[number:]
        state.systems[_SYSTEM_OF.get(together[0], "lungs")].append(_denial(together, state.rng))
        state.denied.update(together)


def _denial(findings: list[str], rng: Generator) -> str:
    words = [pick(frames.DENIALS[finding][1], rng) for finding in findings]
    return pick(frames.DENYING, rng).format(list=listed(words, "or", rng))


def _impression(state: _ReportState, scene: Scene) -> str:
    items = sorted(scene.findings, key=lambda item: (item.uncertain, _URGENCY.index(item.finding)))
    diseases = [item for item in items if item.finding != "Support Devices"]
    if not diseases and state.comparison:
        return _impression_without_disease(state)
    if not diseases:
        if "Support Devices" in state.unknown:
            return pick(frames.NOTHING_ACUTE, state.rng)  # "normal chest" would deny devices
        certain = any(not item.uncertain for item in items)
        return pick(frames.DEVICE_IMPRESSIONS if certain else frames.NORMAL_IMPRESSIONS, state.rng)
    number = int(state.rng.integers(2, 4))
    sentences = [_conclude(state, item) for item in diseases[:number]] + _conclude_resolved(state)
    if {item.finding for item in diseases} <= _CHRONIC and state.chance(0.6):
        sentences.append(pick(frames.NOTHING_ACUTE, state.rng))
    elif state.chance(0.25):
        denied = [finding for finding in _URGENCY[:5] if finding in state.denied]
        sentences += [_denial([pick(denied, state.rng)], state.rng)] if denied else []
    if len(sentences) > 1 and state.chance(0.4):
        sentences = [f"{position}. {sentence}" for position, sentence in enumerate(sentences, start=1)]
    return " ".join(sentences)


def _conclude(state: _ReportState, item: SceneFinding) -> str:
    change = state.change_of(item)
    return say_change(item, change, state.rng) if change else say_finding(item, state.rng, brief=True)


def _conclude_resolved(state: _ReportState) -> list[str]:
    """A sentence on one of the findings that have resolved, or that nothing has changed; often none."""
    if state.comparison is None or not state.chance(0.5):
        return []
    if {"none", "unchanged"}.issuperset(state.comparison.changes.values()):
        return [pick(NOTHING_CHANGED, state.rng)]
    if not state.comparison.resolved:
        return []
    item = state.comparison.resolved[int(state.rng.integers(len(state.comparison.resolved)))]
    state.denied.add(item.finding)
    return [say_change(item, "resolved", state.rng)]


def _impression_without_disease(state: _ReportState) -> str:
    """The impression of a study with a prior study that shows devices at most."""
    return " ".join([*_conclude_resolved(state), pick(frames.NOTHING_ACUTE, state.rng)])


def _technique(scene: Scene, rng: Generator) -> str:
    kinds = {view_index(position) for position in scene.view_positions}
    frontal = "AP" if 2 in kinds else "PA" if 1 in kinds else ""
    sentences = frames.TECHNIQUES.get((frontal, "LATERAL" if 3 in kinds else ""))
    return pick(sentences, rng) if sentences else ""


def _indication(state: _ReportState) -> str:
    """A reason for the examination that is plausible for the findings, but does not name them."""
    if state.chance(0.1):
        return ""
    leaning = [finding for finding in sorted(state.present) if finding in frames.LEANINGS]
    if leaning and state.chance(0.5):
        complaint = pick(frames.LEANINGS[pick(leaning, state.rng)], state.rng)
    else:
        complaint = pick(frames.COMPLAINTS, state.rng)
    if state.chance(0.3):
        who = pick(("man", "woman", "patient"), state.rng)
        return f"{int(state.rng.integers(19, 90))}-year-old {who} with {complaint}."
    return f"{capitalized(complaint)}."
