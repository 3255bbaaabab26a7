r"""Source `table` of `data.prepare`: CSV, JSONL, Parquet or a Hugging Face data set, with any column names.

    python -m data.prepare table labels.csv --image-root images --subject-id-column patient \
        --label-column label --label-map '{"normal": {"No Finding": "positive"}}' --out runs/studies

Each row is a study. Its image column holds a path or several (a list, or a text with --image-separator); in a Hugging
Face data set it can hold the images themselves. With --group-rows, each row is a view, and rows with the same study id
make one study.

With --pseudonyms, study and patient ids are replaced by pseudonyms, and messages name rows instead of files.

These are rejected with a reason: a row without an image or with more than MAX_VIEWS images; a row with an error of a
spreadsheet, such as #REF!, as text, image path or id; a study with neither report nor labels (unless the table has
neither; then only the images are kept); a study whose patient is also in a later split (test is later than validation,
and validation later than train).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from data.pipeline.raw_study import PlanContext, RawFileStudy, RawPrior, Rejection, SourcePlan
from data.reports.pseudonyms import check_new_map, pseudonym, read_key, stored_key, write_pseudonym_map
from data.study import later_split, left_out, split_subjects
from data.tables.huggingface import StoredTable, open_folder, open_hub
from data.tables.labels import columns_of_findings, read_label_map
from data.tables.parse import ParsedRow, TableSpec, join, parse_row, without_text
from data.tables.priors import PriorRow, prior_rows
from data.tables.rows import TableFile, find_columns
from vlm.schema.findings import FINDINGS

_DEFAULT_COLUMNS = {
    "image": ["image", "images"],
    "label": [],
    "labels": [],
    "sex": ["sex", "gender", "Sex", "PatientSex"],
    "age": ["age", "Age", "PatientAge"],
    "manufacturer": ["manufacturer", "Manufacturer"],
}
"""Default columns of roles that differ from the role's name. Label columns have no default."""
SHOWN = 3
"""How many examples a note shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumns:
    """Columns of the table. The default is the column with the name of the option, such as study_id or findings."""

    image_column: str | None = None
    """Path or paths of the images. Default: image or images."""
    report_column: str | None = None
    """The whole report, used if a row has neither findings nor impression."""
    findings_column: str | None = None
    """The findings section."""
    impression_column: str | None = None
    """The impression section."""
    indication_column: str | None = None
    """The indication section."""
    label_column: str | None = None
    """A word for the labels; needs --label-map. Without it, columns with the names of the 14 findings are used, in any
    spelling (pleural_effusion), with CheXpert's values: 1 positive, 0 negative, -1 uncertain, blank not mentioned."""
    subject_id_column: str | None = None
    """The patient. Without it, each study counts as a patient of its own."""
    study_id_column: str | None = None
    """Default: the first image path."""
    split_column: str | None = None
    """train, validation or test. Without it, patients are split at random."""
    view_position_column: str | None = None
    """PA, AP, LATERAL, … for each image. Without it, it is read from DICOM headers."""
    labels_column: str | None = None
    """The 14 label codes, as in prepared data sets."""
    sex_column: str | None = None
    """F or M (also female, male, other), for scores by subgroup. Default: sex, gender or PatientSex; without such a
    column, sex, age and manufacturer are read from DICOM headers."""
    age_column: str | None = None
    """Age in years, or as in DICOM ("057Y", "018M"). Default: age or PatientAge. Stored in years; 90 stands for 90 and
    above."""
    manufacturer_column: str | None = None
    """Manufacturer of the machine. Default: manufacturer or Manufacturer."""
    prior_study_id_column: str | None = None
    """The study id of the prior study; blank if there is none. Only used with --with-priors."""
    date_column: str | None = None
    """Date, or date and time, of the study, as 2021-12-31 or 2021-12-31 09:30. Only used with --with-priors."""
    source_column: str | None = None
    """The name of the source."""
    license_column: str | None = None
    """The license of the study."""


PRIOR_ROLES = ("prior_study_id", "date")
ROLES = tuple(name.removesuffix("_column") for name in TableColumns.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubOptions:
    """Data set of the Hugging Face hub, instead of a table."""

    hub_id: str | None = None
    """Id of the data set, which is downloaded."""
    hub_config: str | None = None
    """Its configuration, if it has several."""
    hub_revision: str | None = None
    """Branch, tag or commit. Default: the newest version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSource:
    """A table with image paths and, optionally, reports and labels."""

    PRIVATE_OPTIONS: ClassVar[tuple[str, ...]] = ("pseudonym_key", "pseudonym_map")

    table: tyro.conf.Positional[Path | None] = None
    """CSV or JSONL (also gzipped), Parquet, or the folder of a Hugging Face data set."""
    image_root: Path | None = None
    """Folder that image paths start from and must stay in. Default: the folder of the table."""
    label_map: str | None = None
    """JSON, or a file with it, that maps each word in --label-column to states of findings:
    {"normal": {"No Finding": "positive", "Pneumonia": "negative"}}. Other findings are not labeled."""
    group_rows: bool = False
    """Join rows with the same study id into one study; each row is a view."""
    with_priors: bool = False
    """Add to each study the prior study that its row names or, without such a column, the patient's last study before
    it by date. Dates are not stored. The texts of the whole table are kept in memory."""
    image_separator: str | None = None
    """Separator between several paths (and view positions) in one cell."""
    source_name: str = ""
    """Name of the source of all rows, unless a column holds it. Default: the name of the table."""
    license: str = ""
    """License of all rows, unless a column holds it."""
    pseudonyms: bool = False
    """Replace the ids of studies and patients by pseudonyms, and name rows instead of files in messages."""
    pseudonym_map: Path | None = None
    """File to write: the ids and files behind each pseudonym, one study per line. Keep it apart from the data set."""
    pseudonym_key: Path | None = None
    """File with your own secret (head -c 32 /dev/urandom > FILE). The same key gives the same pseudonyms. By default,
    a random key is used and deleted, so the pseudonyms cannot be reversed."""
    columns: Annotated[TableColumns, tyro.conf.OmitArgPrefixes] = field(default_factory=TableColumns)
    hub: Annotated[HubOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=HubOptions)

    def __post_init__(self):
        if (self.columns.label_column is None) != (self.label_map is None):
            raise ValueError("--label-column and --label-map go together; give both, or neither")
        if (self.table is None) == (self.hub.hub_id is None):
            raise ValueError("name one table: a file, a folder, or a data set of the hub by --hub-id")
        if (self.pseudonym_map or self.pseudonym_key) and not self.pseudonyms:
            raise ValueError("--pseudonym-map and --pseudonym-key need --pseudonyms")

    @property
    def name(self) -> str:
        return self.hub.hub_id or str(self.table)

    @property
    def _image_root(self) -> Path:
        if self.image_root is not None:
            return self.image_root
        return self.table.parent if self.table and self.table.is_file() else self.table or Path()

    def plan(self, context: PlanContext) -> SourcePlan:
        if self.image_root is not None and not self.image_root.is_dir():
            raise ValueError(f"--image-root {self.image_root} is not a folder")
        if self.hub.hub_id:
            table = open_hub(self.hub.hub_id, config=self.hub.hub_config, revision=self.hub.hub_revision)
        else:
            is_folder = self.table.is_dir()
            table = open_folder(self.table, work=context.work) if is_folder else TableFile(path=self.table)
        spec = self._resolve_columns(table.column_names())
        survey = self._survey(table, spec)
        if not survey.num_studies:
            raise ValueError(f"{self.name} has a header, but no rows")
        if "split" not in spec.columns:
            survey.split_of = split_subjects(survey.split_of, fractions=context.split_fractions, seed=context.seed)
        key = None
        if self.pseudonyms:
            key = read_key(self.pseudonym_key) if self.pseudonym_key else stored_key(context.work)
        if self.pseudonym_map:
            check_new_map(self.pseudonym_map, context.work)
            write_pseudonym_map(self.pseudonym_map, survey.pseudonym_map(key))
        raw_studies = self._raw_studies(table, spec, survey, key)
        return SourcePlan(num_studies=survey.num_studies, raw_studies=raw_studies, notes=_notes(spec, survey))

    def _resolve_columns(self, available: list[str]) -> TableSpec:
        """Choose the column of each role. Raises ValueError if a requested or needed column is not in the table."""
        requested = {role: getattr(self.columns, f"{role}_column") for role in ROLES}
        usual = {role: _DEFAULT_COLUMNS.get(role, [role]) for role in ROLES}
        if not self.with_priors:
            usual |= {role: [] for role in PRIOR_ROLES}
        columns = find_columns(self.name, available, requested=requested, usual=usual)
        if "image" not in columns:
            raise ValueError(
                f"{self.name} has no column 'image' or 'images'; name the one with image paths by --image-column; "
                f"its columns are {', '.join(available)}"
            )
        if self.group_rows and "study_id" not in columns:
            raise ValueError(f"--group-rows needs the column of study ids; {self.name} has {', '.join(available)}")
        if self.with_priors and not ("prior_study_id" in columns or {"date", "subject_id"} <= columns.keys()):
            raise ValueError(
                "--with-priors needs the column of prior study ids (--prior-study-id-column), or those of patients and "
                f"dates (--subject-id-column, --date-column); {self.name} has {', '.join(available)}"
            )
        has_labels = self.label_map or self.columns.labels_column
        return TableSpec(
            columns=columns,
            image_separator=self.image_separator,
            label_map=read_label_map(self.label_map) if self.label_map else None,
            image_root=self._image_root,
            finding_columns={}
            if has_labels
            else columns_of_findings(self.name, zip(available, available, strict=True)),
        )

    def _survey(self, table: TableFile | StoredTable, spec: TableSpec) -> "_Survey":
        """First pass over the table: the split of each subject, and the rows of each study."""
        survey = _Survey()
        for row in table.rows():
            entry = parse_row(row, spec)
            joined = survey.groups.get(entry.study_id)
            if self.group_rows and entry.study_id:
                survey.groups[entry.study_id] = join(joined, entry) if joined else without_text(entry)
            survey.num_studies += joined is None
            if self.pseudonym_map and entry.study_id:
                identity = (entry.number, entry.subject_id or entry.study_id, [])
                survey.identities.setdefault(entry.study_id, identity)[2].extend(entry.images)
            survey.unreadable += [f"row {entry.number}: {message}" for message in entry.unreadable]
            if not entry.error:
                survey.num_without_subject += entry.subject_id == entry.study_id
                other = survey.split_of.get(entry.subject_id, "")
                survey.split_of[entry.subject_id] = later_split(entry.split, other)
                survey.first_rows.setdefault(entry.subject_id, entry.number)
        return survey

    def _raw_studies(
        self, table: TableFile | StoredTable, spec: TableSpec, survey: "_Survey", key: bytes | None
    ) -> Iterator[RawFileStudy | Rejection]:
        """A raw study or a rejection for each study, in the order of the table."""
        entries = self._entries(table, spec, survey)
        priors: dict[int, PriorRow] = {}
        if self.with_priors:
            entries = list(entries)
            priors = prior_rows(entries, are_named="prior_study_id" in spec.columns)
        for entry in entries:
            raw_study, prior = self._raw_study(entry, table, spec, survey, key), priors.get(entry.number)
            if prior and isinstance(raw_study, RawFileStudy):
                earlier = Rejection(study_id=raw_study.study_id, reason=prior.problem)
                if prior.row:
                    earlier = self._raw_study(prior.row, table, spec, survey, key)
                raw_study = replace(raw_study, prior=RawPrior(raw_study=earlier, interval_days=prior.interval_days))
            yield raw_study

    def _entries(self, table: TableFile | StoredTable, spec: TableSpec, survey: "_Survey") -> Iterator[ParsedRow]:
        """Second pass over the table: each row, or with --group-rows the joined rows of each study."""
        for row in table.rows():
            entry = parse_row(row, spec)
            if self.group_rows and entry.study_id:
                joined = survey.groups.pop(entry.study_id, None)
                if joined is None:  # a later row of a study
                    continue
                entry = replace(
                    entry, images=joined.images, view_positions=joined.view_positions, error=entry.error or joined.error
                )
            yield entry

    def _raw_study(
        self,
        entry: ParsedRow,
        table: TableFile | StoredTable,
        spec: TableSpec,
        survey: "_Survey",
        key: bytes | None,
    ) -> RawFileStudy | Rejection:
        """The raw study of a row, or its rejection; with a key, it has pseudonyms."""
        image_root = self._image_root
        source_name = self.source_name or self.hub.hub_id or self.table.stem
        split, files, paths, names = survey.split_of.get(entry.subject_id, ""), entry.images, (), entry.images
        if key:
            files, paths = _labels(entry.number, len(files)), files
            ids = {"study_id": ("study", entry.study_id), "subject_id": ("patient", entry.subject_id)}
            entry = replace(entry, **{name: pseudonym(key, *one) for name, one in ids.items() if one[1]})
        if reason := entry.error or left_out(entry.subject_id, entry.split, split):
            study_id = entry.study_id or f"row {entry.number}"
            return Rejection(study_id=study_id, reason=reason, files=files, split=entry.split)
        return RawFileStudy(
            study_id=entry.study_id,
            subject_id=entry.subject_id,
            split=split,
            image_root=image_root,
            files=files if key else tuple(_with_slashes(image_root, name) for name in files),
            paths=tuple(_with_slashes(image_root, name) for name in paths),
            contents=tuple(table.content(spec.columns["image"], name) for name in names),
            view_positions=entry.view_positions,
            indication=entry.indication,
            findings=entry.findings,
            impression=entry.impression,
            labels=entry.labels,
            demographics=entry.demographics,
            source=entry.source or source_name,
            license=entry.license or self.license or table.license,
        )


def _labels(number: int, count: int) -> tuple[str, ...]:
    """The names of the images of a row in messages, if their paths must not be shown."""
    return tuple(f"row {number} image {view}" for view in range(1, count + 1))


def _with_slashes(image_root: Path, name: str) -> str:
    """The path of an image; a table from Windows has backslashes in it."""
    return name.replace("\\", "/") if "\\" in name and not (image_root / name).exists() else name


@dataclass(kw_only=True, slots=True)
class _Survey:
    """Facts about the whole table, without pixels and texts."""

    num_studies: int = 0
    num_without_subject: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Messages about values of sex, age, date and view position that count as unknown."""
    split_of: dict[str, str] = field(default_factory=dict)
    """The latest split (`later_split`) among the rows of each subject."""
    first_rows: dict[str, int] = field(default_factory=dict)
    """The number of the first row of each subject."""
    identities: dict[str, tuple[int, str, list[str]]] = field(default_factory=dict)
    """The first row, the patient and the images of each study (only for --pseudonym-map)."""
    groups: dict[str, ParsedRow] = field(default_factory=dict)
    """The joined rows of each study, without their text (only with --group-rows)."""

    def pseudonym_map(self, key: bytes) -> Iterator[dict[str, Any]]:
        """The identity behind each pseudonym."""
        for study_id, (number, subject_id, images) in self.identities.items():
            yield {
                "study_id": pseudonym(key, "study", study_id),
                "subject_id": pseudonym(key, "patient", subject_id),
                "original_study_id": study_id,
                "original_subject_id": subject_id,
                "files": dict(zip(_labels(number, len(images)), images, strict=True)),
            }


def _notes(spec: TableSpec, survey: _Survey) -> tuple[str, ...]:
    used = ", ".join(f"{role} from {column!r}" for role, column in spec.columns.items())
    notes = [f"columns used: {used}."]
    if spec.finding_columns:
        notes.append(f"labels from the columns {', '.join(spec.finding_columns.values())}.")
        if unlabeled := [finding for finding in FINDINGS if finding not in spec.finding_columns]:
            notes.append(f"no column is named after {', '.join(unlabeled)}, so these findings are not labeled.")
    elif not spec.has_labels and spec.has_text:
        notes.append("no labels in the table: the labeler reads them from the reports.")
    if survey.num_without_subject:
        notes.append(
            f"{survey.num_without_subject} rows name no patient; each of these studies counts as a patient of its own."
        )
    if "subject_id" in spec.columns and (groups := _differ_in_zeros(survey.first_rows)):
        examples = [f"rows {', '.join(map(str, rows[:SHOWN]))}" for rows in groups[:SHOWN]]
        more = ["…"] if len(groups) > SHOWN else []
        notes.append(
            f"{len(groups)} patient ids occur with and without leading zeros, like 7 and 007 "
            f"({'; '.join(examples + more)}). They count as different patients. If they are one patient, write the id "
            "in one way; otherwise a patient can be in two splits."
        )
    if survey.unreadable:
        count, first = len(survey.unreadable), survey.unreadable[0]
        notes.append(f"{count} values of sex, age, date or view position cannot be read and count as unknown; {first}.")
    return tuple(notes)


def _differ_in_zeros(first_rows: Mapping[str, int]) -> list[list[int]]:
    """The first rows of patients whose ids are equal without leading zeros, for each such id."""
    rows_of = defaultdict(list)
    for subject_id, row in first_rows.items():
        rows_of[subject_id.lstrip("0")].append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]
