"""Reports that contradict themselves: a finding stated here and denied there, where both cannot be true.

Report in, pairs of sentences out. A denial contradicts a statement of the same finding if it reaches the same place
and kind: "no effusion" does, "no right effusion" or "no large effusion" beside "small left effusion" does not. What
is only possible neither contradicts nor is contradicted. "Lungs are clear" denies what lies in the lung, and "no acute
cardiopulmonary abnormality" what is acute; beside other findings radiologists write both.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.labeler import Evidence, explain_report, label_report
from eval.sentences import report_sentences
from vlm.findings import FINDING_INDEX, NEGATIVE, POSITIVE

IN_THE_LUNG = frozenset({"Lung Opacity", "Consolidation", "Pneumonia", "Edema"})
ACUTE = frozenset({"Consolidation", "Pneumonia", "Pneumothorax", "Pleural Effusion"})
_ONE_KIND = frozenset({"Cardiomegaly", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"})
"""Findings whose every name means the same; of the others "no infiltrate" leaves "linear opacity" possible."""

_BOTH = r"bilateral\w*|both|bibasilar|bibasal|biapical"
_PLACES = {
    "left": rf"left|lingula\w*|{_BOTH}",
    "right": rf"right|{_BOTH}",
    "upper": r"upper|apex|apices|apical|biapical|suprahilar",
    "middle": r"mid|middle|midlung|lingula\w*|hilar|hil(?:a|um)|perihilar|parahilar",
    "lower": r"lower|bases?|basilar|basal|bibasilar|bibasal|infrahilar|retrocardiac",
    "rib": r"ribs?|costal",
    "spine": r"spine|spinal|vertebra\w*|compression|endplate|thoracic|lumbar",
    "clavicle": r"clavic\w+",
    "arm": r"humer\w+|shoulders?|scapul\w+",
    "pelvis": r"pelvi\w+|hips?|femur|femoral",
}
_DIMENSIONS = ({"left", "right"}, {"upper", "middle", "lower"}, {"rib", "spine", "clavicle", "arm", "pelvis"})
    if stated:
        denied += _denials_of_the_acute(report)
    found: dict[str, Contradiction] = {}
    for statement in stated:
        if statement.finding in found:
            continue
        denial = next((denial for denial in denied if _excludes(denial, statement)), None)
        if denial is not None:
            found[statement.finding] = Contradiction(
                finding=statement.finding, stated=statement.sentence, denied=denial.sentence
            )
    return tuple(found.values())


def _mentions(evidence: Sequence[Evidence]) -> tuple[list[_Mention], list[_Mention]]:
    """What is stated and what is denied, each wording once; what is possible is left out."""
    stated, denied = {}, {}
    searched_to: dict[tuple[str, str, str], int] = {}
    for item in evidence:
        if not item.sentence:
            continue
        sentence = item.sentence.lower()
        parts = item.words.split(" … ")
        named = [part for part in parts if label_report(part)[FINDING_INDEX[item.finding]] == POSITIVE]
        words = named[0] if named else parts[-1]
        # Words that stand twice in a sentence are met twice, in the sentence's order.
        key = (item.finding, sentence, words)
        start = max(sentence.find(words, searched_to.get(key, 0)), 0)
        searched_to[key] = start + len(words)
        clause = _clause(sentence, start, start + len(words))
        is_clear_lung = item.finding == "Lung Opacity" and not named
        mention = _Mention(
            finding=item.finding,
            sentence=item.sentence,
            name=words if named else "",
            clause=clause,
            denies=IN_THE_LUNG if is_clear_lung else frozenset({item.finding}),
            places=frozenset(place for place, pattern in _PLACE_PATTERNS.items() if pattern.search(clause)),
            restrictions=frozenset(_RESTRICTS.findall(clause)),
        )
        kinds = {POSITIVE: stated, NEGATIVE: denied}
        if item.state in kinds:
            kinds[item.state].setdefault((item.finding, clause, mention.name), mention)
    return list(stated.values()), list(denied.values())


def _denials_of_the_acute(report: str) -> list[_Mention]:
    return [
        _Mention(finding="", sentence=sentence, name="", clause="", denies=ACUTE)
        for sentence in report_sentences(report)
        if _NOTHING_ACUTE.search(sentence.lower()) and not _WITH_EXCEPTION.search(sentence.lower())
    ]


def _clause(sentence: str, start: int, end: int) -> str:
    """The part of a sentence around a name, between commas and words that begin another thought."""
    breaks = list(_CLAUSE_END.finditer(sentence))
    first = max((mark.end() for mark in breaks if mark.end() <= start), default=0)
    last = min((mark.start() for mark in breaks if mark.start() >= end), default=len(sentence))
    return sentence[first:last]


def _excludes(denial: _Mention, statement: _Mention) -> bool:
    """Whether both cannot be true."""
    if statement.finding not in denial.denies or _NOT_QUITE_STATED.search(statement.clause):
        return False
    if _ON_ANOTHER_STUDY.search(denial.sentence.lower()):
        return False
    restrictions = denial.restrictions - statement.restrictions
    if statement.finding in _FOCAL and not _SPREAD.search(statement.clause):
        restrictions -= {"focal"}
    if restrictions:
        return False
    if denial.name and statement.finding not in _ONE_KIND and not _same_name(denial.name, statement.name):
        return False
    reached = (denial.places & dimension for dimension in _DIMENSIONS)
    return all(places & statement.places for places in reached if places)


def _same_name(first: str, second: str) -> bool:
    """Whether two names share a word, endings aside: "opacities", "focal opacity"."""
    words = [{word[:6] for word in _WORD.findall(name)} for name in (first, second)]
    return bool(words[0] & words[1])
