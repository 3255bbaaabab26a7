"""The training data of a checkpoint: `training_data.json` beside its weights.

A run that starts from other weights copies their record, so that every source and license is listed.
"""

from dataclasses import dataclass
from pathlib import Path

from vlm.schema.strict_json import read_json, to_json

PROVENANCE_FILE = "training_data.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedStudies:
    """Studies of one source in one split of a run; the weights were chosen on `validation`."""

    split: str
    source: str
    license: str
    num_studies: int
    num_with_report: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """One program run on some studies."""

    program: str
    """Empty for weights without a record; `what` names them."""
    what: str
    """Description of what was learned and which weights were trained."""
    studies: tuple[LearnedStudies, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """All runs, in order."""

    runs: tuple[TrainingRun, ...] = ()

    @property
    def studies(self) -> tuple[LearnedStudies, ...]:
        return tuple(studies for run in self.runs for studies in run.studies)

    @property
    def licenses(self) -> tuple[str, ...]:
        return tuple(sorted({studies.license for studies in self.studies} - {""}))

    @property
    def sources(self) -> tuple[str, ...]:
        """Listed in the order of their first use."""
        return tuple(dict.fromkeys(studies.source for studies in self.studies))


def save_provenance(folder: Path, provenance: Provenance) -> None:
    (folder / PROVENANCE_FILE).write_text(to_json(provenance), encoding="utf-8")


def load_provenance(folder: Path) -> Provenance:
    """The record of a folder of weights; without a file, it states that there is none.

    Raises:
        ValueError: the file is damaged.
    """
    if (folder / PROVENANCE_FILE).is_file():
        return read_json(folder / PROVENANCE_FILE, Provenance)
    return unrecorded(folder.name)


def unrecorded(name: str) -> Provenance:
    """The provenance of weights without a record."""
    return Provenance(runs=(TrainingRun(program="", what=f"{name}, without a record of its training data"),))


def provenance_table(provenance: Provenance) -> str:
    """Markdown: the list of runs, then a table with one row per source, split and run."""
    runs = [
        f"{number}. {run.program or 'External weights'}: {run.what}"
        for number, run in enumerate(provenance.runs, start=1)
    ]
    rows = [
        f"| {number} | {studies.split} | {studies.source or 'unknown'} | {studies.license or 'unknown'} | "
        f"{studies.num_studies:,} | {studies.num_with_report:,} |"
        for number, run in enumerate(provenance.runs, start=1)
        for studies in run.studies
    ]
    heads = ["", "| run | split | source | licence | studies | with a report |", "|---|---|---|---|---|---|"]
    return "\n".join([*runs, *(heads + rows if rows else [])])
