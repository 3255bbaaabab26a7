"""Writes the report of a made-up study: a Scene in, indication, findings, impression and their labels out.

Only what the Scene holds is stated (positive, or hedged where drawn faintly), only what it lacks is denied, so
the labels say what the text says: positive where stated, uncertain where hedged, negative where denied, blank
where not mentioned. Conventions, after CheXpert and shared with `data.labeler` (which reads on its own):

- "heart size is normal" denies Cardiomegaly, "mediastinal contours are normal" Enlarged Cardiomediastinum,
  "cardiomediastinal silhouette is normal" both;
- "lungs are clear" denies Lung Opacity and no other finding by name;
- "costophrenic angles are sharp" denies Pleural Effusion, "bones are intact" Fracture;
- "no acute cardiopulmonary abnormality" and "no acute bony abnormality" name no finding;
- No Finding is positive when nothing but Support Devices is positive or uncertain, else blank.
"""

from dataclasses import dataclass
from typing import TypeVar

from numpy.random import Generator

from data import grammar_phrases as phrases
from data.scene import Scene, SceneFinding
from vlm.findings import BLANK, FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN
from vlm.views import view_index

Choice = TypeVar("Choice")

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
    """The sections of a made-up report; `labels` are CheXbert's codes in the order of FINDINGS."""

    indication: str
    findings: str
    impression: str
    labels: tuple[int, ...]


def write_report(scene: Scene, rng: Generator) -> WrittenReport:
    """A report of the scene in one of very many wordings; the same scene and generator state give the same."""
    present = {item.finding for item in scene.findings}
    denied: set[str] = set()
    systems = _state_findings(scene, rng)
    _mention_normal_structures(systems, present, denied, rng, wordiness=_wordiness(scene))
    _deny(systems, present, denied, rng, wordiness=_wordiness(scene))
    sentences = [] if rng.random() < 0.85 else [_technique(scene, rng)]
    for system in _pick(_ORDERS, rng):
        sentences += systems[system]
    return WrittenReport(
        indication=_indication(present, rng),
        findings=" ".join(filter(None, sentences)),
        impression=_impression(scene, rng),
        labels=_labels(scene, denied),
    )


def _labels(scene: Scene, denied: set[str]) -> tuple[int, ...]:
    labels = [NEGATIVE if finding in denied else BLANK for finding in FINDINGS]
    for item in sorted(scene.findings, key=lambda item: item.uncertain, reverse=True):
        labels[FINDING_INDEX[item.finding]] = UNCERTAIN if item.uncertain else POSITIVE
    diseased = any(item.finding != "Support Devices" for item in scene.findings)
    labels[FINDING_INDEX["No Finding"]] = BLANK if diseased else POSITIVE
    return tuple(labels)


def _pick(options: tuple[Choice, ...], rng: Generator) -> Choice:
    return options[int(rng.integers(len(options)))]


def _wordiness(scene: Scene) -> float:
    """How much room is left for what is normal: full reports of ill chests keep short about the rest."""
    return {0: 1.0, 1: 1.0, 2: 0.9, 3: 0.75}.get(len(scene.findings), 0.5)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tidy(text: str) -> str:
    return " ".join(text.split()).replace(" .", ".")


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _place(item: SceneFinding, placed: str, rng: Generator) -> tuple[str, str]:
    """Where it lies, as (words before the name, words after it), one of them empty."""
    if placed == "none":
        return "", ""
    zone = item.zone if placed == "lung" else ""
    number = {"": "none", "bilateral": "both"}.get(item.side, "one")
    before, after = phrases.PLACES[zone][number]
    if rng.random() < 0.55:
        return _pick(before, rng).format(side=item.side), ""
    return "", _pick(after, rng).format(side=item.side)


def _name(item: SceneFinding, rng: Generator) -> tuple[str, str, str]:
    """The finding as a noun phrase: bare ("small left effusion"), with article, and its verb."""
    naming = phrases.NAMINGS[item.kind]
    singular, plural = _pick(naming.names, rng)
    bilateral = item.side == "bilateral" and naming.placed != "none"
    before, after = _place(item, naming.placed, rng)
    if "{side}" in singular and not bilateral:
        singular = " ".join(singular.format(side=item.side).split())
        before = after = ""
    noun = plural if bilateral and plural else singular
    degree = _pick(naming.degrees[item.degree], rng) if item.degree in naming.degrees else ""
    if item.kind == "lobar collapse" and item.zone in ("upper", "lower") and item.side in ("left", "right"):
        noun, before, after = "collapse", "", f"of the {item.side} {item.zone} lobe"
    bare = _tidy(f"{degree} {before} {noun} {after}")
    counted = bool(plural) and noun == singular
    many = not counted and (bool(plural) or noun.endswith(("wires", "opacities")))
    return bare, _with_article(bare) if counted else bare, "are" if many else "is"


def _sentence(item: SceneFinding, rng: Generator, *, brief: bool = False) -> str:
    """One sentence that states the finding, or hedges it when it is drawn faintly."""
    naming = phrases.NAMINGS[item.kind]
    bare, article, verb = _name(item, rng)
    wholes = naming.hedged if item.uncertain else naming.sentences
    if wholes and not brief and item.side != "bilateral" and rng.random() < 0.6:
        frame = _pick(wholes, rng)
    elif item.uncertain:
        frame = _pick(phrases.BRIEFLY_DOUBTED if brief else phrases.DOUBTED, rng)
    else:
        frame = "{Bare}." if brief else _pick(phrases.STATED, rng)
    sided = _pick((item.side, f"{item.side}-sided"), rng) if item.side else ""
    words = {
        "bare": bare,
        "Bare": _capitalized(bare),
        "np": article,
        "is": verb,
        "adverb": _pick(phrases.ADVERBS[item.degree], rng),
        "side": item.side,
        "A_sided": f"A {sided}",
    }
    return _tidy(frame.format(**words))


def _state_findings(scene: Scene, rng: Generator) -> dict[str, list[str]]:
    """Sentences per organ system; now and then two sure findings of one system share a sentence."""
    systems: dict[str, list[str]] = {"heart": [], "lungs": [], "pleura": [], "bones": [], "devices": []}
    waiting: dict[str, SceneFinding] = {}
    for index in rng.permutation(len(scene.findings)):
        item = scene.findings[int(index)]
        system = _SYSTEM_OF.get(item.finding, "lungs")
        if item.uncertain:
            systems[system].append(_sentence(item, rng))
        elif system in waiting:
            _, first, verb = _name(waiting.pop(system), rng)
            systems[system].append(f"There {verb} {first} and {_name(item, rng)[1]}.")
        elif rng.random() < 0.4:
            waiting[system] = item
        else:
            systems[system].append(_sentence(item, rng))
    for system, item in waiting.items():
        systems[system].append(_sentence(item, rng))
    return systems


def _mention_normal_structures(
    systems: dict[str, list[str]], present: set[str], denied: set[str], rng: Generator, *, wordiness: float
) -> None:
    def mention(system: str, sentences: tuple[str, ...], findings: set[str], chance: float) -> None:
        if not findings & present and rng.random() < chance * wordiness:
            systems[system].append(_pick(sentences, rng))
            denied.update(findings)

    if rng.random() < 0.5:
        mention("heart", phrases.NORMAL_BOTH, {"Cardiomegaly", "Enlarged Cardiomediastinum"}, 0.95)
    else:
        mention("heart", phrases.NORMAL_HEART, {"Cardiomegaly"}, 0.95)
        mention("heart", phrases.NORMAL_MEDIASTINUM, {"Enlarged Cardiomediastinum"}, 0.5)
    if not present & _LUNG_DISEASE:
        mention("lungs", phrases.CLEAR_LUNGS, {"Lung Opacity"}, 0.7)
    if "Pleural Other" not in present:
        mention("pleura", phrases.SHARP_ANGLES, {"Pleural Effusion"}, 0.12)
    if rng.random() < 0.6:
        mention("bones", phrases.NORMAL_BONES, {"Fracture"}, 0.35)
    elif "Fracture" not in present and rng.random() < 0.25 * wordiness:
        systems["bones"].append(_pick(phrases.PLAIN_BONES, rng))


def _deny(
    systems: dict[str, list[str]], present: set[str], denied: set[str], rng: Generator, *, wordiness: float
) -> None:
    """Denies some of what is absent, in lists as radiologists do."""
    absent = [
        finding
        for finding, weight in phrases.DENIAL_WEIGHTS.items()
        if finding not in present
        and not present & _FORBIDS_DENYING.get(finding, set())
        and finding not in denied
        and rng.random() < weight * (0.4 + 0.6 * wordiness)
    ]
    rng.shuffle(absent)
    while absent:
        number = int(rng.integers(1, 4))
        listed, absent = absent[:number], absent[number:]
        system = _SYSTEM_OF.get(listed[0], "lungs")
        systems[system].append(_denial(listed, rng))
        denied.update(listed)


def _denial(findings: list[str], rng: Generator) -> str:
    *first, last = (_pick(phrases.DENIALS[finding], rng) for finding in findings)
    listed = f"{', '.join(first)}{_pick((' or ', ', or '), rng) if len(first) > 1 else ' or '}{last}" if first else last
    return _pick(phrases.DENYING, rng).format(list=listed)


def _impression(scene: Scene, rng: Generator) -> str:
    items = sorted(scene.findings, key=lambda item: (item.uncertain, _URGENCY.index(item.finding)))
    diseases = [item for item in items if item.finding != "Support Devices"]
    if not diseases:
        certain = any(not item.uncertain for item in items)
        return _pick(phrases.DEVICE_IMPRESSIONS if certain else phrases.NORMAL_IMPRESSIONS, rng)
    sentences = [_sentence(item, rng, brief=True) for item in diseases[: int(rng.integers(2, 4))]]
    if {item.finding for item in diseases} <= _CHRONIC and rng.random() < 0.6:
        sentences.append("No acute cardiopulmonary abnormality.")
    if len(sentences) > 1 and rng.random() < 0.4:
        sentences = [f"{number}. {sentence}" for number, sentence in enumerate(sentences, start=1)]
    return " ".join(sentences)


def _technique(scene: Scene, rng: Generator) -> str:
    kinds = {view_index(position) for position in scene.view_positions}
    frontal = "AP" if 2 in kinds else "PA" if 1 in kinds else ""
    lateral = "LATERAL" if 3 in kinds else ""
    sentences = phrases.TECHNIQUES.get((frontal, lateral))
    return _pick(sentences, rng) if sentences else ""


def _indication(present: set[str], rng: Generator) -> str:
    """Why the picture was taken: plausible for the findings, never telling them."""
    if rng.random() < 0.1:
        return ""
    leaning = [finding for finding in sorted(present) if finding in phrases.LEANINGS]
    if leaning and rng.random() < 0.5:
        complaint = _pick(phrases.LEANINGS[_pick(leaning, rng)], rng)
    else:
        complaint = _pick(phrases.COMPLAINTS, rng)
    if rng.random() < 0.3:
        who = _pick(("man", "woman", "patient"), rng)
        return f"{int(rng.integers(19, 93))}-year-old {who} with {complaint}."
    return f"{_capitalized(complaint)}."
