"""Reads the 14 findings from a report's text, by rules: report in, CheXbert's codes or line-by-line evidence out.

Each sentence is read from left to right as a row of marks (a finding's name, a structure, a negation, a hedge, a
break …; tables in `data.labeler_phrases` and `data.labeler_cues`); then all mentions are put together.
Conventions, after CheXpert's labeler (Irvin et al. 2019) unless said otherwise:

- over several mentions, positive > uncertain > negative > blank;
- "heart size is normal" denies Cardiomegaly, "mediastinal contours are normal" Enlarged Cardiomediastinum; the
  "cardiomediastinal silhouette" speaks for both, normal or enlarged; "borderline" is uncertain, "upper limits of
  normal" still normal;
- "lungs are clear" denies Lung Opacity and no other finding by name; "lungs are clear of X" denies X;
  "costophrenic angles are sharp" denies Pleural Effusion, "bones are intact" Fracture (CheXpert leaves these blank);
- an infiltrate or airspace disease is Lung Opacity, vascular congestion and heart failure are Edema, a nodular
  opacity is Lung Lesion, collapse of lung is Atelectasis;
- general words ("no acute cardiopulmonary abnormality") name no finding; what is only history, or the question
  asked, is not a mention;
- No Finding is positive when no other finding but Support Devices is positive or uncertain, else blank. A text
  without a single letter says nothing: all blank.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from data import labeler_cues as cues
from data import labeler_phrases as phrases
from vlm.findings import BLANK, FINDING_INDEX, FINDINGS, NEGATIVE, NUM_FINDINGS, POSITIVE, UNCERTAIN

_BELIEF = {POSITIVE: 3, UNCERTAIN: 2, NEGATIVE: 1, BLANK: 0}
_IGNORED, _EITHER = -1, -2
"""States that only a reader holds: not to be counted, and one of two alternatives (in the end uncertain)."""
_NO_FINDING, _SUPPORT_DEVICES = FINDING_INDEX["No Finding"], FINDING_INDEX["Support Devices"]
_LONGEST_CACHED_SENTENCE = 400
_LONGEST_LIST = 30
"""In marks; keeps the reading of endless sentences linear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One mention of a finding: its state there, the sentence it stands in and the words that decided."""

    finding: str
    state: int
    sentence: str
    words: str


def label_report(text: str) -> tuple[int, ...]:
    """The state of each of FINDINGS in a report; headings are tolerated, indication and history are not read."""
    labels = [BLANK] * NUM_FINDINGS
    for sentence in _sentences(text):
        for finding, state, _ in _read(sentence):
            if _BELIEF[state] > _BELIEF[labels[finding]]:
                labels[finding] = state
    return _with_no_finding(labels, text)


def explain_report(text: str) -> list[Evidence]:
    """Every mention that `label_report` counts, in order of the text; for No Finding, that nothing else was found."""
    evidence = [
        Evidence(finding=FINDINGS[finding], state=state, sentence=sentence, words=words)
        for sentence in _sentences(text)
        for finding, state, words in _read(sentence)
    ]
    if label_report(text)[_NO_FINDING] == POSITIVE:
        words = "no finding is stated or suspected"
        evidence.append(Evidence(finding="No Finding", state=POSITIVE, sentence="", words=words))
    return evidence


def _with_no_finding(labels: list[int], text: str) -> tuple[int, ...]:
    found = (
        state in (POSITIVE, UNCERTAIN)
        for finding, state in enumerate(labels)
        if finding not in (_NO_FINDING, _SUPPORT_DEVICES)
    )
    labels[_NO_FINDING] = POSITIVE if not any(found) and re.search(r"[^\W\d_]", text) else BLANK
    return tuple(labels)


_HEADING = re.compile(
    r"(?:(?<=[.\n])|^)\s*(?:(?P<skipped>indications?|(?:clinical )?history|clinical (?:information|data|indication)|"
    r"reason for (?:exam(?:ination)?|study)|comparisons?|techniques?|exam(?:ination)?|procedure)|"
    r"findings and impression|impression and findings|findings|impressions?|conclusions?)\s*:",
    re.IGNORECASE,
)
_LATER_HEADING = re.compile(r"\b(?:FINDINGS|IMPRESSION|Findings|Impression)\s*:")
_SENTENCE_END = re.compile(
    r"(?<=[.;!?])(?<!\bvs\.)(?<!\s\?)(?<!^\?)\s+|(?<=[a-z)]\.)(?=[A-Z])|\n\s*(?=\n|[-*•]|\d+[.)])|\s(?=\d{1,2}\. [A-Z])"
)


def _sentences(text: str) -> list[str]:
    """Sentences of the sections that describe the picture, spaces made single."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    # One blank line is as good as many, and keeps the patterns below from going over long blanks again and again.
    text = "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before)
    text = _LATER_HEADING.sub(lambda heading: f"\n{heading.group()}", text)
    headings = list(_HEADING.finditer(text))
    parts = [text[: headings[0].start()] if headings else text]
    for number, heading in enumerate(headings):
        end = headings[number + 1].start() if number + 1 < len(headings) else len(text)
        part = text[heading.end() : end]
        if not heading.group("skipped"):
            parts.append(part)
        elif number + 1 == len(headings):
            # No heading tells where the skipped section ends: give up its first sentence only.
            parts += _SENTENCE_END.split(part.strip(), maxsplit=1)[1:]
    return [" ".join(sentence.split()) for part in parts for sentence in _SENTENCE_END.split(part) if sentence.strip()]


_PUNCTUATION = {
    "comma": ("comma", r","),
    "none": ("later negation", r": (?:none|no|absent|negative)(?=[.,;]|$)"),
    "colon": ("copula", r":(?! (?:none|no|absent|negative)(?:[.,;]|$))"),
    "semicolon": ("break", r";"),
    "asked": ("later hedge", r"(?<=\w)\?"),
    "asking": ("hedge", r"(?<!\w)\?"),
}


def _marks_pattern() -> tuple[re.Pattern, dict[str, tuple[str, object]]]:
    """One expression over all tables, and for each of its groups the kind of mark and what it stands for."""
    tables = [
        ("nothing", None, phrases.NAMES_NOTHING),
        ("nothing", None, cues.NOT_NEGATIONS),
        ("later hedge", None, cues.LATER_HEDGES),
        ("despite", None, cues.UNCERTAIN_DESPITE_NEGATION),
        ("later negation", None, cues.LATER_NEGATIONS),
        ("later ignored", None, cues.LATER_IGNORED),
        ("ignored", None, cues.IGNORED_CONTEXTS),
        *(("mention", findings, patterns) for findings, patterns in phrases.MENTIONS.items()),
        *(("structure", findings, patterns) for findings, patterns in phrases.STRUCTURES.items()),
        *(("normal", finding, patterns) for finding, patterns in phrases.NORMAL_STATES.items()),
        *(("abnormal", finding, patterns) for finding, patterns in phrases.ABNORMAL_STATES.items()),
        ("borderline", None, phrases.BORDERLINE_STATES),
        ("negation", None, cues.NEGATIONS),
        ("hedge", None, cues.HEDGES),
        ("alternative", None, cues.ALTERNATIVES),
        ("break", None, cues.BREAKS),
        ("copula", None, cues.COPULAS),
        ("assertion", None, cues.ASSERTIONS),
        ("degree", None, cues.DEGREES),
        ("and", None, cues.CONJUNCTIONS),
    ]
    groups, meanings = [], {}
    for number, (kind, value, patterns) in enumerate(tables):
        groups.append(rf"(?P<g{number}>{'|'.join(patterns)})")
        meanings[f"g{number}"] = (kind, value)
    for name, (kind, pattern) in _PUNCTUATION.items():
        groups.insert(0, rf"(?P<{name}>{pattern})")
        meanings[name] = (kind, None)
    number = len(_PUNCTUATION)
    words = rf"(?<![\w-])(?:{'|'.join(groups[number:])})(?!\w)"
    return re.compile("|".join([*groups[:number], words])), meanings


_MARKS, _MEANINGS = _marks_pattern()


@dataclass(slots=True)
class _Mention:
    findings: tuple[str, ...]
    state: int
    words: str


@dataclass(slots=True)
class _Reader:
    """Reads the marks of one sentence from left to right; `scope` is the state that the next mention gets."""

    mentions: list[_Mention] = field(default_factory=list)
    scope: int = POSITIVE
    cue: str = ""
    group_start: int = 0
    """Index of the first mention that words behind it ("… is not seen") may still decide."""
    waiting: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    """Structures named, whose state has not been told yet."""
    last_structure: tuple[tuple[str, ...], str] | None = None
    attribute: tuple[str, tuple[str, ...], str] | None = None
    """A state told before its structure ("normal heart size")."""

    def open_scope(self, scope: int, cue: str) -> None:
        self.scope, self.cue = scope, cue

    def begin_assertion(self) -> None:
        self.open_scope(POSITIVE, "")
        self.group_start = len(self.mentions)
        self.attribute = None

    def state(self, findings: tuple[str, ...], state: int, cue: str, words: str) -> None:
        if findings and state != _IGNORED:
            self.mentions.append(_Mention(findings, state, f"{cue} … {words}" if cue else words))

    def decide_group(self, state: int, cue: str) -> None:
        """Words behind the mentions decide them: "effusion is not seen", "pneumonia cannot be excluded"."""
        for mention in self.mentions[self.group_start :]:
            if mention.state in (POSITIVE, _EITHER) or state == UNCERTAIN:
                mention.state, mention.words = state, f"{mention.words} … {cue}"
        self.open_scope(POSITIVE, "")
        self.group_start = len(self.mentions)

    def structure(self, findings: tuple[str, ...], words: str) -> None:
        self.last_structure = (findings, words)
        if self.attribute is None:
            self.waiting.append(self.last_structure)
        else:
            kind, applies_to, cue = self.attribute
            self._state_structure(findings, kind, applies_to, cue, words)

    def structure_state(self, kind: str, applies_to: tuple[str, ...], words: str) -> None:
        if kind == "normal" and self.cue == "not":
            return
        if not self.waiting:
            self.attribute = (kind, applies_to, words)
        for findings, structure in self.waiting:
            self._state_structure(findings, kind, applies_to, words, structure)
        self.waiting.clear()

    def _state_structure(self, findings, kind, applies_to, cue, words) -> None:
        findings = tuple(finding for finding in findings if not applies_to or finding in applies_to)
        if kind == "normal":
            self.state(findings, NEGATIVE, cue, words)
        elif kind == "borderline":
            self.state(findings, UNCERTAIN, cue, words)
        else:
            self.state(findings, self.scope, f"{self.cue} {cue}".strip(), words)

    def copula(self) -> None:
        self.begin_assertion()
        if self.last_structure and self.last_structure not in self.waiting:
            self.waiting.append(self.last_structure)


_STARTS_ANEW = ("degree", "hedge", "abnormal", "borderline", "normal")


def _list_goes_on(marks: list) -> bool:
    """Whether an "or" is still to come: "no effusion, small or large, or pneumothorax"."""
    for kind, *_ in marks:
        if kind in ("alternative", "break", "assertion", "copula"):
            return kind == "alternative"
    return False


@lru_cache(maxsize=8192)
def _read_cached(sentence: str) -> tuple[tuple[int, int, str], ...]:
    marks = [(*_MEANINGS[mark.lastgroup], mark.group(), mark.end()) for mark in _MARKS.finditer(sentence)]
    reader = _Reader()
    for index, (kind, value, words, end) in enumerate(marks):
        following = marks[index + 1][0] if index + 1 < len(marks) else ""
        if kind == "mention":
            reader.state(value, reader.scope, reader.cue, words)
        elif kind == "structure":
            reader.structure(value, words)
        elif kind in ("normal", "abnormal", "borderline"):
            reader.structure_state(kind, value or (), words)
        elif kind in ("negation", "despite", "ignored"):
            scope = {"negation": NEGATIVE, "despite": UNCERTAIN, "ignored": _IGNORED}[kind]
            reader.open_scope(scope, words)
        elif kind == "hedge":
            if following == "" and not sentence[end:].strip(" ."):
                reader.decide_group(UNCERTAIN, words)
            elif reader.scope != NEGATIVE:
                reader.open_scope(UNCERTAIN, words)
        elif kind == "alternative" and reader.scope == POSITIVE:
            if len(reader.mentions) > reader.group_start and reader.mentions[-1].state == POSITIVE:
                reader.mentions[-1].state = _EITHER
                reader.mentions[-1].words += f" … {words}"
            reader.open_scope(_EITHER, words)
        elif kind == "later negation":
            reader.decide_group(NEGATIVE, words)
        elif kind == "later hedge":
            reader.decide_group(UNCERTAIN, words)
        elif kind == "later ignored":
            del reader.mentions[reader.group_start :]
        elif kind in ("comma", "and"):
            starts_anew = reader.scope == NEGATIVE and following in _STARTS_ANEW
            if starts_anew and not _list_goes_on(marks[index + 1 : index + _LONGEST_LIST]):
                reader.begin_assertion()
        elif kind == "copula":
            reader.copula()
        elif kind in ("break", "assertion"):
            reader.begin_assertion()
            reader.waiting.clear()
    return tuple(
        (FINDING_INDEX[finding], UNCERTAIN if mention.state == _EITHER else mention.state, mention.words)
        for mention in reader.mentions
        for finding in mention.findings
    )


def _read(sentence: str) -> tuple[tuple[int, int, str], ...]:
    """(finding, state, deciding words) of each mention in a sentence; long sentences are not kept in the cache."""
    read = _read_cached if len(sentence) <= _LONGEST_CACHED_SENTENCE else _read_cached.__wrapped__
    return read(sentence.lower())
