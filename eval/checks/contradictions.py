"""Contradictions within a report: a finding is stated in one place and denied in another, and both cannot be true.

A report goes in, pairs of sentences come out. A denial contradicts a statement of the same finding if it covers the
same location and type: "no effusion" contradicts "small left effusion", but "no right effusion" or "no large effusion"
does not. Uncertain mentions are ignored. "Lungs are clear" denies findings in the lung, and "no acute cardiopulmonary
abnormality" denies acute findings; radiologists write both beside other findings.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from data.reports.labeler.labeler import Evidence, explain_report, label_report
from eval.metrics.laterality import report_sentences
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, POSITIVE

MAX_MENTIONS = 400
"""Only this many mentions are checked, because degenerate reports repeat themselves."""
IN_THE_LUNG = frozenset({"Lung Opacity", "Consolidation", "Pneumonia", "Edema"})
ACUTE = frozenset({"Consolidation", "Pneumonia", "Pneumothorax", "Pleural Effusion"})
_ONE_KIND = frozenset({"Cardiomegaly", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"})
"""Findings whose names are all synonyms. For the others, "no infiltrate" does not exclude "linear opacity"."""

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
_PLACE_PATTERNS = {place: re.compile(rf"\b(?:{words})\b") for place, words in _PLACES.items()}
_RESTRICTS = re.compile(
    r"\b(?:acute(?:ly)?|active|new(?:ly)?|large|larger|big|massive|signific\w+|siz(?:e)?able|substantial|overt|frank|gross|"
    r"grossly|displaced|suspicious|dense|tension|interval|enlarging|worsening|increas\w+|other|otherwise|further|"
    r"additional|elsewhere|remain\w*|rest|definite(?:ly)?|discrete|convincing|consolidat(?:ive|ing)|alveolar|interstitial|"
    r"loculated|layering|free|lobar|segmental|confluent|noncalcified|non-calcified|cavitary|laryngeal|focal|visible|visuali\w+|"
    r"obvious|appreciable|measurable|well|relatively|essentially|mostly|largely|generally|develop(?:ing|ed)|near|top|"
    r"upper limits?|prior|previous\w*|x{3,})\b|_{3,}"
)
"""Words that restrict a denial to a type or degree; it then only denies statements with the same word. A placeholder of
a removed word may be any of them."""
_FOCAL = frozenset({"Consolidation", "Pneumonia"})
"""Findings that are usually focal: "no focal consolidation" denies them unless they are described as spread."""
_SPREAD = re.compile(rf"\b(?:{_BOTH}|diffuse\w*|multifocal|scattered|extensive|patchy)\b")
_NOT_QUITE_STATED = re.compile(
    r"\b(?:old|healed|healing|remote|chronic\w*|prior|previous\w*|resolv\w+|residual|post\w*|borderline|normal)\b"
)
_NOTHING_ACUTE = re.compile(
    r"\b(?:no|without)(?: (?:evidence of|sign of|radiographic|definite|an|any))* (?:acute|active)"
    r"(?: or (?:acute|active))?"
    r"(?:(?: or|/| and|-)? ?(?:cardio-?pulmonary|cardiac|pulmonary|intrathoracic|thoracic|chest|lung))* "
    r"(?:disease|process(?:es)?|abnormalit(?:y|ies)|findings?|pathology)\b(?! (?:since|of|in))"
)
_WITH_EXCEPTION = re.compile(r"\b(?:other|otherwise|except|besides|aside|apart|new|but|however)\b")
_ON_ANOTHER_STUDY = re.compile(r"\b(?:on|in|at|from) (?:\w+ )?(?:priors?|previous|earlier|comparison)\b")
_CLAUSE_END = re.compile(
    r"[,;:]\s*|\b(?:but|with|without|while|although|though|however|which|except|compared)\b|"
    r"\band\b(?!\s+(?:left|right|upper|lower|middle|mid)\b)"
)
_WORD = re.compile(r"[a-z]{4,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contradiction:
    """A finding with the sentence that states it and the sentence that denies it (possibly the same)."""

    finding: str
    stated: str
    denied: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mention:
    """A mention of a finding in its clause; `name` is empty if a structure is described as normal or abnormal instead.

    `denies`: the findings that a denial covers.
    """

    finding: str
    sentence: str
    name: str
    clause: str
    denies: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    restrictions: frozenset[str] = frozenset()


def contradictions(
    report: str, explain: Callable[[str], Sequence[Evidence]] = explain_report
) -> tuple[Contradiction, ...]:
    """One contradiction per finding that the report both states and denies, in the order of the statements."""
    stated, denied = _mentions(explain(report))
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
    """Stated and denied mentions, each wording once; uncertain mentions are left out."""
    stated, denied = {}, {}
    breaks_of: dict[str, list[tuple[int, int]]] = {}
    searched_to: dict[tuple[str, str, str], int] = {}
    for item in evidence[:MAX_MENTIONS]:
        if not item.sentence:
            continue
        sentence = item.sentence.lower()
        if item.sentence not in breaks_of:
            breaks_of[item.sentence] = [mark.span() for mark in _CLAUSE_END.finditer(sentence)]
        parts = item.words.split(" … ")
        named = [part for part in parts if label_report(part)[FINDING_INDEX[item.finding]] == POSITIVE]
        words = named[0] if named else parts[-1]
        # Words that occur twice in a sentence are found in order.
        key = (item.finding, item.sentence, words)
        start = max(sentence.find(words, searched_to.get(key, 0)), 0)
        searched_to[key] = start + len(words)
        clause = _clause(sentence, start, start + len(words), breaks_of[item.sentence])
        is_clear_lung = item.finding == "Lung Opacity" and not named
        mention = _Mention(
            finding=item.finding,
            sentence=item.sentence,
            name=words if named else "",
            clause=clause,
            denies=IN_THE_LUNG if is_clear_lung else frozenset({item.finding}),
            places=frozenset(place for place, pattern in _PLACE_PATTERNS.items() if _speaks(pattern, clause)),
            restrictions=_restrictions(clause) | _restrictions(item.words),
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


def _clause(sentence: str, start: int, end: int, breaks: Sequence[tuple[int, int]]) -> str:
    """The clause around a name, between commas and conjunctions."""
    first = max((after for _, after in breaks if after <= start), default=0)
    last = min((before for before, _ in breaks if before >= end), default=len(sentence))
    return sentence[first:last]


@lru_cache(maxsize=256)
def _speaks(pattern: re.Pattern, text: str) -> bool:
    """Cached, because the mentions of a repetitive report share one long clause."""
    return pattern.search(text) is not None


@lru_cache(maxsize=256)
def _restrictions(words: str) -> frozenset[str]:
    return frozenset(_RESTRICTS.findall(words))


def _excludes(denial: _Mention, statement: _Mention) -> bool:
    """Whether denial and statement cannot both be true."""
    if statement.finding not in denial.denies or _speaks(_NOT_QUITE_STATED, statement.clause):
        return False
    if _speaks(_ON_ANOTHER_STUDY, denial.sentence.lower()):
        return False
    restrictions = denial.restrictions - statement.restrictions
    if statement.finding in _FOCAL and not _speaks(_SPREAD, statement.clause):
        restrictions -= {"focal"}
    if restrictions:
        return False
    if denial.name and statement.finding not in _ONE_KIND and not _same_name(denial.name, statement.name):
        return False
    reached = (denial.places & dimension for dimension in _DIMENSIONS)
    return all(places & statement.places for places in reached if places)


def _same_name(first: str, second: str) -> bool:
    """Whether two names share a word stem, such as "opacities" and "focal opacity"."""
    words = [{word[:6] for word in _WORD.findall(name)} for name in (first, second)]
    return bool(words[0] & words[1])
