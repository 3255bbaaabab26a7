"""Many studies read one after the other, into a worklist: files in, rows out, a bad file is a row with its reason.

    for row in read_worklist(generator, [Path("month.zip")], options=WRITING): …
    most_likely_first(rows)

Each study is read by `page.reading`, so its report is the one that it gets alone. Only rows are kept: of a study that
was read, no picture stays in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.images.pixels import ImageRefused
from page.picture import read_picture
from page.plain_text import plain_line, plain_text
from page.reading import WRITING, Reading, read_study
from page.study_files import MAX_VIEWS
from page.study_groups import BroughtFile, StudyFiles, brought_files, group_studies
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDING_INDEX, FINDINGS

READ, DOUBTED, REFUSED = "read", "doubted", "refused"
"""The states of a row: with a report, without one because of doubts, a file or a study that cannot be used."""
PATHOLOGIES = tuple(finding for finding in FINDINGS if finding not in ("No Finding", "Support Devices"))


@dataclass(frozen=True, kw_only=True, slots=True)
class WorklistRow:
    """A study, or a file that cannot be used. `reason` says why it was not read, or why to doubt what was."""

    study: str
    files: tuple[str, ...]
    state: str
    reason: str = ""
    study_uid: str = ""
    view_positions: tuple[str, ...] = ()
    findings: str = ""
    impression: str = ""
    report: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    """By finding, of those that the model's data told of; empty where it was not read."""
    expected_errors: float | None = None
    """How many of the calls are wrong on average, where probabilities are calibrated: how unsure the model is."""
    called: tuple[str, ...] = ()
    """Findings whose probability has reached their threshold, the most probable first."""

    @property
    def most_probable(self) -> str:
        """Of the findings that are a pathology; "" where nothing was read."""
        known = [finding for finding in PATHOLOGIES if finding in self.probabilities]
        return max(known, key=self.probabilities.__getitem__) if known else ""

    @property
    def any_finding(self) -> float | None:
        """The probability of the most probable pathology: that of any is at least as high."""
        return self.probabilities.get(self.most_probable)

    def sort_value(self, finding: str) -> float:
        """For a list with the most probable first, by `finding` or, if it is "", by any; what was not read is last."""
        value = self.probabilities.get(finding) if finding else self.any_finding
        return {READ: -1.0, DOUBTED: -2.0, REFUSED: -3.0}[self.state] if value is None else value


@dataclass(frozen=True, kw_only=True, slots=True)
class WorklistStep:
    """One more row, and how far it is: `num_done` of `num_studies`."""

    row: WorklistRow | None
    num_done: int
    num_studies: int


def read_worklist(
    generator: ReportGenerator,
    sources: Sequence[Path],
    *,
    options: GenerationOptions = WRITING,
    write_anyway: bool = False,
) -> Iterator[WorklistStep]:
    """Rows as they come, in the order of the files; a step without a row says how many studies there are.

    Raises:
        ValueError: nothing is given, or there are too many files.
    """
    if not sources:
        raise ValueError("Nothing to read yet: bring a zip, a folder, or several files first.")
    with brought_files(sources) as (files, refusals):
        studies = group_studies(files)
        yield WorklistStep(row=None, num_done=0, num_studies=len(studies))
        for refused in refusals:
            yield WorklistStep(row=_refused_file(str(refused)), num_done=0, num_studies=len(studies))
        for number, study in enumerate(studies, start=1):
            for row in _read_study(generator, study, options, write_anyway):
                yield WorklistStep(row=row, num_done=number, num_studies=len(studies))


def most_likely_first(rows: Sequence[WorklistRow], finding: str = "") -> list[WorklistRow]:
    """By the probability of `finding`, or of any; then doubted studies, then what was refused.

    Raises:
        ValueError: there is no such finding.
    """
    if finding and finding not in FINDING_INDEX:
        raise ValueError(f"there is no finding {finding!r}; choose one of {', '.join(FINDINGS)}")
    return sorted(rows, key=lambda row: -row.sort_value(finding))


def _read_study(
    generator: ReportGenerator, study: StudyFiles, options: GenerationOptions, write_anyway: bool
) -> Iterator[WorklistRow]:
    """A row for each file that cannot be used, and one for the rest."""
    if len(study.files) > MAX_VIEWS:
        reason = f"has {len(study.files)} pictures, more than the {MAX_VIEWS} that one study may have"
        names = tuple(file.name for file in study.files)
        yield WorklistRow(study=study.name, files=names, state=REFUSED, reason=reason, study_uid=study.study_uid)
        return
    pictures, read = [], []
    for file in study.files:
        try:
            pictures.append(read_picture(file.read(), "auto", generator.config.preprocessing, name=file.name))
            read.append(file)
        except ImageRefused as refused:
            yield _refused_file(str(refused), file)
    if not pictures:
        return
    about = {"study": study.name, "files": tuple(file.name for file in read), "study_uid": study.study_uid}
    try:
        *_, reading = read_study(generator, pictures, options=options, write_anyway=write_anyway)
    except ValueError as error:
        yield WorklistRow(state=REFUSED, reason=plain_line(str(error)), **about)
        return
    yield _row(reading, generator, about)


def _row(reading: Reading, generator: ReportGenerator, about: dict) -> WorklistRow:
    about |= {
        "view_positions": tuple(picture.view_position for picture in reading.pictures),
        "reason": plain_line(" ".join(reading.doubts)),
    }
    report = reading.report
    if report is None:
        return WorklistRow(state=DOUBTED, **about)
    calibration = generator.calibration
    values = zip(FINDINGS, report.finding_probabilities, calibration.thresholds, calibration.is_known, strict=True)
    told = [(finding, probability, threshold) for finding, probability, threshold, is_known in values if is_known]
    probabilities = {finding: probability for finding, probability, _ in told}
    called = [finding for finding, probability, threshold in told if probability >= threshold]
    return WorklistRow(
        state=READ,
        findings=plain_text(report.findings),
        impression=plain_text(report.impression),
        report=plain_text(report.report),
        probabilities=probabilities,
        expected_errors=(
            calibration.expected_errors(report.finding_probabilities) if calibration.is_calibrated else None
        ),
        called=tuple(sorted(called, key=lambda finding: -probabilities[finding])),
        **about,
    )


def _refused_file(reason: str, file: BroughtFile | None = None) -> WorklistRow:
    name = file.name if file else plain_line(reason.split(": ")[0])
    return WorklistRow(
        study=name, files=(name,), state=REFUSED, reason=plain_line(reason), study_uid=file.study_uid if file else ""
    )
