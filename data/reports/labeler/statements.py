"""What a report says, one statement at a time: which abnormality or device, whether it is there, where, and how severe.

A report goes in, a list of `Statement` comes out. The findings and their states are the labeler's. Three things are
added: finer names ("lung mass" and "lung nodule" are both Lung Lesion), devices by kind with their position, and
abnormalities outside the 14 findings. The state of these is the labeler's too: their words are replaced by a word that
it knows, and the sentence is read again."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from data.reports.labeler.attributes import Attributes, mention_windows, read_attributes
from data.reports.labeler.device_patterns import DEVICES, GONE, Position, find_devices, read_position
from data.reports.labeler.labeler import TEXTS_KEPT, described_sentences, sentence_mentions
from data.reports.labeler.other_patterns import find_others
from data.reports.labeler.parser import as_read
from vlm.schema.findings import FINDINGS, NEGATIVE, POSITIVE

ANY_DEVICE = "device"
"""A device without a kind ("tube", "line")."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """`name`: a finer name of a finding, a key of DEVICES or OTHERS, or ANY_DEVICE; `position`: of a device that is
    there, else None; `is_plain`: no word around a denial limits it to a place, degree or kind."""

    name: str
    state: int
    attributes: Attributes
    position: Position | None
    sentence: str
    is_plain: bool


def report_statements(report: str) -> list[Statement]:
    """The statements of a report in the order of its sentences; indication and comparison are not read."""
    return join_statements(described_sentences(report))


def join_statements(sentences: Iterable[str]) -> list[Statement]:
    """The statements of `described_sentences`; "the tip is …" goes on about the device of the sentence before."""
    statements: list[Statement] = []
    device = ""
    for sentence in sentences:
        own = sentence_statements(sentence)
        kinds = [statement.name for statement in own if statement.position and statement.name != ANY_DEVICE]
        if device and not kinds and GOES_ON.match(sentence):
            own = [*(one for one in own if one.name != ANY_DEVICE), _tip_of(device, sentence)]
        device = kinds[-1] if kinds else device
        statements += own
    return statements


GOES_ON = re.compile(
    r"(?:the |its |with (?:the |its )?)?(?:distal )?(?:tip|side ?(?:port|hole)|"
    r"(?:tube|catheter|line)(?: tip)?|it|this)\b|"
    r"(?:recommend|suggest|consider|advis)\w*\b.{0,40}\b(?:advanc|withdraw|retract|reposition|pull)|"
    r"(?:advanc|withdraw|retract|reposition)\w* ",
    re.IGNORECASE,
)
"""A sentence that goes on about the device of the sentence before."""


def _tip_of(device: str, sentence: str) -> Statement:
    return Statement(
        name=device,
        state=POSITIVE,
        attributes=Attributes(),
        position=read_position(device, as_read(sentence)),
        sentence=sentence,
        is_plain=False,
    )


@dataclass(frozen=True, slots=True)
class _Named:
    """A name in a sentence with its place; `kind`: "finding", "device" or "other"."""

    start: int
    end: int
    name: str
    kind: str
    state: int


@lru_cache(maxsize=TEXTS_KEPT)
def sentence_statements(sentence: str) -> tuple[Statement, ...]:
    """The statements of one sentence with single spaces."""
    text = as_read(sentence)
    named = _named_in(sentence, text)
    windows = _windows(text, named)
    has_device = any(one.kind == "device" for one in named)
    wide_windows = _windows(text, named, is_wide=True) if has_device else windows
    attributes = _with_shared_places(named, [read_attributes(window) for window in windows])
    return tuple(
        Statement(
            name=_finer_name(one, window, own),
            state=one.state,
            attributes=own,
            position=read_position(one.name, wide) if one.kind == "device" and one.state == POSITIVE else None,
            sentence=sentence,
            is_plain=not _LIMITS.search(window),
        )
        for one, window, wide, many in zip(named, windows, wide_windows, attributes, strict=True)
        for own in many
    )


def _windows(text: str, named: list[_Named], *, is_wide: bool = False) -> list[str]:
    """The words of each name; two findings in one place ("hydropneumothorax") have the same."""
    spans = list(dict.fromkeys((one.start, one.end) for one in named))
    windows = dict(zip(spans, mention_windows(text, spans, is_wide=is_wide), strict=True))
    return [windows[one.start, one.end] for one in named]


_LIMITS = re.compile(
    r"\b(?:acute|active|new|large|larger|big|signific\w+|siz(?:e)?able|substantial|overt|frank|gross|displaced|"
    r"suspicious|"
    r"tension|interval|other|otherwise|further|additional|elsewhere|remain\w*|definite|discrete|convincing|focal|"
    r"obvious|"
    r"left|right|upper|lower|loculated|interstitial|alveolar|lobar|residual|evidence of)\b|x{3,}"
)


def _named_in(sentence: str, text: str) -> list[_Named]:
    """Everything that the sentence names, in order and without overlaps."""
    devices = [
        _Named(
            start,
            end,
            kind,
            "device",
            NEGATIVE if GONE.match(text[start:end]) else _state_of(text, start, end, "cannula"),
        )
        for start, end, kind in find_devices(text)
    ]
    others, replacing = [], []
    for start, end, name, replaces in find_others(text):
        one = _Named(start, end, name, "other", _state_of(text, start, end, "ptx"))
        (replacing if replaces else others).append(one)
    findings = _findings_in(sentence, text)
    if devices:  # "a PICC with its tip in the SVC" is one device
        ends = {device.end + 1 for device in devices}
        findings = [
            one
            for one in findings
            if one.name != ANY_DEVICE or not (text.startswith("tip ", one.start) or one.start in ends)
        ]
    taken: list[_Named] = []
    for group in (devices, replacing, findings, others):
        taken += [one for one in group if all(one.end <= other.start or other.end <= one.start for other in taken)]
    return sorted((one for one in taken if one.state), key=lambda one: one.start)


_REACH = 300
"""Characters around a phrase that can decide its state; keeps the time for very long sentences linear."""


def _state_of(text: str, start: int, end: int, stand_in: str) -> int:
    """The state of a phrase: that of `stand_in`, a word that the labeler knows, in its place; 0: not counted."""
    before, after = text[max(0, start - _REACH) : start], text[end : end + _REACH]
    mentions = sentence_mentions(f"{before}{stand_in}{after}")
    return next((mention.state for mention in mentions if stand_in in mention.words.split(" … ")), 0)


def _findings_in(sentence: str, text: str) -> list[_Named]:
    found: list[_Named] = []
    for mention in sentence_mentions(sentence):
        start, end = mention.start, mention.end
        for finding in mention.findings[:1] if set(mention.findings) == _SILHOUETTE else mention.findings:
            kind = "device" if finding == "Support Devices" else "finding"
            name = ANY_DEVICE if kind == "device" else _name_of(finding, text[start:end])
            found.append(_Named(start, end, name, kind, mention.state))
    kept: list[_Named] = []
    for one in found:  # "hydropneumothorax" is two findings in one place; otherwise the first one counts
        if all(
            one.end <= other.start or other.end <= one.start or (one.start, one.end) == (other.start, other.end)
            for other in kept
        ):
            kept.append(one)
    return kept


_SILHOUETTE = {"Cardiomegaly", "Enlarged Cardiomediastinum"}
"""Both findings of "enlarged cardiomediastinal silhouette" are one statement."""


_NAMES = {
    "Enlarged Cardiomediastinum": (("widened mediastinum", r""),),
    "Lung Opacity": (("interstitial opacity", r"interstiti|reticul|peribronchial|markings"), ("lung opacity", r"")),
    "Lung Lesion": (
        ("lung mass", r"mass|tumou?r|neoplas|carcinoma|malignan|metasta|cavit|cancer"),
        ("lung nodule", r""),
    ),
    "Edema": (
        ("vascular congestion", r"congesti(?!ve (?:heart|cardiac|failure))|vascul|cephal"),
        ("pulmonary edema", r""),
    ),
    "Pleural Effusion": (("hemothorax or empyema", r"ha?emo(?:pneumo)?thora|empyema"), ("pleural effusion", r"")),
    "Pleural Other": (("pleural thickening", r""),),
}
"""Finer names of a finding with a pattern for its words, the first that is found."""
_FINER = {
    finding: tuple((name, re.compile(pattern)) for name, pattern in names) for finding, names in _NAMES.items()
}  # fmt: skip
FINDING_NAMES = tuple(
    [name for names in _NAMES.values() for name, _ in names]
    + ["cardiomegaly", "consolidation", "pneumonia", "atelectasis", "pneumothorax", "fracture"]
    + ["rib fracture", "spine fracture", "old fracture"]
)
"""All names that a statement of one of the 14 findings can have, devices excepted."""
_FINDING_OF = (
    {finding.lower(): finding for finding in FINDINGS}
    | {name: finding for finding, names in _NAMES.items() for name, _ in names}
    | {"rib fracture": "Fracture", "spine fracture": "Fracture"}
    | dict.fromkeys((*DEVICES, ANY_DEVICE), "Support Devices")
)


def finding_of(name: str) -> str:
    """The finding that a name of a statement belongs to; "" for old fractures and other abnormalities."""
    return _FINDING_OF.get(name, "")


@lru_cache(maxsize=4096)
def _name_of(finding: str, words: str) -> str:
    return next((name for name, pattern in _FINER.get(finding, ()) if pattern.search(words)), finding.lower())


_SPINE = re.compile(r"\bcompression|\bvertebra|\bspin(?:e|al)\b|\bwedge|\bendplate|\bt\d{1,2}\b|\bl\d\b|\bsternal\b")
_RIB = re.compile(r"\bribs?\b|\bcostal\b")
_CALCIFIED = re.compile(r"(?<!\bnon)(?<!\bnon[ -])\bcalcified\b")
_NOT_CALCIFIED = re.compile(r"\b(?:no|not|non|without|neither)(?: \w+){0,2} calcified\b")


def _finer_name(named: _Named, window: str, attributes: Attributes) -> str:
    """The name with what the words around it add: an old or a vertebral fracture, a calcified nodule."""
    if named.name == "fracture":
        if attributes.is_old:
            return "old fracture"
        return "spine fracture" if _SPINE.search(window) else "rib fracture" if _RIB.search(window) else "fracture"
    if named.name == "lung nodule" and _CALCIFIED.search(window) and not _NOT_CALCIFIED.search(window):
        return "granuloma"
    return named.name


_SHARES_PLACE = frozenset(
    {
        "lung opacity",
        "interstitial opacity",
        "consolidation",
        "pneumonia",
        "atelectasis",
        "pleural effusion",
        "aspiration",
    }
)


def _with_shared_places(named: list[_Named], attributes: list[list[Attributes]]) -> list[list[Attributes]]:
    """Give a mention without a place that of its neighbor: "left effusion with atelectasis", "opacity or pneumonia in
    the right base". What is denied shares no place with what is there."""
    completed = list(attributes)
    for order in (range(len(named)), reversed(range(len(named)))):
        last: Attributes | None = None
        is_denied = False
        for number in order:
            if named[number].name not in _SHARES_PLACE:
                last = None
                continue
            if is_denied != (named[number].state == NEGATIVE):
                last, is_denied = None, not is_denied
            own = completed[number]
            has_place = any(one.sides or one.zones for one in own)
            if has_place:
                last = own[0] if len(own) == 1 else None
            elif last is not None:
                completed[number] = [replace(one, sides=last.sides, zones=last.zones) for one in own]
    return completed
