"""Compare the labeler with the MeSH codes that human indexers assigned to the Indiana reports.

    python -m bench.labeler_mesh                        all splits, each reading of the codes; speed on one core
    python -m bench.labeler_mesh --show Pneumonia       train reports on which labeler and codes disagree

The codes are not labels: an indexer may omit an uncertain finding, or code a calcified nodule as "Calcinosis". So
codes are read in two ways, `NARROW` (codes with the name of a finding) and `BROAD` (also related codes), and
"uncertain" counts once as found and once as not found. Reports marked "No Indexing" are left out.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from data.cli import run_main
from data.reports.labeler.labeler import explain_report, label_report
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NUM_FINDINGS, POSITIVE, UNCERTAIN

REPORTS = Path(__file__).parents[1] / "../shared/data/iu_text/reports.jsonl"

NARROW = {
    "Cardiomegaly": r"cardiomegaly|cardiac shadow/.*enlarged",
    "Lung Opacity": r"opacity|airspace disease|infiltrate",
    "Lung Lesion": r"nodule|mass",
    "Edema": r"pulmonary edema",
    "Consolidation": r"consolidation",
    "Pneumonia": r"pneumonia",
    "Atelectasis": r"pulmonary atelectasis",
    "Pneumothorax": r"(?:hydro|hemo)?pneumothorax",
    "Pleural Effusion": r"pleural effusion|hemothorax|(?:hydro|hemo)pneumothorax",
    "Pleural Other": r"(?:thickening|cicatrix|calcinosis)/pleura|pleura\b",
    "Fracture": r"fractures, bone",
    "Support Devices": r"catheters, indwelling|implanted medical device|medical device|tube, inserted",
}
"""Finding -> pattern for the start of its codes (`Finding/place/side/degree`), in lower case."""

BROAD = {
    **NARROW,
    "Enlarged Cardiomediastinum": r"mediastinum/(?:.*/)?(?:enlarged|prominent|large)",
    "Lung Opacity": NARROW["Lung Opacity"]
    + r"|(?:density|thickening)/lung|density/retrocardiac|markings/lung(?!/bronchovascular)|lung/interstitial"
    r"|pneumonia|consolidation",
    "Lung Lesion": NARROW["Lung Lesion"] + r"|density/lung/(?:.*/)?round|opacity/lung/(?:.*/)?round|cavitation",
    "Edema": NARROW["Edema"] + r"|pulmonary congestion|heart failure",
    "Support Devices": NARROW["Support Devices"] + r"|stents|surgical instruments|sutures|spinal fusion",
}
READINGS = {"narrow": NARROW, "broad": BROAD}
FOUND = {"uncertain found": (POSITIVE, UNCERTAIN), "uncertain not found": (POSITIVE,)}


@dataclass(frozen=True, kw_only=True, slots=True)
class MeshOptions:
    """Agreement of the labeler with MeSH codes."""

    reports: Path = REPORTS
    """The Indiana reports, one JSON object per line."""
    show: Literal[FINDINGS[:-1]] | None = None
    """Print the train reports on which codes and labeler disagree about this finding, instead of the tables."""
    reading: Literal["narrow", "broad"] = "narrow"
    """How `--show` reads the codes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedReport:
    """The text of a report and its codes in lower case."""

    study_id: str
    split: str
    text: str
    codes: tuple[str, ...]

    def coded(self, reading: dict[str, str]) -> frozenset[str]:
        """The findings of the codes; No Finding if there are none but devices."""
        findings = {
            finding for finding, pattern in reading.items() for code in self.codes if re.match(rf"(?:{pattern})", code)
        }
        return frozenset(findings if findings - {"Support Devices"} else findings | {"No Finding"})


def read_reports(path: Path) -> Iterator[IndexedReport]:
    """All indexed reports of the file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            report = json.loads(line)
            if "No Indexing" not in report["mesh"]:
                yield IndexedReport(
                    study_id=report["id"],
                    split=report["split"] or "no split",
                    text=f"{report['findings']}\n{report['impression']}",
                    codes=tuple(code.lower() for code in report["mesh"]),
                )


def agreement(
    reports: list[IndexedReport], reading: dict[str, str], found_states: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """True positives, false positives and false negatives per finding; "micro": all of them but No Finding."""
    findings = [*reading, "No Finding"]
    labels = np.array([label_report(report.text) for report in reports]).reshape(-1, NUM_FINDINGS)
    found = np.isin(labels, found_states)[:, [FINDING_INDEX[finding] for finding in findings]]
    codes = [report.coded(reading) for report in reports]
    coded = np.array([[finding in own for finding in findings] for own in codes], dtype=bool).reshape(found.shape)
    counts = np.stack([found & coded, found & ~coded, ~found & coded], axis=-1).sum(axis=0)
    return dict(zip(findings, counts, strict=True)) | {"micro": counts[:-1].sum(axis=0)}


def scores(counts: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1; 0 if undefined."""
    true, false, missed = map(int, counts)
    return true / max(true + false, 1), true / max(true + missed, 1), 2 * true / max(2 * true + false + missed, 1)


def table_of(reports: list[IndexedReport], title: str) -> Table:
    """Precision, recall and F1 of every finding for each reading of codes and of uncertain labels."""
    table = Table(title=title, title_justify="left")
    table.add_column("precision / recall / F1")
    columns = []
    for reading_name, reading in READINGS.items():
        for convention, states in FOUND.items():
            table.add_column(f"{reading_name}, {convention}", justify="right")
            columns.append(agreement(reports, reading, states))
    for finding in (*FINDINGS, "micro"):
        rows = [column.get(finding) for column in columns]
        if any(row is not None for row in rows):
            cells = ["" if row is None else "{:.3f} {:.3f} {:.3f}".format(*scores(row)) for row in rows]
            support = "/".join(str(row[0] + row[2]) for row in (rows[0], rows[2]) if row is not None)
            table.add_row(f"{finding} ({support})", *cells)
    macros = [
        np.mean([scores(row)[2] for name, row in column.items() if name not in ("micro", "No Finding")])
        for column in columns
    ]
    table.add_row("macro-F1", *(f"{macro:.3f}" for macro in macros))
    return table


def show_disagreements(reports: list[IndexedReport], finding: str, reading: dict[str, str], console: Console) -> None:
    """Print report, codes and the labeler's evidence if only one of the two has the finding."""
    for report in reports:
        found = label_report(report.text)[FINDING_INDEX[finding]] in (POSITIVE, UNCERTAIN)
        if found != (finding in report.coded(reading)):
            console.rule(f"{report.study_id}: {'labeler only' if found else 'codes only'}")
            console.print(" ".join(report.text.split()), markup=False, highlight=False)
            console.print("codes:", "; ".join(report.codes), markup=False, highlight=False)
            for item in explain_report(report.text):
                if item.finding == finding:
                    console.print(f"state {item.state}: {item.words} | {item.sentence}", markup=False, highlight=False)


def main(argv: list[str] | None = None) -> int:
    options = tyro.cli(MeshOptions, args=argv, prog="python -m bench.labeler_mesh")
    console = Console()
    if not options.reports.exists():
        raise ValueError(f"--reports {options.reports}: no such file; the Indiana reports are not part of the project")
    reports = list(read_reports(options.reports))
    train = [report for report in reports if report.split == "train"]
    if options.show:
        show_disagreements(train, options.show, READINGS[options.reading], console)
        return 0
    # This comes first, while the labeler's cache of sentences is empty.
    start = time.process_time()
    for report in reports:
        label_report(report.text)
    console.print(f"{len(reports)} reports, {len(reports) / (time.process_time() - start):,.0f} per second on one core")
    for split in ("train", "val", "no split"):
        part = [report for report in reports if report.split == split]
        console.print(table_of(part, f"{split}: {len(part)} reports"))
    console.print(table_of(reports, f"all: {len(reports)} reports"))
    return 0


if __name__ == "__main__":
    run_main(main)
