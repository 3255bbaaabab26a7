r"""A table of studies as a source for `data.prepare`: CSV, JSONL, Parquet or a Hugging Face data set, any column names.

    python -m data.prepare table labels.csv --image-root images --subject-id-column patient \
        --label-column label --label-map '{"normal": {"No Finding": "positive"}}' --out runs/studies

A row is a study; its image column holds a path, or several (a list, or a text with --image-separator), or, in a Hugging
Face data set, the images themselves. With --group-rows each row is a view, and rows with one study id make one study.

Rejected, each with its reason: a row without image; more than MAX_VIEWS of them; a study with neither report nor
labels (unless the table has neither: then the images alone are kept); a study of a patient who is also in a split
that matters more (test before validation before train), so that what is tested was never learned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from data.pipeline.raw_study import PlanContext, RawFileStudy, Rejection, SourcePlan
from data.study import later_split, left_out, split_subjects
from data.tables.huggingface import StoredTable, open_folder, open_hub
from data.tables.labels import read_label_map
from data.tables.parse import Entry, Reading, join, read_entry, without_text
from data.tables.rows import TableFile, no_such_column
from vlm.schema.findings import FINDINGS

ROLES = (
    *("image", "study_id", "subject_id", "view_position", "indication", "findings", "impression", "report"),
    *("split", "label", "labels", "source", "license"),
)
_DEFAULT_COLUMNS = {"image": ["image", "images"], "label": [], "labels": []}
"""Where they are not just called like the role. What labels mean only the user can say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSource:
    """A table with image paths; reports and labels each optional. A column that is not named is the one called like
    its option (study_id, findings, …), where the table has it."""

    table: tyro.conf.Positional[Path | None] = None
    """CSV, JSONL (both also gzipped) or Parquet; or the folder of a Hugging Face data set."""
    hub_id: str | None = None
    """Instead of a table, a data set of the Hugging Face hub, which is downloaded."""
    hub_config: str | None = None
    """Which of its configurations, where it has several."""
    hub_revision: str | None = None
    """Which version of it: a branch, tag or commit. By default the newest."""
    image_root: Path | None = None
    """Folder that image paths start from, and may not leave. By default the table's."""
    image_column: str | None = None
    """Image path or paths of a row. By default "image" or "images"."""
    image_separator: str | None = None
    """What stands between several paths (and view positions) in one text."""
    study_id_column: str | None = None
    """By default the first image path."""
    subject_id_column: str | None = None
    """The patient. Without it, each study counts as a patient of its own."""
    view_position_column: str | None = None
    """PA, AP, LATERAL, … of each image. Without it, DICOM headers are asked."""
    indication_column: str | None = None
    findings_column: str | None = None
    impression_column: str | None = None
    report_column: str | None = None
    """A whole report, used where the row has no findings and no impression of its own."""
    split_column: str | None = None
    """train, validation or test. Without it, a seeded split by subject."""
    label_column: str | None = None
    """One column with a word for the labels; needs --label-map. Without it, columns named after the 14 findings are
    used where there are any, with CheXpert's values: 1 positive, 0 negative, -1 uncertain, blank not mentioned."""
    label_map: str | None = None
    """JSON, or a file with it, from each word of --label-column to the state of findings:
    {"normal": {"No Finding": "positive", "Pneumonia": "negative"}}. Findings not named are unlabelled."""
    labels_column: str | None = None
    """One column with the 14 codes themselves, as prepared data sets have it."""
    source_column: str | None = None
    license_column: str | None = None
    source_name: str = ""
    """Name of the source of all rows, where there is no column of it. By default the table's name."""
    license: str = ""
    """Licence of all rows, where there is no column of it."""
    group_rows: bool = False
    """Join rows with the same study id: each row is a view."""

    def __post_init__(self):
        if (self.label_column is None) != (self.label_map is None):
            raise ValueError("--label-column and --label-map go together; give both, or neither")
        if (self.table is None) == (self.hub_id is None):
            raise ValueError("name one table: a file, a folder, or a data set of the hub by --hub-id")

    @property
    def name(self) -> str:
        return self.hub_id or str(self.table)

    def plan(self, context: PlanContext) -> SourcePlan:
        if self.image_root is not None and not self.image_root.is_dir():
            raise ValueError(f"--image-root {self.image_root} is no folder")
        table = open_table(self, work=context.work)
        reading = resolve_columns(self, table)
        survey = survey_table(self, table, reading)
        if not survey.num_studies:
            raise ValueError(f"{self.name} has a header, but no rows")
        if "split" not in reading.columns:
            survey.split_of = split_subjects(survey.split_of, fractions=context.split_fractions, seed=context.seed)
        raw_studies = raw_studies_of(self, table, reading, survey)
        return SourcePlan(num_studies=survey.num_studies, raw_studies=raw_studies, notes=_notes(reading, survey))


@dataclass(kw_only=True, slots=True)
class Survey:
    """What a first pass over the table found: everything about it that no single row tells. No pixels, no text."""

    num_studies: int = 0
    num_without_subject: int = 0
    split_of: dict[str, str] = field(default_factory=dict)
    """Of each subject, the split that matters most among those its rows name."""
    groups: dict[str, Entry] = field(default_factory=dict)
    """With --group-rows, the joined rows of each study, without their text."""


def open_table(source: TableSource, *, work: Path) -> TableFile | StoredTable:
    """Whatever kind of table the source names; its `column_names`, `rows`, `content` and `license` are used."""
    if source.hub_id:
        return open_hub(source.hub_id, config=source.hub_config, revision=source.hub_revision)
    return open_folder(source.table, work=work) if source.table.is_dir() else TableFile(path=source.table)


def resolve_columns(source: TableSource, table: TableFile | StoredTable) -> Reading:
    """Which column plays which role.

    Raises:
        ValueError: a column that was asked for is not in the table; names those there are, and the closest.
    """
    there = table.column_names()
    columns = {}
    for role in ROLES:
        asked = getattr(source, f"{role}_column")
        if asked is not None and asked not in there:
            raise no_such_column(source.name, asked, f"--{role.replace('_', '-')}-column", there)
        candidates = [asked] if asked else _DEFAULT_COLUMNS.get(role, [role])
        columns.update((role, name) for name in candidates[::-1] if name in there)
    if "image" not in columns:
        raise ValueError(
            f"{source.name} has no column 'image' or 'images'; name the one with image paths by --image-column; "
            f"its columns are {', '.join(there)}"
        )
    if source.group_rows and "study_id" not in columns:
        raise ValueError(f"--group-rows needs the column of study ids; {source.name} has {', '.join(there)}")
    mapped = source.label_map or source.labels_column
    return Reading(
        columns=columns,
        image_separator=source.image_separator,
        label_map=read_label_map(source.label_map) if source.label_map else None,
        finding_columns=() if mapped else tuple(finding for finding in FINDINGS if finding in there),
    )


def survey_table(source: TableSource, table: TableFile | StoredTable, reading: Reading) -> Survey:
    """The first pass: subjects with their splits, and which rows belong together."""
    survey = Survey()
    for row in table.rows():
        entry = read_entry(row, reading)
        if source.group_rows and entry.study_id:
            joined = survey.groups.get(entry.study_id)
            survey.groups[entry.study_id] = join(joined, entry) if joined else without_text(entry)
            survey.num_studies += joined is None
        else:
            survey.num_studies += 1
        if not entry.fault:
            survey.num_without_subject += entry.subject_id == entry.study_id
            other = survey.split_of.get(entry.subject_id, "")
            survey.split_of[entry.subject_id] = later_split(entry.split, other)
    return survey


def raw_studies_of(
    source: TableSource, table: TableFile | StoredTable, reading: Reading, survey: Survey
) -> Iterator[RawFileStudy | Rejection]:
    """The second pass: a raw study or a rejection for each study, in the order of the table."""
    image_root = source.image_root
    if image_root is None:
        image_root = source.table.parent if source.table and source.table.is_file() else source.table or Path()
    source_name = source.source_name or source.hub_id or source.table.stem
    for row in table.rows():
        entry = read_entry(row, reading)
        if source.group_rows and entry.study_id:
            joined = survey.groups.pop(entry.study_id, None)
            if joined is None:  # given with its first row
                continue
            entry = replace(
                entry, images=joined.images, view_positions=joined.view_positions, fault=entry.fault or joined.fault
            )
        split = survey.split_of.get(entry.subject_id, "")
        fault = entry.fault or left_out(entry.subject_id, entry.split, split)
        if fault:
            study_id = entry.study_id or f"row {entry.number}"
            yield Rejection(study_id=study_id, reason=fault, files=entry.images, split=entry.split)
            continue
        yield RawFileStudy(
            study_id=entry.study_id,
            subject_id=entry.subject_id,
            split=split,
            image_root=image_root,
            files=entry.images,
            contents=tuple(table.content(reading.columns["image"], name) for name in entry.images),
            view_positions=entry.view_positions,
            indication=entry.indication,
            findings=entry.findings,
            impression=entry.impression,
            labels=entry.labels,
            source=entry.source or source_name,
            license=entry.license or source.license or table.license,
        )


def _notes(reading: Reading, survey: Survey) -> tuple[str, ...]:
    used = ", ".join(f"{role} from {column!r}" for role, column in reading.columns.items())
    notes = [f"columns used: {used}."]
    if reading.finding_columns:
        notes.append(f"labels from the columns {', '.join(reading.finding_columns)}.")
    elif not reading.has_labels and reading.has_text:
        notes.append("no labels in the table: they are read from the reports.")
    if survey.num_without_subject:
        notes.append(
            f"{survey.num_without_subject} rows name no patient; each of these studies counts as a patient of its own."
        )
    return tuple(notes)
