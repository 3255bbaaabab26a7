"""Read all studies of a folder or zip into a table, one row a study, and export them on request.

    counts = write_table(generator, Path("studies"), Path("reports.csv"), ReadOptions(), exports=Exports())

Interrupted work continues: studies that have a row are not read again, unless they have other files or images now;
then the old row is removed. The exports of a study are written before its row, so a row means that they are there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from rich.progress import Progress

from data.cli import progress_bars
from page.export.formats import FORMATS, export
from page.export.table import StoredRow, StudyTable
from page.export.versions import FileVersions
from page.study.record import StudyRecord, study_record
from page.study.row import BLOCKED, READ, REJECTED, generator_name
from page.study.sources import SourceFile, group_studies, open_sources
from page.study.worklist import ReadOptions, StudyResult, read_sources, study_source
from vlm.generator import ReportGenerator
from vlm.schema.atomic import partial_path, write_atomically
from vlm.schema.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class Exports:
    """Formats to export each report in, and the folder for the files."""

    formats: tuple[str, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TableCounts:
    """What a table holds when it is complete: a row for each study of the source."""

    num_studies: int
    states: Counter[str]
    """Rows by state, of the studies of the source."""
    num_before: int
    """Rows that an earlier run wrote."""
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For the user: the studies in, and what became of them."""
        parts = [f"{self.states[state]} {state}" for state in (READ, BLOCKED, REJECTED)]
        before = f"; {self.num_before} of them were in the table before" if self.num_before else ""
        return f"{self.num_studies} studies = {' + '.join(parts)}{before}"


def write_table(
    generator: ReportGenerator, source: Path, output: Path, options: ReadOptions, exports: Exports
) -> TableCounts:
    """Read the studies of `source` that have no row in `output`, and add their rows.

    Raises:
        ValueError: the source cannot be opened or holds no file, or see `StudyTable`.
        OSError: a file cannot be written.
    """
    skipped = [output, partial_path(output), *([exports.folder] if exports.folder else [])]
    with (
        StudyTable(output, model=generator_name(generator)) as table,
        open_sources([source], is_limited=False, skipped=skipped) as (files, rejections),
    ):
        if rejections:
            raise rejections[0]
        studies = group_studies(files)
        if not studies:
            raise ValueError(f"{source} holds no file; name a folder or zip with studies")
        before = dict(table.rows)
        stems = {name.partition(".")[0] for row in before.values() for name in row.exports}
        versions = FileVersions(table)
        with progress_bars() as bars:
            changed = _changed(studies, before, versions, generator.config.preprocessing, bars)
            if changed:
                table.remove(changed)
            to_read = [(name, study) for name, study in studies if name not in table.rows]
            bar = bars.add_task("studies", total=len(studies), completed=len(studies) - len(to_read))
            for name, study in to_read:
                found = study_source(name, study, generator.config.preprocessing)
                versions.add(name, study)
                [result] = read_sources(generator, [found], options)
                table.add(_exported(generator, result, options, exports, stems).row)
                bars.advance(bar)
        num_old_exports = sum(len(before[name].exports) for name in changed)
        names = {name for name, _ in studies}
        return _counts(table, names, len(studies) - len(to_read), len(changed), num_old_exports)


def _changed(
    studies: Sequence[tuple[str, Sequence[SourceFile]]],
    rows: Mapping[str, StoredRow],
    versions: FileVersions,
    preprocessing: Preprocessing,
    bars: Progress,
) -> set[str]:
    """The studies whose row is of other files or images."""
    known = [(name, study) for name, study in studies if name in rows]
    if not known:
        return set()
    tracked = bars.track(known, description="comparing with the table")
    return {name for name, study in tracked if versions.is_changed(name, study, rows[name], preprocessing)}


def _exported(
    generator: ReportGenerator, result: StudyResult, options: ReadOptions, exports: Exports, stems: set[str]
) -> StudyResult:
    """Write the exports of a study, and name them in its row; a format that is not possible is named in `reason`."""
    if not exports.formats or result.reading is None or result.reading.is_blocked:
        return result
    record = replace(study_record(result.reading, generator), by_system=options.by_system)
    stem = _free_stem(record, stems)
    stems.add(stem)
    names, problems = [], []
    for format in exports.formats:
        name = stem + FORMATS[format][1]
        try:
            content = export(record, format, include_identity=options.include_identity).content
        except ValueError as error:
            problems.append(f"Not exported as {format}: {error}.")
            continue
        write_atomically(exports.folder / name, content)
        names.append(name)
    reason = " ".join(filter(None, [*problems, result.row.reason]))
    return replace(result, row=replace(result.row, exports=tuple(names), reason=reason))


def _free_stem(record: StudyRecord, stems: set[str]) -> str:
    """The name of a study's exports: its pseudonym, with a number for a further study of the same images."""
    numbered = (f"{record.pseudonym}_{number}" for number in count(2))
    return next(stem for stem in chain([record.pseudonym], numbered) if stem not in stems)


def _counts(table: StudyTable, names: set[str], num_before: int, num_changed: int, num_old_exports: int) -> TableCounts:
    lost = names - set(table.rows)
    if lost:
        raise RuntimeError(f"{len(lost)} studies have no row in {table.path}")  # pragma: no cover
    notes = []
    if num_changed:
        exports = f"; delete their {num_old_exports} old exports" if num_old_exports else ""
        notes.append(
            f"{num_changed} studies have other files or images than when they were read, and were read again{exports}"
        )
    if num_before:
        notes.append(
            "rows from before keep the options that they were written with, such as --write-anyway, --num-candidates "
            "and --include-identity; delete rows to read their studies again, or give another --output"
        )
    if others := len(set(table.rows) - names):
        notes.append(f"{others} rows of the table are of studies that are not in the source now")
    states = Counter(row.state for name, row in table.rows.items() if name in names)
    return TableCounts(num_studies=len(names), states=states, num_before=num_before, notes=tuple(notes))
