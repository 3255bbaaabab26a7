"""Parse a sentence: the findings that it asserts, denies or leaves uncertain, and the words that decide.

All tables of `finding_patterns` and `context_patterns` form one regular expression, which turns the sentence into a
list of marks: findings, structures, negations, hedges, breaks and others. Where two match at the same place, the
earlier table of `_TABLES` wins. The marks are read from left to right. A scope holds the state of the next mention:
negations and hedges before a finding open a scope; breaks, verbs and prepositions close it. Words after a finding
("… is not seen") change the mentions since the scope was closed."""

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from data.reports.labeler import context_patterns as cues
from data.reports.labeler import finding_patterns as phrases
from data.reports.labeler import forms
from data.reports.labeler.context_patterns import fix_spelling
from vlm.schema.findings import NEGATIVE, POSITIVE, UNCERTAIN

Kind = Literal[
    "nothing", "two sides", "not there",
    "reversal", "entry hedge", "comparison", "anaphor", "persists", "same", "later hedge", "despite",
    "later negation", "later ignored", "ignored", "past event", "mention", "suspect", "structure", "normal", "abnormal",
    "borderline", "negation", "inference", "hedge", "alternative", "relative", "break", "copula", "assertion", "degree",
    "and", "comma",
]  # fmt: skip


class Mark(NamedTuple):  # made faster than a frozen dataclass
    """`findings`: the findings of a mention or a structure, or those that a state is limited to; () for all or none."""

    kind: Kind
    findings: tuple[str, ...]
    words: str
    start: int
    is_last: bool
    """Whether it ends the sentence."""

    @property
    def end(self) -> int:
        return self.start + len(self.words)


_PUNCTUATION = (
    ("later ignored", forms.NOT_ASSESSED_ENTRY),
    ("later negation", forms.DENIED_ENTRY),
    ("entry hedge", forms.DOUBTED_ENTRY),
    ("later hedge", r"(?<=\w)\?"),
    ("hedge", r"(?<!\w)\?"),
    ("break", r";| / (?=(?:small|tiny|trace|mild|moderate|large)\b)"),
    ("copula", r"(?::| [-–—]+)(?= )"),
    ("comma", r","),
)
_TABLES: tuple[tuple[Kind, tuple[str, ...], tuple[str, ...]], ...] = (
    ("nothing", (), phrases.NAMES_NOTHING),
    ("nothing", (), cues.JOINED_ADJECTIVES),
    ("two sides", (), cues.TWO_SIDES),
    ("not there", (), cues.NOT_THERE),
    ("reversal", (), cues.REVERSALS),
    ("nothing", (), cues.NOT_NEGATIONS),
    ("persists", (), cues.PERSISTING),
    ("same", (), cues.LIKEWISE),
    ("comparison", (), cues.COMPARISONS),
    ("later hedge", (), cues.LATER_HEDGES),
    ("despite", (), cues.UNCERTAIN_DESPITE_NEGATION),
    ("later negation", (), cues.LATER_NEGATIONS),
    ("later ignored", (), cues.LATER_IGNORED),
    ("ignored", (), cues.IGNORED_CONTEXTS),
    ("past event", (), cues.PAST_EVENTS),
    *(("mention", findings, patterns) for findings, patterns in phrases.MENTIONS.items()),
    ("mention", (), phrases.NEIGHBORS),
    ("anaphor", (), cues.ANAPHORS),
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
_GROUPS = [*((kind, (), pattern) for kind, pattern in _PUNCTUATION)]
_GROUPS += [(kind, findings, "|".join(patterns)) for kind, findings, patterns in _TABLES]
_MEANINGS = {f"g{number}": (kind, findings) for number, (kind, findings, _) in enumerate(_GROUPS)}
_ALTERNATIVES = [rf"(?P<g{number}>{pattern})" for number, (_, _, pattern) in enumerate(_GROUPS)]
_IN_PUNCTUATION = "|".join(_ALTERNATIVES[: len(_PUNCTUATION)])
_IN_WORDS = "|".join(_ALTERNATIVES[len(_PUNCTUATION) :])
_MARKS = re.compile(rf"(?=[ :;?,])(?:{_IN_PUNCTUATION})|(?<![\w-])(?:{_IN_WORDS})(?!\w)")
_WORD = re.compile(r"\w")


def as_read(sentence: str) -> str:
    """The sentence as the tables see it; the words of a mention are found in this text."""
    # The tables know the placeholder of the Indiana reports, so the one of MIMIC-CXR is replaced by it.
    return fix_spelling(sentence.lower().replace("___", "xxxx"))


def marks_of(sentence: str) -> list[Mark]:
    """The marks of a sentence with single spaces, in any case."""
    sentence = as_read(sentence)
    matches = list(_MARKS.finditer(sentence))
    ends_sentence = bool(matches) and not _WORD.search(sentence, matches[-1].end())
    return [
        Mark(*_MEANINGS[match.lastgroup], match.group(), match.start(), ends_sentence and match is matches[-1])
        for match in matches
    ]


_IGNORED, _PAST, _EITHER = -1, -2, -3
"""States used only while parsing: not counted, past event, one of two alternatives (uncertain in the end)."""
_SCOPES = {"negation": NEGATIVE, "despite": UNCERTAIN, "ignored": _IGNORED, "past event": _PAST}
_NEW_STATEMENTS = ("degree", "hedge", "abnormal", "borderline", "normal", "anaphor")
_FIRST_SIDE = re.compile(r".*?(?:left|right)(?:-sided)?")
_LONGEST_LIST = 30
"""Number of marks; keeps the time for very long sentences linear."""
_MOST_WAITING = 8


@dataclass(slots=True)
class Mention:
    """Findings mentioned in one place, their state and the words that decided it.

    `start` and `end`: the place of the finding in `as_read`; of a structure with the word for its state."""

    findings: tuple[str, ...]
    state: int
    words: str
    start: int
    end: int


@dataclass(slots=True)
class _Reader:
    mentions: list[Mention] = field(default_factory=list)
    scope: int = POSITIVE
    cue: str = ""
    group_start: int = 0
    """Index of the first mention that later words can still change."""
    is_relative: bool = False
    """Whether a "which …" clause has no mention yet; then later words change the mention before the clause."""
    is_reversed: bool = False
    """Later negations are negated themselves: "no evidence that the effusion has resolved"."""
    waiting: list[Mark] = field(default_factory=list)
    """Structures without a state yet."""
    last_structure: Mark | None = None
    labels: list[Mention] = field(default_factory=list)
    """Mentions before a colon."""
    attribute: Mark | None = None
    """A state before its structure ("normal heart size")."""
    first_side: tuple[int, Mark] | None = None
    """State and mark of the first side in "right but no left effusion", until the finding is named."""

    def open_scope(self, scope: int, cue: str) -> None:
        self.scope, self.cue = scope, cue

    def begin_assertion(self) -> None:
        self.open_scope(POSITIVE, "")
        self.group_start = len(self.mentions)
        self.attribute = None

    def begin_relative(self) -> None:
        self.begin_assertion()
        self.group_start, self.is_relative = max(0, self.group_start - 1), True

    def state(self, findings: tuple[str, ...], state: int, cue: str, mark: Mark, stated: Mark | None = None) -> None:
        """Add a mention; `mark`: the finding or the structure, `stated`: the word for the state of a structure."""
        if state == _PAST:
            findings, state = tuple(finding for finding in findings if finding == "Support Devices"), POSITIVE
        if state == _IGNORED:
            return
        if self.is_relative:
            self.group_start, self.is_relative = len(self.mentions), False
        if self.first_side:
            (first_state, side), self.first_side = self.first_side, None
            end = side.start + _FIRST_SIDE.match(side.words).end()
            self.mentions.append(Mention(findings, first_state, f"{side.words} … {mark.words}", side.start, end))
        last = self.mentions[-1] if self.mentions else None
        if state == _EITHER and last and last.state == _EITHER and last.findings == findings:
            # "infiltrate or opacity": both are the same finding, so it is present.
            state = last.state = POSITIVE
        start, end = mark.start, mark.end
        if stated:
            start, end = min(start, stated.start), max(end, stated.end)
        words = f"{cue} … {mark.words}" if cue else mark.words
        self.mentions.append(Mention(findings, state, words, start, end))

    def decide_group(self, state: int, cue: str) -> None:
        """Words after the mentions decide their state: "effusion is not seen", "pneumonia cannot be excluded"."""
        decided = self.mentions[self.group_start :]
        if state == UNCERTAIN and not decided:
            decided = [label for label in self.labels if label is self.mentions[-1]]
        for mention in decided:
            if mention.state in (POSITIVE, _EITHER) or state == UNCERTAIN:
                mention.state, mention.words = state, f"{mention.words} … {cue}"
        self.open_scope(POSITIVE, "")
        self.group_start = len(self.mentions)

    def open_two_sides(self, mark: Mark) -> None:
        """Handle "right but no left" before a finding: one mention for each side."""
        if mark.words.startswith(("right", "left")):
            self.first_side = (self.scope, mark)
            self.open_scope(NEGATIVE, mark.words)
        else:
            self.first_side = (NEGATIVE, mark)
            self.open_scope(POSITIVE, mark.words)

    def restate(self, mark: Mark) -> None:
        """Words that stand for the last finding: "…; a small one on the left"."""
        last = next((mention for mention in reversed(self.mentions) if mention.findings), None)
        if last:
            self.group_start = len(self.mentions)
            self.state(last.findings, self.scope, self.cue, mark)

    def drop_labels(self) -> None:
        """Drop a finding that is only the label of an entry which names it again: "Effusion: no effusion"."""
        for label in self.labels:
            if any(mention.findings == label.findings for mention in self.mentions if mention is not label):
                self.mentions.remove(label)

    def leave_open(self, cue: str) -> None:
        """Handle an "or" between two findings that are not denied."""
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

    def is_structure_last(self) -> bool:
        """Whether a structure without a state stands behind all findings: "effusion; the heart cannot be assessed"."""
        return bool(self.waiting and (not self.mentions or self.waiting[-1].start > self.mentions[-1].start))

    def structure_state(self, stated: Mark) -> None:
        if stated.kind == "normal" and self.cue == "not":
            return
        if not self.waiting:
            self.attribute = stated
        for structure in self.waiting:
            self._state_structure(structure, stated)
        self.waiting.clear()

    def _state_structure(self, structure: Mark, stated: Mark) -> None:
        findings = tuple(finding for finding in structure.findings if not stated.findings or finding in stated.findings)
        if stated.kind == "normal":
            self.state(findings, NEGATIVE, stated.words, structure, stated)
        elif stated.kind == "borderline" and self.scope == POSITIVE:
            self.state(findings, UNCERTAIN, stated.words, structure, stated)
        else:
            self.state(findings, self.scope, f"{self.cue} {stated.words}".strip(), structure, stated)

    def copula(self) -> None:
        self.begin_assertion()
        if self.last_structure and self.last_structure not in self.waiting:
            self.waiting.append(self.last_structure)

    def list_separator(self, mark: Mark, following: list[Mark]) -> None:
        """Handle a comma or "and": the next item of a list, or a new statement."""
        next_kind = following[0].kind if following else ""
        if mark.kind == "comma" and self.attribute and self.attribute.kind != "normal":
            self.attribute = None
        is_new_statement = next_kind in _NEW_STATEMENTS or (next_kind == "structure" and self.attribute is None)
        if self.scope == NEGATIVE and is_new_statement and not _list_continues(following):
            self.begin_assertion()


def _list_continues(marks: list[Mark]) -> bool:
    """Whether an "or" follows: "no effusion, small or large, or pneumothorax"."""
    for mark in marks:
        if mark.kind in ("alternative", "break", "assertion", "copula"):
            return mark.kind == "alternative"
    return False


def _describes_last(marks: list[Mark]) -> bool:
    """Whether the marks after a "but" describe the structure before it: "enlarged but stable", "… but clear"."""
    kinds = [mark.kind for mark in marks[:2]]
    return bool(kinds) and kinds[0] in ("normal", "abnormal", "borderline") and kinds[1:] != ["structure"]


def _names_finding(marks: list[Mark]) -> bool:
    """Whether the next mark that is not a degree is a finding: "possible small effusion"."""
    return next((mark.kind for mark in marks if mark.kind != "degree"), "") in ("mention", "suspect")


def _is_before_finding(marks: list[Mark], index: int) -> bool:
    """Whether sides belong to the finding behind them, not to one before: "opacity on the right and no left …"."""
    is_behind_finding = index > 0 and marks[index - 1].kind in ("mention", "suspect", "structure")
    return not is_behind_finding and _names_finding(marks[index + 1 : index + _LONGEST_LIST])


def read_sentence(sentence: str) -> list[Mention]:
    """The mentions of findings in a sentence with single spaces, in order."""
    marks = marks_of(sentence)
    reader = _Reader()
    for index, mark in enumerate(marks):
        following = marks[index + 1 : index + _LONGEST_LIST]
        match mark.kind:
            case "mention":
                reader.state(mark.findings, reader.scope, reader.cue, mark)
            case "suspect":
                state = UNCERTAIN if reader.scope == POSITIVE else reader.scope
                reader.state(mark.findings, state, reader.cue, mark)
            case "structure":
                reader.structure(mark)
            case "borderline" if following and following[0].kind == "mention":
                reader.open_scope(UNCERTAIN, mark.words)
            case "normal" | "abnormal" | "borderline":
                reader.structure_state(mark)
            case "two sides" if _is_before_finding(marks, index):
                reader.open_two_sides(mark)
            case "two sides":
                reader.open_scope(NEGATIVE, mark.words)
            case "not there":
                reader.open_scope(NEGATIVE, "")
                reader.restate(mark)
                reader.begin_assertion()
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
            case "later ignored" if not reader.is_structure_last():
                del reader.mentions[reader.group_start :]
            case "entry hedge" if _names_finding(following):
                reader.copula()
                reader.open_scope(UNCERTAIN, mark.words)
            case "entry hedge":
                reader.decide_group(UNCERTAIN, mark.words)
            case "comparison":
                reader.decide_group(UNCERTAIN, mark.words)
                reader.open_scope(UNCERTAIN, mark.words)
            case "anaphor":
                reader.restate(mark)
            case "persists" if reader.mentions:
                reader.mentions[-1].state = POSITIVE
            case "same" if len(reader.mentions) > 1:
                reader.mentions[-1].state = reader.mentions[-2].state
            case "comma" | "and":
                reader.list_separator(mark, following)
            case "copula":
                if mark.words == ":":
                    reader.labels += reader.mentions[reader.group_start :]
                reader.copula()
            case "relative":
                reader.begin_relative()
            case "break" | "assertion":
                reader.begin_assertion()
                reader.waiting.clear()
                if mark.kind == "break" and reader.last_structure and _describes_last(following):
                    reader.waiting.append(reader.last_structure)
    reader.drop_labels()
    for mention in reader.mentions:
        mention.state = UNCERTAIN if mention.state == _EITHER else mention.state
    return reader.mentions
