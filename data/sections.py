"""Splits a report as written into its sections, whatever its headings look like: text in, `Sections` out.

Headings (`data.section_headings`) may be upper, title or lower case, with or without a colon, on a line of their own or
inline, joined ("FINDINGS AND IMPRESSION"), marked up ("**Findings:**") or absent. Every word that is no heading
stands in exactly one section, in the order it was written; runs of blanks become one, line breaks stay.

- "Findings and impression" in one is findings.
- Where no heading says findings, a paragraph under no heading is findings (as in MIMIC-CXR's older reports), unless
  it only names the examination. A report without any heading is findings, but for a last paragraph that says it
  sums up ("In summary, …").
- An addendum adds to the impression where there is one, else to the findings; headings within it are followed.
- Technique, examination, signatures and who was told are `other`; so is a preliminary ("wet") read, unless nothing
  else describes the picture.
"""

import re
from dataclasses import dataclass, replace

from data.section_headings import EXAMINATION_NAME, find_headings


@dataclass(frozen=True, kw_only=True, slots=True)
class Sections:
    """The sections of a report; empty where it has none."""

    indication: str = ""
    comparison: str = ""
    findings: str = ""
    impression: str = ""
    other: str = ""


_SUMS_UP = re.compile(
    r"\W*(?:(?:in|to) (?:summary|conclusion|short|summari[sz]e|conclude)|overall|impression|conclusion)\b",
    re.IGNORECASE,
)
_RULE = re.compile(r"[_=*~-]{5,}")
_BLANK_LINES = re.compile(r"\n{2,}")
_LATER_LINES = re.compile(r"(?<=[.:])\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Paragraph:
    """`section` is "" before the first heading; `is_headed`: the heading stands right before it."""

    section: str
    is_headed: bool
    text: str


def split_sections(text: str) -> Sections:
    """The sections of a report written by anybody."""
    paragraphs = _paragraphs(_clean(text))
    if not any(paragraph.section == "findings" for paragraph in paragraphs):
        paragraphs = _find_findings(paragraphs)
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
    headings = find_headings(text)
    spans = [("", 0, headings[0].start if headings else len(text))]
    for number, heading in enumerate(headings):
        end = headings[number + 1].start if number + 1 < len(headings) else len(text)
        spans.append((heading.section, heading.end, end))
    return [
        _Paragraph(section=section, is_headed=section != "" and number == 0, text=paragraph.strip())
        for section, start, end in spans
        for number, paragraph in enumerate(_BLANK_LINES.split(text[start:end].strip()))
        if paragraph.strip()
    ]


def _find_findings(paragraphs: list[_Paragraph]) -> list[_Paragraph]:
    """Gives the paragraphs that describe the picture under no heading of their own to the findings."""
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
    """The last resort: "COMPARISON: None." and the description in the lines right below it."""
    for number, paragraph in reversed(list(enumerate(paragraphs))):
        lines = _LATER_LINES.split(paragraph.text, maxsplit=1)
        if paragraph.section in ("indication", "comparison", "other") and len(lines) > 1:
            pieces = [replace(paragraph, text=lines[0]), _Paragraph(section="findings", is_headed=False, text=lines[1])]
            return paragraphs[:number] + pieces + paragraphs[number + 1 :]
    return paragraphs
