"""What a checkpoint learned from, run after run: `training_data.json` beside its weights.

A run that starts from other weights takes over what those learned from, so that no source and no licence is lost on
the way.
"""

from dataclasses import dataclass
from pathlib import Path

from vlm.schema.strict_json import read_json, to_json

PROVENANCE_FILE = "training_data.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedStudies:
    """Studies of one source in one split of a run: `train` was learned, by `validation` the weights were chosen."""

    split: str
    source: str
    license: str
    num_studies: int
    num_with_report: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """One program run on some studies."""

    program: str
    """Empty where weights came without a record; `what` then names them."""
    what: str
    """What was learned and which weights were trained, in words."""
    studies: tuple[LearnedStudies, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """All runs, the first one first."""

    runs: tuple[TrainingRun, ...] = ()

    @property
    def studies(self) -> tuple[LearnedStudies, ...]:
        return tuple(studies for run in self.runs for studies in run.studies)

    @property
    def licenses(self) -> tuple[str, ...]:
        return tuple(sorted({studies.license for studies in self.studies} - {""}))

    @property
    def sources(self) -> tuple[str, ...]:
        """In the order in which they were first learned from."""
        return tuple(dict.fromkeys(studies.source for studies in self.studies))


def save_provenance(folder: Path, provenance: Provenance) -> None:
    (folder / PROVENANCE_FILE).write_text(to_json(provenance), encoding="utf-8")


def load_provenance(folder: Path) -> Provenance:
    """Of a folder of weights; one without a record says so.

    Raises:
        ValueError: the file is damaged.
    """
    if (folder / PROVENANCE_FILE).is_file():
        return read_json(folder / PROVENANCE_FILE, Provenance)
    return unrecorded(folder.name)


def unrecorded(name: str) -> Provenance:
    """Of weights that came from elsewhere."""
    return Provenance(runs=(TrainingRun(program="", what=f"{name}, of which no record of its data came along"),))


def provenance_table(provenance: Provenance) -> str:
    """As Markdown: the runs as a list, then a row for each source of each split of each run."""
    runs = [
        f"{number}. {run.program or 'Weights from elsewhere'}: {run.what}"
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
