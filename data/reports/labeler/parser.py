"""Reads the marks of a sentence from left to right: the findings it states, denies or leaves open, and by what words.

At each moment a scope says what state the next mention gets. Negations and hedges before a finding open a scope;
breaks, verbs and prepositions close it; words behind ("… is not seen") go back over the mentions since it was closed.

A sentence as a row of marks: the findings, structures, negations, hedges, breaks … in it, from left to right.

All tables of `data.reports.labeler.finding_patterns` and `data.reports.labeler.context_patterns` become one regular
expression. Where two match at the same
place, the earlier table of `_TABLES` wins.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from data.reports.labeler import context_patterns as cues
from data.reports.labeler import finding_patterns as phrases
from data.reports.labeler.context_patterns import mend_spelling
from vlm.schema.findings import NEGATIVE, POSITIVE, UNCERTAIN

Kind = Literal[
    "nothing", "reversal", "later hedge", "despite", "later negation", "later ignored", "ignored", "past event",
    "mention", "suspect", "structure", "normal", "abnormal", "borderline", "negation", "inference", "hedge",
    "alternative", "relative", "break", "copula", "assertion", "degree", "and", "comma",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """`findings`: those that a mention states, a structure tells of, or a state is limited to; () for all or none."""

    kind: Kind
    findings: tuple[str, ...]
    words: str
    is_last: bool
    """No word follows in the sentence."""


_PUNCTUATION = (
    ("later hedge", r"(?<=\w)\?"),
    ("hedge", r"(?<!\w)\?"),
    ("break", r";"),
    ("copula", r"(?::| [-–—]+)(?! (?:none|no|absent|negative)(?:[.,;]|$))(?= )"),
    ("later negation", r"(?::| [-–—]+) (?:none|no|absent|negative)(?=[.,;]|$)"),
    ("comma", r","),
)
_TABLES: tuple[tuple[Kind, tuple[str, ...], tuple[str, ...]], ...] = (
    ("nothing", (), phrases.NAMES_NOTHING),
    ("reversal", (), cues.REVERSALS),
    ("nothing", (), cues.NOT_NEGATIONS),
    ("later hedge", (), cues.LATER_HEDGES),
    ("despite", (), cues.UNCERTAIN_DESPITE_NEGATION),
    ("later negation", (), cues.LATER_NEGATIONS),
    ("later ignored", (), cues.LATER_IGNORED),
    ("ignored", (), cues.IGNORED_CONTEXTS),
    ("past event", (), cues.PAST_EVENTS),
    *(("mention", findings, patterns) for findings, patterns in phrases.MENTIONS.items()),
    ("mention", (), phrases.NEIGHBOURS),
    *(("suspect", findings, patterns) for findings, patterns in phrases.SUSPECT_MENTIONS.items()),
    *(("structure", findings, patterns) for findings, patterns in phrases.STRUCTURES.items()),
    ("borderline", (), phrases.BORDERLINE_STATES),
    *(("normal", findings, patterns) for findings, patterns in phrases.NORMAL_STATES.items()),
    *(("abnormal", findings, patterns) for findings, patterns in phrases.ABNORMAL_STATES.items()),
    ("negation", (), cues.NEGATIONS),
    ("inference", (), cues.INFERENCES),
    ("hedge", (), cues.HEDGES),
    ("alternative", (), cues.ALTERNATIVES),
    ("relative", (), cues.RELATIVES),
    ("break", (), cues.BREAKS),
    ("copula", (), cues.COPULAS),
    ("assertion", (), cues.ASSERTIONS),
    ("degree", (), cues.DEGREES),
    ("and", (), cues.CONJUNCTIONS),
)
_GROUPS = [
    *((kind, (), rf"(?P<g{number}>{pattern})") for number, (kind, pattern) in enumerate(_PUNCTUATION)),
    *(
        (kind, findings, rf"(?P<g{number}>{'|'.join(patterns)})")
        for number, (kind, findings, patterns) in enumerate(_TABLES, start=len(_PUNCTUATION))
    ),
]
_MEANINGS = {f"g{number}": (kind, findings) for number, (kind, findings, _) in enumerate(_GROUPS)}
_IN_PUNCTUATION = "|".join(pattern for _, _, pattern in _GROUPS[: len(_PUNCTUATION)])
_IN_WORDS = "|".join(pattern for _, _, pattern in _GROUPS[len(_PUNCTUATION) :])
_MARKS = re.compile(rf"{_IN_PUNCTUATION}|(?<![\w-])(?:{_IN_WORDS})(?!\w)")
_WORD = re.compile(r"\w")


def marks_of(sentence: str) -> list[Mark]:
    """The marks of a sentence with single spaces, whatever its case and spelling."""
    # MIMIC-CXR's way to write a word that was taken out is read as the Indiana reports', which the tables know.
    sentence = mend_spelling(sentence.lower().replace("___", "xxxx"))
    matches = list(_MARKS.finditer(sentence))
    nothing_behind = bool(matches) and not _WORD.search(sentence, matches[-1].end())
    return [
        Mark(*_MEANINGS[match.lastgroup], match.group(), nothing_behind and match is matches[-1]) for match in matches
    ]


_IGNORED, _PAST, _EITHER = -1, -2, -3
"""States that only a reader holds: not counted, once happened, and one of two alternatives (in the end uncertain)."""
_SCOPES = {"negation": NEGATIVE, "despite": UNCERTAIN, "ignored": _IGNORED, "past event": _PAST}
_STARTS_ANEW = ("degree", "hedge", "abnormal", "borderline", "normal")
_LONGEST_LIST = 30
"""In marks; keeps the reading of endless sentences linear."""
_MOST_WAITING = 8


@dataclass(slots=True)
class Mention:
    """Findings named in one place, their state there and the words that decided."""

    findings: tuple[str, ...]
    state: int
    words: str


@dataclass(slots=True)
class _Reader:
    mentions: list[Mention] = field(default_factory=list)
    scope: int = POSITIVE
    cue: str = ""
    group_start: int = 0
    """Index of the first mention that words behind it may still decide."""
    is_relative: bool = False
    """Nothing is named yet in a "which …", so words behind still decide what stands before it."""
    is_reversed: bool = False
    """Words behind that deny are themselves denied: "no evidence that the effusion has resolved"."""
    waiting: list[Mark] = field(default_factory=list)
    """Structures named, whose state has not been told yet."""
    last_structure: Mark | None = None
    attribute: Mark | None = None
    """A state told before its structure ("normal heart size")."""

    def open_scope(self, scope: int, cue: str) -> None:
        self.scope, self.cue = scope, cue

    def begin_assertion(self) -> None:
        self.open_scope(POSITIVE, "")
        self.group_start = len(self.mentions)
        self.attribute = None

    def begin_relative(self) -> None:
        self.begin_assertion()
        self.group_start, self.is_relative = max(0, self.group_start - 1), True

    def state(self, findings: tuple[str, ...], state: int, cue: str, words: str) -> None:
        if state == _PAST:
            findings, state = tuple(finding for finding in findings if finding == "Support Devices"), POSITIVE
        if state == _IGNORED:
            return
        if self.is_relative:
            self.group_start, self.is_relative = len(self.mentions), False
        last = self.mentions[-1] if self.mentions else None
        if state == _EITHER and last and last.state == _EITHER and last.findings == findings:
            # "infiltrate or opacity": whichever it is, the finding is there.
            state = last.state = POSITIVE
        self.mentions.append(Mention(findings, state, f"{cue} … {words}" if cue else words))

    def decide_group(self, state: int, cue: str) -> None:
        """Words behind the mentions decide them: "effusion is not seen", "pneumonia cannot be excluded"."""
        for mention in self.mentions[self.group_start :]:
            if mention.state in (POSITIVE, _EITHER) or state == UNCERTAIN:
                mention.state, mention.words = state, f"{mention.words} … {cue}"
        self.open_scope(POSITIVE, "")
        self.group_start = len(self.mentions)

    def leave_open(self, cue: str) -> None:
        """An "or" between two findings that nothing denies."""
        if len(self.mentions) > self.group_start and self.mentions[-1].state == POSITIVE:
            self.mentions[-1].state = _EITHER
            self.mentions[-1].words += f" … {cue}"
        self.open_scope(_EITHER, cue)

    def structure(self, structure: Mark) -> None:
        self.last_structure = structure
        if self.attribute:
            self._state_structure(structure, self.attribute)
        else:
            self.waiting = [*self.waiting[-_MOST_WAITING:], structure]

    def structure_state(self, told: Mark) -> None:
        if told.kind == "normal" and self.cue == "not":
            return
        if not self.waiting:
            self.attribute = told
        for structure in self.waiting:
            self._state_structure(structure, told)
        self.waiting.clear()

    def _state_structure(self, structure: Mark, told: Mark) -> None:
        findings = tuple(finding for finding in structure.findings if not told.findings or finding in told.findings)
        if told.kind == "normal":
            self.state(findings, NEGATIVE, told.words, structure.words)
        elif told.kind == "borderline" and self.scope == POSITIVE:
            self.state(findings, UNCERTAIN, told.words, structure.words)
        else:
            self.state(findings, self.scope, f"{self.cue} {told.words}".strip(), structure.words)

    def copula(self) -> None:
        self.begin_assertion()
        if self.last_structure and self.last_structure not in self.waiting:
            self.waiting.append(self.last_structure)

    def list_separator(self, mark: Mark, behind: list[Mark]) -> None:
        """A comma or "and": one more thing of the list, or a new statement."""
        following = behind[0].kind if behind else ""
        if mark.kind == "comma" and self.attribute and self.attribute.kind != "normal":
            self.attribute = None
        starts_anew = following in _STARTS_ANEW or (following == "structure" and self.attribute is None)
        if self.scope == NEGATIVE and starts_anew and not _list_goes_on(behind):
            self.begin_assertion()


def _list_goes_on(marks: list[Mark]) -> bool:
    """Whether an "or" is still to come: "no effusion, small or large, or pneumothorax"."""
    for mark in marks:
        if mark.kind in ("alternative", "break", "assertion", "copula"):
            return mark.kind == "alternative"
    return False


def _tells_of_last(marks: list[Mark]) -> bool:
    """Whether the marks behind a "but" go on about the structure before it: "enlarged but stable", "… but clear"."""
    kinds = [mark.kind for mark in marks[:2]]
    return bool(kinds) and kinds[0] in ("normal", "abnormal", "borderline") and kinds[1:] != ["structure"]


def read_sentence(sentence: str) -> list[Mention]:
    """The mentions of findings in a sentence with single spaces, in its order."""
    marks = marks_of(sentence)
    reader = _Reader()
    for index, mark in enumerate(marks):
        behind = marks[index + 1 : index + _LONGEST_LIST]
        match mark.kind:
            case "mention":
                reader.state(mark.findings, reader.scope, reader.cue, mark.words)
            case "suspect":
                state = UNCERTAIN if reader.scope == POSITIVE else reader.scope
                reader.state(mark.findings, state, reader.cue, mark.words)
            case "structure":
                reader.structure(mark)
            case "borderline" if behind and behind[0].kind == "mention":
                reader.open_scope(UNCERTAIN, mark.words)
            case "normal" | "abnormal" | "borderline":
                reader.structure_state(mark)
            case "negation" | "despite" | "ignored" | "past event":
                reader.open_scope(_SCOPES[mark.kind], mark.words)
            case "inference":
                is_denied = reader.scope == NEGATIVE or (reader.mentions and reader.mentions[-1].state == NEGATIVE)
                reader.open_scope(NEGATIVE if is_denied else UNCERTAIN, mark.words)
            case "hedge" if mark.is_last:
                reader.decide_group(UNCERTAIN, mark.words)
            case "hedge" if reader.scope not in (NEGATIVE, _IGNORED):
                reader.open_scope(UNCERTAIN, mark.words)
            case "alternative" if reader.scope == POSITIVE:
                reader.leave_open(mark.words)
            case "reversal":
                reader.is_reversed = True
            case "later negation":
                reader.decide_group(POSITIVE if reader.is_reversed else NEGATIVE, mark.words)
            case "later hedge":
                reader.decide_group(UNCERTAIN, mark.words)
            case "later ignored":
                del reader.mentions[reader.group_start :]
            case "comma" | "and":
                reader.list_separator(mark, behind)
            case "copula":
                reader.copula()
            case "relative":
                reader.begin_relative()
            case "break" | "assertion":
                reader.begin_assertion()
                reader.waiting.clear()
                if mark.kind == "break" and reader.last_structure and _tells_of_last(behind):
                    reader.waiting.append(reader.last_structure)
    for mention in reader.mentions:
        mention.state = UNCERTAIN if mention.state == _EITHER else mention.state
    return reader.mentions
