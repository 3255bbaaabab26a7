"""Write out what a report only marks: answers of forms, and the letters L and R.

The state of a finding can stand behind a colon, a question mark or a dash, in a cell of a table, or in a box.
`write_out` puts a colon before every answer ("Pneumothorax? No" becomes "Pneumothorax: No"), and `box_statements` does
the same for boxes. `parser` then reads the answers with the patterns below, which are in lower case. `write_out_sides`
writes "left" and "right" for letters."""

import re

from data.reports.labeler.context_patterns import SEEN
from data.reports.plain_text import BOX

_WHERE = (
    r"(?:,? (?:at all|bilaterally|either|today|now|currently|of (?:note|concern|significance)|"
    r"(?:on|in|at) (?:both|either|the|this|that|these|any)(?: \w+){1,2}?))?"
)
_END = r"(?= ?(?:[.,;|)]|$|but (?!possib|not excl|can)|and )| [a-z][a-z /]{2,30}: )"

_DENIED = (
    rf"(?:there (?:is|are) |is |are )?(?:no(?:ne)?|nil|neg(?:ative)?|absent|absence|n|0|false|denie[sd]|without|"
    rf"excluded|ruled out|not|never|nothing){_WHERE}",
    rf"(?:(?:is|are|was|were|has been|have been) )?(?:none|nil|not|no longer|never|nothing|no)"
    rf"(?: (?!well|clearly|fully|as)\w+)? {SEEN}{_WHERE}",
    rf"(?:no|none|without)(?: \w+)? (?:evidence|signs?|suggestion)(?: of)?{_WHERE}",
    r"none (?:acute|significant|new|large|definite)",
    r"no(?: definite| significant| acute| obvious| large| visible| focal| gross){1,2}",
    r"no(?! other| new| change| further)(?: \w+){0,4} (?:abnormalit(?:y|ies)|findings?|disease|process)",
    rf"(?:(?:has|have|is|are|now|since|completely|fully|totally|entirely|interval) ){{0,3}}"
    rf"(?:resolved|cleared|gone|disappeared|resolution|removed)(?: (?:completely|fully|entirely))?{_WHERE}",
    rf"(?:(?:felt|thought|considered|highly|very|most|extremely) ){{0,2}}unlikely{_WHERE}",
    rf"not (?:\w+ )?(?:suspected|likely){_WHERE}",
    r"(?:left|right)(?: side)? (?:none|no|nil|absent|negative)",
    r"[-–✗✘]",
)
_DOUBTED = (
    r"unlikely but",
    r"(?:(?:is|are|this|it) )?(?:can ?not|can't|could not|may not|difficult to|hard to|not|"
    r"unable to)(?: be)?(?: \w+ly)? "
    r"(?:exclude[ds]?|rule[ds]? out|r/o)",
    r"possibl[ey]|probabl[ey]|suspected|suspicious|likely|questionable|question(?:ed)?|equivocal|indeterminate|"
    r"uncertain|unsure|unclear|borderline|maybe|perhaps|doubtful|suggested|considered|"
    r"(?:can ?not|can't) (?:tell|say)|\?|rule out|r/o",
)
_NOT_ASSESSED = (
    r"(?:not|can ?not be|can't be|could not be)(?: \w+ly)? (?:assess(?:ed|able)|evaluated|applicable|reported|examined|"
    r"evaluable)|n/?a|unknown"
)
_STATED = (
    r"(?:yes|y|present|positive|pos|true|seen|confirmed|[+✓✔]|"
    r"(?:(?:small|trace|tiny|mild|moderate|large|minimal|severe|slight|left|right|bilateral|unchanged|stable) ?){1,3})"
)

NOT_ASSESSED_ENTRY = rf": ?(?:{_NOT_ASSESSED})(?: \w+){{0,6}}?{_END}"
DENIED_ENTRY = rf": ?(?:\((?:no|none|absent|negative|[-–−])\)|(?:{'|'.join(_DENIED)}){_END})"
DOUBTED_ENTRY = rf": ?\(?(?:{'|'.join(_DOUBTED)})(?![\w-])"

_ANSWER = "|".join((_NOT_ASSESSED, *_DENIED, *_DOUBTED, _STATED))
_SIGN = re.compile(
    r"(?<=[\w)])(?:"
    rf"(?: ?(?:[=?|：\t]|->|→|⇒) ?| [-–—]+ | ?\.{{3,}} ?)(?=(?:{_ANSWER})\s*(?:[.,;|]|$))|"
    r"\? (?=yes,)| : ?| (?=\((?:no|none|absent|negative|yes|present|positive)\)))",
    re.IGNORECASE,
)
_MAY_HAVE_SIGN = re.compile(r"[=?|：→⇒\t(]|->| [-–—:]|\.{3}")

_BOX = re.compile(BOX)
_IS_CHECKED = re.compile(r"[xX✓✔*☑☒■]")
_OPTION = re.compile(rf"(?:{_ANSWER})(?=[ .,;:|/]|$)", re.IGNORECASE)


def write_out(text: str) -> str:
    """The text with a colon before every answer of a form."""
    return _SIGN.sub(": ", text) if _MAY_HAVE_SIGN.search(text) else text


_LETTER = r"(?:[RL]|Rt|Lt)\b"
_BEHIND_LETTER = (
    r"(?i:lungs?|chest|hemi\w+|pleura\w*|effusions?|(?:hydro|hemo)?pneumo\w+|(?:hydro|hemo)thorax|ptx|bas(?:al|e|es|ilar)|"
    r"ap(?:ex|ical)|upper|lower|mid(?:dle)?|(?:peri|infra|supra|para)?-?hil(?:ar|um|a)|retro-?cardiac|costo\w+|"
    r"cp angle|ribs?|\d{1,2}(?:st|nd|rd|th) ribs?|clavicle|ij|internal|subclavian|picc|side|sided|lobe|opacit\w+|"
    r"consolidations?|atelectasis|infiltrates?|nodules?|mass|small|moderate|large|tiny|trace|mild|minimal|severe|"
    r"loculated|hazy|patchy)\b"
)
_SIDE_LETTER = re.compile(
    rf"(?<![\w/&.-])(?P<one>{_LETTER}) ?"
    rf"(?P<sign>[<>]{{1,2}}|(?i:and|greater than|more than|less than)|[&/+]) ?(?P<other>{_LETTER})(?![/.]\w)|"
    rf"(?<![\w/&.-])(?<!\d )(?<!PA and )(?<!AP and )(?<!Dr )(?<![Oo]ne )"
    rf"(?P<before>{_LETTER})(?=-sided| {_BEHIND_LETTER})|"
    rf"\b(?<=(?i:on|in) (?i:the) )(?P<behind>{_LETTER})(?=[,;:)]|\.?$)"
)
_ANY_LETTER = re.compile(rf"\b{_LETTER}")
_SIDE_OF_LETTER = {"R": "right", "L": "left"}


def write_out_sides(sentence: str) -> str:
    """The sentence with "left" and "right" for the letters L and R (also Lt and Rt), if all of them name a side.

    L is also a liter, a vertebra, a lateral view or a name. So a word of the chest must follow, or the other side, or
    "on the" comes before it. If one letter is left over, none is written out: half of "R, L effusions" is wrong.
    """
    if not _ANY_LETTER.search(sentence):
        return sentence
    written = _SIDE_LETTER.sub(_written_out, sentence)
    return sentence if _ANY_LETTER.search(written) else written


def _written_out(match: re.Match) -> str:
    if one := match["before"] or match["behind"]:
        return _SIDE_OF_LETTER[one[0]]
    one, other = (_SIDE_OF_LETTER[match[name][0]] for name in ("one", "other"))
    if one == other:
        return match[0]
    sign = match["sign"].lower()
    if sign in ("and", "&", "/", "+"):
        return f"{one} and {other}"
    return f"{other} > {one}" if sign.startswith(("<", "less")) else f"{one} > {other}"


def has_boxes(text: str) -> bool:
    return _BOX.search(text) is not None


def box_statements(sentence: str) -> list[str]:
    """The sentence, or what its checked boxes state.

    A box belongs to the words behind it ("[x] No [ ] Yes"), or to those before it if the last box ends the sentence. A
    finding whose box is empty is absent; an answer whose box is empty is not given.
    """
    boxes = list(_BOX.finditer(sentence))
    if not boxes:
        return [sentence]
    starts, ends = [box.start() for box in boxes], [box.end() for box in boxes]
    before = [sentence[one:other] for one, other in zip([0, *ends], [*starts, len(sentence)], strict=True)]
    first, *rest = (words.strip(" .,;:|/") for words in before)
    if first and rest and not rest[-1]:
        subject, _, option = first.rpartition(":") if ":" in first else ("", "", first)
        options = [option.strip(), *rest[:-1]]
    else:
        subject, options = first, rest
    statements = []
    for box, option in zip(boxes, options, strict=True):
        is_checked = _IS_CHECKED.search(box.group()) is not None
        answer = _OPTION.match(option)
        if subject and answer:
            if is_checked:
                statements.append(f"{subject.rstrip(': ')}: {answer.group().strip()}.")
            if later := option[answer.end() :].strip(" .,;:|/"):
                subject = later
        elif option:
            statements.append(f"{option}." if is_checked else f"{option}: no.")
    return statements
