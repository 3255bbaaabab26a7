"""Tables of studies as files, and the source that reads them."""

import csv
import io
import json
from pathlib import Path

from data.pipeline.raw_study import PlanContext, RawFileStudy, Rejection
from data.sources.table import HubOptions, TableColumns, TableSource

ROWS = [
    {"image": "a.png", "study_id": "s1", "subject_id": "p1", "findings": "Clear lungs.", "impression": ""},
    {"image": "b.png", "study_id": "s2", "subject_id": "p2", "findings": "", "impression": "Small left effusion."},
    {"image": "c.png", "study_id": "s3", "subject_id": "p2", "findings": "Large heart.", "impression": "Cardiomegaly."},
]


def csv_of(folder: Path, rows: list[dict], name: str = "table.csv", delimiter: str = ",") -> Path:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    (folder / name).write_text(file.getvalue(), encoding="utf-8")
    return folder / name


def jsonl_of(folder: Path, rows: list[dict]) -> Path:
    path = folder / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table_source(table: Path | None = None, **options) -> TableSource:
    """The source with `options` by the names of their flags."""
    columns = {name: options.pop(name) for name in list(options) if name.endswith("_column")}
    hub = {name: options.pop(name) for name in list(options) if name.startswith("hub_")}
    return TableSource(table=table, columns=TableColumns(**columns), hub=HubOptions(**hub), **options)


def raw_studies(path: Path, **options) -> list[RawFileStudy | Rejection]:
    plan = table_source(path, **options).plan(PlanContext(work=path.parent))
    given = list(plan.raw_studies)
    assert len(given) == plan.num_studies
    return given
