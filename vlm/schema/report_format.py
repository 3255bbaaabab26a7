"""The format of a report: "Findings: … Impression: …" as one string; an empty section is left out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_HEADING = re.compile(r"\b(findings|impression)\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSections:
    """The two sections of a report; a missing section is empty."""

    findings: str = ""
    impression: str = ""


def compose_report(*, findings: str = "", impression: str = "") -> str:
    """Join the sections, each after its heading; "" if both are blank."""
    sections = {"Findings": findings.strip(), "Impression": impression.strip()}
    return " ".join(f"{heading}: {text}" for heading, text in sections.items() if text)


def report_of(row: Mapping[str, Any]) -> str:
    """The report of a row of a prepared data set."""
    return compose_report(findings=row["findings"], impression=row["impression"])


def reports_of(studies: Any) -> list[str]:
    """The report of each row of a `datasets.Dataset`, "" for a study without one."""
    sections = zip(studies["findings"][:], studies["impression"][:], strict=True)
    return [compose_report(findings=findings, impression=impression) for findings, impression in sections]


@lru_cache(maxsize=1024)
def split_report(report: str) -> ReportSections:
    """Split a report of `compose_report` or of a model; text before the first heading belongs to the findings."""
    sections = {"findings": [], "impression": []}
    current, start = "findings", 0
    for heading in _HEADING.finditer(report):
        sections[current].append(report[start : heading.start()].strip())
        current, start = heading.group(1).lower(), heading.end()
    sections[current].append(report[start:].strip())
    return ReportSections(**{name: " ".join(filter(None, texts)) for name, texts in sections.items()})


def report_body(report: str) -> str:
    """The report without its headings, for text metrics."""
    sections = split_report(report)
    return f"{sections.findings} {sections.impression}".strip()
