"""Changes of the 14 findings since a prior study in a report: its statements in, codes of CHANGES for each finding out.

A finding has the changes of all its statements: "the right effusion has resolved, the left one is unchanged" has two. A
sentence about the whole study ("No significant interval change.") makes every finding of the report unchanged that has
no change of its own. Sentences about anything else ("stable heart size", "improved aeration") name no finding."""

import re

from data.reports.labeler.labeler import described_sentences
from data.reports.labeler.statements import Statement, finding_of, join_statements
from vlm.schema.findings import CHANGES, FINDING_INDEX, NEGATIVE, NUM_FINDINGS

_CODES = {change: code for code, change in enumerate(CHANGES)} | {"same": CHANGES.index("unchanged")}
_DEVICE = "Support Devices"
_NONE: frozenset[int] = frozenset()
"""One object for all findings without a change, because programs keep the changes of many reports."""
_REMOVED = re.compile(r"\b(?:remov(?:ed|al)|withdrawn|withdrawal|extubat\w+|no longer)\b", re.IGNORECASE)
_MOVED = re.compile(r"\b(?:repositioned|advanced|retracted|withdrawn|pulled back|has moved)\b", re.IGNORECASE)

_CHANGE, _NOT = re.compile(r"\bchange[ds]?\b|\bdifference\b"), re.compile(r"\b(?:no|not|without)\b")
_UNCHANGED = re.compile(r"\b(?:unchanged|stable|similar)\b")
_OF_THE_STUDY = re.compile(
    r"(?:(?:no|not|without|any|significant(?:ly)?|interval|appreciable|definite|substantial|relevant|major|apparent|"
    r"essentially|largely|grossly|changed?|changes|difference|unchanged|stable|similar|since|from|when|as|compared|"
    r"comparison|comparing|to|with|the|this|that|an?|in|on|of|and|is|are|was|there|has|have|been|it|remains?|overall|"
    r"otherwise|again|prior|previous|last|most|recent|earlier|preceding|stud(?:y|ies)|exam(?:ination)?s?|radiographs?|"
    r"films?|images?|imaging|chest|x-?ray|cxr|report|findings|appearance|status|cardiopulmonary|radiographic(?:ally)?|"
    r"dated|day|today(?:'s)?|rest|remainder|x+)\b|[\W\d_])+"
)
"""A sentence about the whole study has only these words."""


def report_changes(*texts: str) -> tuple[frozenset[int], ...]:
    """The changes of each of FINDINGS that a report or its sections state: codes of CHANGES, without "none".

    Empty for a finding without a stated change. "No new effusion" states no change: the prior may be the same.
    """
    sentences = [sentence for text in texts for sentence in described_sentences(text)]
    changes: list[set[int]] = [set() for _ in range(NUM_FINDINGS)]
    present = set()
    for statement in join_statements(sentences):
        finding = finding_of(statement.name)
        if not finding:
            continue
        index = FINDING_INDEX[finding]
        if statement.state != NEGATIVE:
            present.add(index)
        if change := _change_of(statement, is_device=finding == _DEVICE):
            changes[index].add(_CODES[change])
    if any(map(_is_of_whole_study, sentences)):
        for index in present:
            changes[index] |= set() if changes[index] else {_CODES["unchanged"]}
    return tuple(frozenset(found) if found else _NONE for found in changes)


def _change_of(statement: Statement, *, is_device: bool) -> str:
    """A name in CHANGES, "same" or ""."""
    own = statement.attributes
    if statement.state == NEGATIVE:
        is_gone = own.is_gone or (is_device and _REMOVED.search(statement.sentence))
        return "resolved" if is_gone else ""
    if is_device and (own.change in ("worse", "better") or _MOVED.search(statement.sentence)):
        return own.change if own.change == "new" else "same"
    return own.change


def _is_of_whole_study(sentence: str) -> bool:
    text = sentence.lower()
    says_unchanged = _UNCHANGED.search(text) or (_CHANGE.search(text) and _NOT.search(text))
    return says_unchanged is not None and _OF_THE_STUDY.fullmatch(text) is not None
