"""The claims of a report: all statements about one abnormality or device joined to one.

A report that names an effusion in its findings and in its impression makes one claim. Sides, zones and positions of all
its statements are united; the severity is kept for each side."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from data.reports.labeler.attributes import LARGE, SMALL
from data.reports.labeler.device_patterns import Position
from data.reports.labeler.statements import Statement, finding_of
from vlm.schema.findings import NEGATIVE, POSITIVE, SEVERITIES, UNCERTAIN, UNNAMED_SEVERITY

ZONED = frozenset({
    "lung opacity", "consolidation", "pneumonia", "aspiration", "atelectasis", "lung nodule", "lung mass",
    "interstitial opacity", "pneumothorax", "granuloma", "scar", "lung abscess", "contusion or hemorrhage",
})  # fmt: skip
"""Names whose zone in the lung matters."""
SIDED = ZONED | {
    "pleural effusion", "hemothorax or empyema", "pleural thickening", "blunted costophrenic angle", "rib fracture",
    "fracture", "old fracture", "volume loss", "subcutaneous emphysema", "elevated hemidiaphragm", "lymphadenopathy",
    "mediastinal shift", "chest tube", "PICC", "port", "central line", "dialysis catheter", "pacemaker",
    "surgical clips",
}  # fmt: skip
"""Names whose side matters."""


@dataclass(kw_only=True, slots=True)
class Claim:
    """`severities`: by side, "" without a side; `changes` and `positions`: of all statements, in order."""

    name: str
    is_certain: bool = False
    sides: set[str] = field(default_factory=set)
    zones: set[str] = field(default_factory=set)
    severities: dict[str, float] = field(default_factory=dict)
    size_mm: float | None = None
    count: int | None = None
    changes: list[str] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)

    @property
    def severity(self) -> float | None:
        return max(self.severities.values(), default=None)

    @property
    def is_device(self) -> bool:
        return finding_of(self.name) == "Support Devices"

    @property
    def is_misplaced(self) -> bool:
        return any(position.is_good is False for position in self.positions)

    def add(self, statement: Statement) -> None:
        own = statement.attributes
        # The labeler calls congestion a sign of edema, so uncertain; the congestion itself is stated.
        self.is_certain |= statement.state == POSITIVE or self.name == "vascular congestion"
        self.sides |= own.sides if self.name in SIDED else set()
        self.zones |= own.zones if self.name in ZONED else set()
        if statement.position:
            self.positions.append(statement.position)
        if self.is_device:
            return  # "4 cm" is a distance and "small bore" a type
        if own.severity is not None:
            for side in own.sides or ("",):
                self.severities[side] = max(own.severity, self.severities.get(side, 0.0))
        if own.size_mm is not None:
            self.size_mm = max(own.size_mm, self.size_mm or 0.0)
        self.count = own.count if self.count is None else self.count
        if own.change:
            self.changes.append(own.change)

    def describe(self) -> str:
        """The claim in words: "small left pleural effusion"."""
        side = "bilateral" if len(self.sides) == 2 else "".join(self.sides)
        zone = f"{next(iter(self.zones))}-zone" if len(self.zones) == 1 else ""
        words = ("" if self.is_certain else "possible", degree_words(self.severity), side, zone, self.name)
        return " ".join(filter(None, words)) + " in a bad position" * self.is_misplaced


def severity_code(severity: float | None) -> int:
    """Index in SEVERITIES of a severity that `attributes` read; 0 without one."""
    if severity is None:
        return UNNAMED_SEVERITY
    return SEVERITIES.index("small" if severity <= SMALL else "large" if severity >= LARGE else "moderate")


def degree_words(severity: float | None) -> str:
    """small, moderate or large; "" without a severity."""
    return SEVERITIES[severity_code(severity)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """`stated`: claims by name, `denied`: names that are denied anywhere, `contradicted`: names that are stated in one
    place and denied without any limit in another."""

    stated: dict[str, Claim]
    denied: frozenset[str]
    contradicted: frozenset[str]


_ONE_KIND = frozenset({
    "cardiomegaly", "consolidation", "pneumonia", "atelectasis", "pneumothorax", "pleural effusion", "pulmonary edema",
    "free air", "pneumomediastinum",
})  # fmt: skip
"""Names that mean one thing, so that a denial without limits contradicts every statement."""
_NOT_NOW = re.compile(r"\b(?:old|prior|previous\w*|resolv\w+|borderline|removed|history|chronic)\b", re.IGNORECASE)


def join_claims(statements: Sequence[Statement]) -> Claims:
    """The claims of a report from all its statements."""
    stated: dict[str, Claim] = {}
    for statement in statements:
        if statement.state in (POSITIVE, UNCERTAIN):
            stated.setdefault(statement.name, Claim(name=statement.name)).add(statement)
    denials = [statement for statement in statements if statement.state == NEGATIVE]
    return Claims(
        stated=stated,
        denied=frozenset(denial.name for denial in denials),
        contradicted=frozenset(_contradicted(statements, denials)),
    )


def _contradicted(statements: Iterable[Statement], denials: Sequence[Statement]) -> set[str]:
    plainly_denied = {denial.name for denial in denials if denial.is_plain and not _NOT_NOW.search(denial.sentence)}
    return {
        statement.name
        for statement in statements
        if statement.state == POSITIVE
        and statement.name in _ONE_KIND & plainly_denied
        and not _NOT_NOW.search(statement.sentence)
    }
