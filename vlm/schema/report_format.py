"""A report's text: two sections written as one string, and read back from it.

The model learns and writes "Findings: … Impression: …"; a section that is empty is left out.
"""

import re
from dataclasses import dataclass

_HEADING = re.compile(r"\b(findings|impression)\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSections:
    """The two sections of a report; empty where the report has none."""

    findings: str = ""
    impression: str = ""


def compose_report(*, findings: str = "", impression: str = "") -> str:
    """One string of the sections, each after its heading; "" when both are blank."""
    parts = []
    if findings.strip():
        parts.append(f"Findings: {findings.strip()}")
    if impression.strip():
        parts.append(f"Impression: {impression.strip()}")
    return " ".join(parts)


def split_report(report: str) -> ReportSections:
    """The sections of a string that `compose_report` or a model wrote; text before any heading is findings."""
    sections = {"findings": [], "impression": []}
    current, start = "findings", 0
    for heading in _HEADING.finditer(report):
        sections[current].append(report[start : heading.start()].strip())
        current, start = heading.group(1).lower(), heading.end()
    sections[current].append(report[start:].strip())
    return ReportSections(**{name: " ".join(filter(None, texts)) for name, texts in sections.items()})


def report_body(report: str) -> str:
    """The report without its headings: what text metrics compare."""
    sections = split_report(report)
    return f"{sections.findings} {sections.impression}".strip()
