"""The files of many studies, as a visitor brings them or a server's folder holds them, sorted into studies.

    with brought_files([Path("month.zip")]) as (files, rejections):
        studies = group_studies(files)

DICOM files of one StudyInstanceUID are a study, whatever they are called. In a zip or a folder, the other files of one
sub-folder are a study, if they are no more than a study may have; what is left is a study each. Nothing is unpacked to
a disk; only names, and the first bytes of each file, are held for all files at once.

Many studies read one after the other, into a worklist: files in, rows out, a bad file is a row with its reason.

    for row in read_worklist(generator, [Path("month.zip")], options=WRITING): …
    most_likely_first(rows)

Each study is read by `page.study.read`, so its report is the one that it gets alone. Only rows are kept: of a study
that
was read, no image stays in memory.
"""

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from data.images.dicom_identifiers import dicom_identifiers
from data.images.pixels import ImageRejected, read_bytes
from page.study.files import MAX_VIEWS, entries_of, head_of_entry, is_zip, open_zip, read_entry, read_upload
from page.study.read import WRITING, Reading, read_study
from page.study.record import plain_line, plain_text
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDING_INDEX, FINDINGS

MAX_FILES = 10_000
"""Of all that is brought at once, side files and folders included."""
_HEAD_BYTES = 64 * 2**10
"""A DICOM file names its study here, unless something unusual stands before it."""
_TOO_MANY = f"more than the {MAX_FILES:,} files that can be brought at once; bring a part of them at a time"


@dataclass(frozen=True, kw_only=True, slots=True)
class BroughtFile:
    """A file that can be read when its turn comes. `folder` lies below what all files of its zip have in common."""

    name: str
    folder: str
    study_uid: str
    read: Callable[[], bytes]
    """Raises ImageRejected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFiles:
    """The files of one study, in the order of their names."""

    name: str
    study_uid: str
    files: tuple[BroughtFile, ...]


@contextmanager
def brought_files(sources: Sequence[Path]) -> Iterator[tuple[list[BroughtFile], list[ImageRejected]]]:
    """The files in these files, zips and folders, readable until the end of the context; and what cannot be used.

    Raises:
        ValueError: there are too many.
    """
    with ExitStack() as stack:
        files, rejections = [], []
        for source in sources:
            try:
                files += _from_folder(source) if source.is_dir() else _from_file(source, stack)
            except ImageRejected as rejected:
                rejections.append(rejected)
            if len(files) > MAX_FILES:
                raise ValueError(f"There are {_TOO_MANY}.")
        yield files, rejections


def group_studies(files: Sequence[BroughtFile]) -> list[StudyFiles]:
    """The studies in the order of their first files; every file is in one of them."""
    folders = defaultdict(list)
    for file in files:
        if not file.study_uid and file.folder:
            folders[file.folder].append(file)
    groups = defaultdict(list)
    for number, file in enumerate(files):
        shared = not file.study_uid and 1 < len(folders.get(file.folder, ())) <= MAX_VIEWS
        groups[(file.study_uid, file.folder) if shared else (file.study_uid or number, "")].append(file)
    return [
        StudyFiles(name=folder or members[0].name, study_uid=members[0].study_uid, files=tuple(members))
        for (_, folder), members in groups.items()
    ]


def _from_file(path: Path, stack: ExitStack) -> list[BroughtFile]:
    with _readable(path) as file:
        head = file.read(_HEAD_BYTES)
    if not is_zip(head):
        read = partial(read_bytes, path, name=path.name)
        return [BroughtFile(name=plain_line(path.name), folder="", study_uid=_study_uid(head), read=read)]
    return _from_zip(path, stack)


def _from_zip(path: Path, stack: ExitStack) -> list[BroughtFile]:
    # Held open, for uploads are removed after a while.
    file = stack.enter_context(_readable(path))
    archive = stack.enter_context(open_zip(file, name=path.name, max_files=MAX_FILES, too_many=_TOO_MANY))
    entries = entries_of(archive, name=path.name)
    folders = _below_common([PurePosixPath(entry.filename).parent for entry in entries])
    return [
        BroughtFile(
            name=plain_line(entry.filename),
            folder=folder,
            study_uid=_uid_in_zip(archive, entry, path.name),
            read=partial(read_entry, archive, entry, name=path.name),
        )
        for entry, folder in zip(entries, folders, strict=True)
    ]


def _from_folder(root: Path) -> list[BroughtFile]:
    """Links are not followed: they lead out of the folder."""
    paths = []
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            paths.append(path)
        if len(paths) > MAX_FILES:
            raise ValueError(f"{root} holds {_TOO_MANY}.")
    paths.sort()
    names = [path.relative_to(root) for path in paths]
    folders = _below_common([PurePosixPath(name.parent) for name in names])
    return [
        BroughtFile(
            name=plain_line(name.as_posix()),
            folder=folder,
            study_uid=_uid_of_file(path),
            read=partial(read_bytes, path, name=name.as_posix()),
        )
        for path, name, folder in zip(paths, names, folders, strict=True)
    ]


def _readable(path: Path):
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageRejected(f"{path.name}: is no longer there; bring it again") from error
    except OSError as error:
        raise ImageRejected(f"{path.name}: cannot be read ({error.strerror})") from error


def _uid_in_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> str:
    """Empty also where the entry cannot be read: that is told when its turn comes."""
    try:
        return _study_uid(head_of_entry(archive, entry, _HEAD_BYTES, name=name))
    except ImageRejected:
        return ""


def _uid_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _study_uid(file.read(_HEAD_BYTES))
    except OSError:
        return ""


def _study_uid(head: bytes) -> str:
    identifiers = dicom_identifiers(head)
    return identifiers.study_instance_uid if identifiers else ""


def _below_common(folders: Sequence[PurePosixPath]) -> list[str]:
    """Each folder without the parts that all of them begin with."""
    num_common = 0
    for parts in zip(*(folder.parts for folder in folders), strict=False):
        if len(set(parts)) > 1:
            break
        num_common += 1
    return [plain_line("/".join(folder.parts[num_common:])) for folder in folders]


READ, DOUBTED, REJECTED = "read", "doubted", "rejected"
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
        return {READ: -1.0, DOUBTED: -2.0, REJECTED: -3.0}[self.state] if value is None else value


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
    with brought_files(sources) as (files, rejections):
        studies = group_studies(files)
        yield WorklistStep(row=None, num_done=0, num_studies=len(studies))
        for rejected in rejections:
            yield WorklistStep(row=_rejected_file(str(rejected)), num_done=0, num_studies=len(studies))
        for number, study in enumerate(studies, start=1):
            for row in _read_study(generator, study, options, write_anyway):
                yield WorklistStep(row=row, num_done=number, num_studies=len(studies))


def most_likely_first(rows: Sequence[WorklistRow], finding: str = "") -> list[WorklistRow]:
    """By the probability of `finding`, or of any; then doubted studies, then what was rejected.

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
        reason = f"has {len(study.files)} images, more than the {MAX_VIEWS} that one study may have"
        names = tuple(file.name for file in study.files)
        yield WorklistRow(study=study.name, files=names, state=REJECTED, reason=reason, study_uid=study.study_uid)
        return
    images, read = [], []
    for file in study.files:
        try:
            images.append(read_upload(file.read(), "auto", generator.config.preprocessing, name=file.name))
            read.append(file)
        except ImageRejected as rejected:
            yield _rejected_file(str(rejected), file)
    if not images:
        return
    about = {"study": study.name, "files": tuple(file.name for file in read), "study_uid": study.study_uid}
    try:
        *_, reading = read_study(generator, images, options=options, write_anyway=write_anyway)
    except ValueError as error:
        yield WorklistRow(state=REJECTED, reason=plain_line(str(error)), **about)
        return
    yield _row(reading, generator, about)


def _row(reading: Reading, generator: ReportGenerator, about: dict) -> WorklistRow:
    about |= {
        "view_positions": tuple(image.view_position for image in reading.images),
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


def _rejected_file(reason: str, file: BroughtFile | None = None) -> WorklistRow:
    name = file.name if file else plain_line(reason.split(": ")[0])
    return WorklistRow(
        study=name, files=(name,), state=REJECTED, reason=plain_line(reason), study_uid=file.study_uid if file else ""
    )
