"""Split a free-text report into its sections: text in, `Sections` out.

Headings may be upper, title or lower case, with or without a colon, on a line of their own or inline, joined
("FINDINGS AND IMPRESSION"), marked up ("**Findings:**") or missing. Every word that is not part of a heading goes into
exactly one section, in the original order. Runs of blanks become one blank, line breaks stay.

- A joint section "Findings and impression" counts as findings.
- If no heading says findings, paragraphs without a heading are findings (as in older reports of MIMIC-CXR), unless they
  only name the examination. A report without any heading is findings, except a last paragraph that sums up
  ("In summary, …").
- An addendum belongs to the impression if there is one, otherwise to the findings. Headings inside it are followed.
- Technique, examination, signatures and notifications are `other`. A preliminary ("wet") read is `other` too, unless
  nothing else describes the image.

Patterns are written in lower case and match any case; a space matches any spaces within a line."""

import re
from dataclasses import dataclass, replace

_STUDY = r"(?:this |the )?(?:exam(?:ination)?|study|procedure|visit|request|x-?ray|film|test)s?"

HEADINGS = {
    "findings": (
        r"(?:(?:pertinent|radiographic|radiological|radiology|imaging|image|chest|key|cxr|x-?ray) )?findings?"
        r"(?: (?:in|of) the chest)?",
        r"imaging (?:notes?|description)|(?:radiology )?report|description|observations?|results?|comments?|body",
    ),
    "impression": (
        r"(?:(?:final|overall|diagnostic|radiographic|radiological|clinical) )?impressions?|pression|impresson|imp",
        r"conclusions?|opinions?|summary|interpretation|assessment|(?:final |radiological )?diagnos[ie]s",
        r"recommendations?",
    ),
    "indication": (
        rf"(?:clinical |study )?indications?(?: for {_STUDY})?|reasons?(?: for {_STUDY})?",
        r"(?:(?:clinical|patient|brief|relevant|medical|past medical|past|present) )?(?:history|hx)"
        r"(?: of present illness)?",
        r"clinical (?:information|info|data|details|statement|question|context|background|notes?|problem|diagnosis)",
        r"(?:chief |presenting )?complaints?|presentation|symptoms?|background|clinical|underlying medical condition",
        r"(?:admitting|admission|ordering|referral|working) diagnosis",
    ),
    "comparison": (
        r"comparisons?(?: (?:to|with))?(?: (?:stud(?:y|ies)|exam(?:ination)?s?|films?|images?|dates?))?",
        r"(?:prior|previous|comparative|reference) (?:stud(?:y|ies)|exam(?:ination)?s?|films?|data|imaging|images)",
        r"priors",
    ),
    "other": (
        r"(?:final|preliminary|provisional|official)(?: radiology)? report|techniques?|views?|projections?|protocol",
        r"(?:type of |name of )?(?:exam(?:ination)?|procedure|study)(?: (?:type|date|name|description|performed))?",
        r"notifications?|communication|discussion|limitations?|dose|contrast|dates?(?: of (?:exam|service))?",
    ),
    "addendum": (r"(?:end of )?addend(?:um|a)(?: (?:#? ?\d{1,2}|to (?:report|impression|findings)))?",),
    "preliminary": (r"(?:wet|preliminary|prelim|resident|provisional|stat) (?:read(?:ing)?|findings?|interpretation)",),
}

CLOSINGS = (
    r"electronically (?:signed|approved|verified|reviewed)",
    r"(?:dictated|signed|transcribed|approved|reported|read|reviewed|verified|interpreted|finalized|authenticated)"
    r"(?: and \w+)?(?: electronically)? (?:by|on)",
    r"(?:signature|(?:(?:attending|reporting|interpreting|reading) )?radiologist|attending|transcriptionist) ?:",
    r"end of (?:the )?report|i have (?:personally )?reviewed",
)
"""Beginnings of the signature of a report. They are not headings: their words are kept."""

_FRAGMENT = (
    r"(?:[ap]\.?m\.?|chest|cxr|thorax|pa|ap|lateral|lat|frontal|portable|upright|erect|supine|semi-?upright|"
    r"semi-?erect|single|one|two|three|views?|x-?rays?|radiographs?|radiography|films?|study|examination|exam|of|the|and|a|an|with|at|on|from|"
    r"dated?|obtained|performed|images?|\d[\d_:/.-]*+|x{4,})"
)
EXAMINATION_NAME = re.compile(rf"[\W_]*+(?:{_FRAGMENT}(?![^\W_])[\W_]*+)*+", re.IGNORECASE)
"""Fully matches a text that only names the examination: "PORTABLE CHEST, 2 VIEWS". Possessive, because blanks and dots
could otherwise match in exponentially many ways."""

_SELF_EVIDENT = {"findings", "impression", "indication", "comparison", "technique", "conclusion", "opinion"}
_SELF_EVIDENT |= {"history", "clinical history", "clinical indication", "clinical information", "examination"}
"""Upper-case names that are headings if only a capitalized word or a number follows."""
_NEVER_A_SUBJECT = {"impression", "indication", "technique"}
"""The same in upper-case text: "IMPRESSION NO ACUTE DISEASE", but not "FINDINGS SUGGEST PNEUMONIA"."""

_NAME = "|".join(name for names in HEADINGS.values() for name in names)
_NAME_OF_SECTION = "|".join(f"(?P<{section}>{'|'.join(names)})" for section, names in HEADINGS.items())
_HEADING = re.compile(
    rf"(?<![\w-])(?:{_NAME_OF_SECTION})(?:\(s\))?(?P<joined>(?: ?(?:\band\b|&|/|,) ?(?:{_NAME}))*)(?![\w-])",
    re.IGNORECASE,
)
_JOINT = re.compile(r" ?(?:\band\b|&|/|,) ?", re.IGNORECASE)
_MARK = re.compile(
    r"(?P<colon>(?: ?\([^()\n]{1,30}\))?[ *_]{0,3}[:：](?:(?!___)[*_]{1,3})?)|(?P<dash> ?[-–—](?= ))|"
    # "___" alone is the text of the section, not an ornament.
    r"(?P<line_end>(?= ?___$)|(?![*_ ]*(?<!_)___(?!_))[*_ ]{0,4}$)|"
    r"(?P<capital>(?= [A-Z][a-z]| \d{1,2}[.)]))|(?P<capitals>(?= [A-Z]+\b))|(?P<nothing>)",
    re.MULTILINE,
)
_LINE_START = re.compile(r"(?!.*___)[*_#>• ]{0,6}(?:\d{1,2}[.)] ?)?[*_]{0,3}")
_LONGEST_LINE_START = 13
"""Maximum number of characters that _LINE_START can match."""
_CLOSING = re.compile(rf"(?<!\w)(?:{'|'.join(CLOSINGS)})(?!\w)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """The heading is the text from `start` to `end` (empty for a closing); its `section` begins at `end`."""

    section: str
    start: int
    end: int


def find_headings(text: str) -> list[Heading]:
    """The headings and closings in order. The lines of the text have single blanks."""
    found = [heading for match in _HEADING.finditer(text) if (heading := _heading(text, match))]
    found += [
        Heading(section="closing", start=match.start(), end=match.start())
        for match in _CLOSING.finditer(text)
        if _begins_line(text, match.start()) or _follows_sentence(text, match.start())
    ]
    ordered = []
    for heading in sorted(found, key=lambda heading: heading.start):
        if not ordered or heading.start >= ordered[-1].end:
            ordered.append(heading)
    return ordered


def _heading(text: str, match: re.Match) -> Heading | None:
    begins_line = _begins_line(text, match.start())
    begins = begins_line or _follows_sentence(text, match.start())
    name, mark = match.group(), _MARK.match(text, match.end())
    kind = mark.lastgroup
    if kind == "colon":
        is_heading = begins or not name.islower()
    elif kind in ("line_end", "dash"):
        is_heading = (begins if kind == "line_end" else begins_line) and not name.islower()
    else:
        plain = _SELF_EVIDENT if kind == "capital" else _NEVER_A_SUBJECT if kind == "capitals" else ()
        is_heading = begins and name.isupper() and name.lower() in plain
    if not is_heading or (not begins and _ends_examination_name(text, mark.start())):
        return None
    start = text.rfind("\n", 0, match.start()) + 1 if begins_line else match.start()
    return Heading(section=_section(match), start=start, end=mark.end())


def _ends_examination_name(text: str, end: int) -> bool:
    """Whether the words before the colon name an examination: "CHEST, TWO VIEWS:"."""
    start = max(text.rfind(mark, max(0, end - 80), end) + 1 for mark in (". ", "; ", "\n"))
    return 0 < end - start <= 80 and EXAMINATION_NAME.fullmatch(text, start, end) is not None


def _begins_line(text: str, position: int) -> bool:
    start = text.rfind("\n", max(0, position - _LONGEST_LINE_START - 1), position) + 1
    if position - start > _LONGEST_LINE_START:  # or the line starts before the part that was searched
        return False
    return _LINE_START.fullmatch(text, start, position) is not None


def _follows_sentence(text: str, position: int) -> bool:
    return text[max(0, position - 8) : position].rstrip(" *_#>•")[-1:] in tuple(".;!?)]")


def _section(match: re.Match) -> str:
    """The section of a heading. If names are joined, the one that describes the image decides."""
    matches = [match, *map(_HEADING.fullmatch, _JOINT.split(match.group("joined"))[1:])]
    sections = [next(section for section in HEADINGS if one.group(section)) for one in matches]
    return next((section for section in ("findings", "impression") if section in sections), sections[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Sections:
    """The sections of a report; a missing one is empty."""

    indication: str = ""
    comparison: str = ""
    findings: str = ""
    impression: str = ""
    other: str = ""


_SUMS_UP = re.compile(
    r"\W*(?:(?:in|to) (?:summary|conclusion|short|summari[sz]e|conclude)|overall|impression|conclusion)\b",
    re.IGNORECASE,
)
_BEFORE_FINDINGS = ("indication", "comparison", "other")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_DESCRIBES = re.compile(
    r"\b(?:lungs?|heart|cardiac|cardio\w+|mediastin\w+|pleural?|effusions?|pneumothora\w+|consolidat\w+|opacit\w+|"
    r"infiltrat\w*|atelecta\w+|edema|silhouette|nodules?|hil(?:a|ar|um)|costophrenic|pneumonia|airspace|ribs?|aorta|"
    r"catheter|tube|normal|clear|unremarkable|acute)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\b(?:rule out|r/o|evaluat\w+|assess\w*|history|hx|h/o|s/p|status post|years?|y/?o|please|concern|question|"
    r"suspect\w*|known|query|patient|fever|cough|pain|dyspnea|shortness|compar\w+|prior|previous)\b|\?",
    re.IGNORECASE,
)
"""Words of history, questions and comparisons rather than of findings."""
_NAME_WITH_COLON = re.compile(r"(?:(?<=[.;!?] )|(?<=\n))(?P<name>[A-Za-z0-9][\w ,()/&-]{2,80}):\s")
_RULE = re.compile(r"[_=*~-]{5,}")
_BLANK_LINES = re.compile(r"\n{2,}")
_LATER_LINES = re.compile(r"(?<=[.:])\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Paragraph:
    """`section` is "" before the first heading. `is_headed`: the heading is directly before the paragraph."""

    section: str
    is_headed: bool
    text: str


def split_sections(text: str) -> Sections:
    """Split a report from any source."""
    paragraphs = _paragraphs(_clean(text))
    if not any(paragraph.section == "findings" for paragraph in paragraphs):
        paragraphs = _find_findings(_after_examination_name(paragraphs))
    sections = {paragraph.section for paragraph in paragraphs}
    places = {name: name for name in Sections.__dataclass_fields__}
    places["addendum"] = "impression" if "impression" in sections else "findings"
    places["preliminary"] = "other" if sections & {"findings", "impression"} else "findings"
    parts = {name: [] for name in Sections.__dataclass_fields__}
    for paragraph in paragraphs:
        parts[places.get(paragraph.section, "other")].append(paragraph.text)
    return Sections(**{name: "\n\n".join(texts) for name, texts in parts.items()})


def _clean(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.replace("\ufeff", "").splitlines())
    return "\n".join("" if _RULE.fullmatch(line) else line for line in lines)


def _paragraphs(text: str) -> list[_Paragraph]:
    headings = [Heading(section="", start=0, end=0), *find_headings(text)]
    ends = [*(heading.start for heading in headings[1:]), len(text)]
    spans = [(heading.section, heading.end, end) for heading, end in zip(headings, ends, strict=True)]
    return [
        _Paragraph(section=section, is_headed=section != "" and number == 0, text=paragraph.strip())
        for section, start, end in spans
        for number, paragraph in enumerate(_BLANK_LINES.split(text[start:end].strip()))
        if paragraph.strip()
    ]


def _find_findings(paragraphs: list[_Paragraph]) -> list[_Paragraph]:
    """Assign paragraphs that describe the image and have no heading of their own to the findings."""
    found, summed_up = [], False
    for paragraph in paragraphs:
        section = paragraph.section
        summed_up = summed_up or section == "impression"
        claimed = paragraph.is_headed or summed_up or section in ("addendum", "preliminary", "closing")
        if not claimed and not EXAMINATION_NAME.fullmatch(paragraph.text):
            section = "findings"
        found.append(replace(paragraph, section=section))
    described = [number for number, paragraph in enumerate(found) if paragraph.section == "findings"]
    if not described and not summed_up:
        return _after_first_line(found)
    if not summed_up and len(described) > 1 and _SUMS_UP.match(found[described[-1]].text):
        found[described[-1]] = replace(found[described[-1]], section="impression")
    return found


def _after_first_line(paragraphs: list[_Paragraph]) -> list[_Paragraph]:
    """The last resort: findings in the lines directly below "COMPARISON: None."."""
    for number, paragraph in reversed(list(enumerate(paragraphs))):
        lines = _LATER_LINES.split(paragraph.text, maxsplit=1)
        if paragraph.section in ("indication", "comparison", "other") and len(lines) > 1:
            pieces = [replace(paragraph, text=lines[0]), _Paragraph(section="findings", is_headed=False, text=lines[1])]
            return paragraphs[:number] + pieces + paragraphs[number + 1 :]
    return _after_first_sentence(paragraphs)


def _after_first_sentence(paragraphs: list[_Paragraph]) -> list[_Paragraph]:
    """Findings behind the first sentence of the last section: "INDICATION: Pain. Two views. The heart is normal."."""
    for number, paragraph in reversed(list(enumerate(paragraphs))):
        if paragraph.section not in _BEFORE_FINDINGS:
            continue
        first, *sentences = _SENTENCE_END.split(paragraph.text)
        is_finding = [_DESCRIBES.search(sentence) and not _ASKS.search(sentence) for sentence in sentences]
        if not any(is_finding):
            continue
        begin = is_finding.index(next(filter(None, is_finding)))
        names = [sentence for sentence in sentences[:begin] if EXAMINATION_NAME.fullmatch(sentence)]
        kept = [first, *(sentence for sentence in sentences[:begin] if sentence not in names)]
        pieces = [replace(paragraph, text=" ".join(kept))]
        pieces += [_Paragraph(section="other", is_headed=False, text=name) for name in names]
        pieces.append(_Paragraph(section="findings", is_headed=False, text=" ".join(sentences[begin:])))
        return paragraphs[:number] + pieces + paragraphs[number + 1 :]
    return paragraphs


def _after_examination_name(paragraphs: list[_Paragraph]) -> list[_Paragraph]:
    """Findings behind the name of the examination within a section: "HISTORY: Pain. CHEST PA: The heart is normal."."""
    found = []
    for paragraph in paragraphs:
        name = None
        if paragraph.section in _BEFORE_FINDINGS:
            names = (match for match in _NAME_WITH_COLON.finditer(paragraph.text) if match.start())
            name = next((match for match in names if EXAMINATION_NAME.fullmatch(match["name"])), None)
        if name and (text := paragraph.text[name.end() :].strip()):
            found.append(replace(paragraph, text=paragraph.text[: name.start()].strip()))
            found.append(_Paragraph(section="other", is_headed=False, text=name["name"]))
            found.append(_Paragraph(section="findings", is_headed=True, text=text))
        else:
            found.append(paragraph)
    return found
