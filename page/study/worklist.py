"""Read many studies: files, zips and folders in, one worklist row per study out; a bad file is a row with its reason.

    for step in read_worklist(generator, [Path("month.zip")]):
        print(step.num_done, step.row)

DICOM files with the same StudyInstanceUID are one study. In a zip or folder, the other files of one subfolder are one
study, if there are at most MAX_VIEWS of them; every other file is a study. Nothing is extracted to disk. Only names and
the first bytes of all files are held in memory, and the images of one study at a time.

Each study is read by `page.study.read`, so its report is the same as when it is read alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from data.images.dicom_identifiers import dicom_identifiers
from data.images.pixels import ImageRejected, read_bytes
from page.study.read import DEFAULT_GENERATION, StudyReading, read_study
from page.study.record import plain_line, plain_text
from page.study.upload import MAX_VIEWS, read_upload
from page.study.zip_archive import is_zip, open_zip, read_entry, read_entry_head, zip_entries
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDING_INDEX, FINDINGS

MAX_FILES = 10_000
"""Maximum number of files in one worklist; side files and folders count."""
_HEAD_BYTES = 64 * 2**10
"""Almost every DICOM file has its StudyInstanceUID in these first bytes."""
_TOO_MANY = f"more than the {MAX_FILES:,} files of one worklist; split them into several worklists"
READ, BLOCKED, REJECTED = "read", "blocked", "rejected"
"""Row states: read; not read because of image warnings; a file or study that cannot be used."""
PATHOLOGIES = tuple(finding for finding in FINDINGS if finding not in ("No Finding", "Support Devices"))


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file that is read later. `folder` is its path below the common parent folder of all files."""

    name: str
    folder: str
    study_uid: str
    read: Callable[[], bytes]
    """Raises ImageRejected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFiles:
    """The files of one study, sorted by name."""

    name: str
    study_uid: str
    files: tuple[SourceFile, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorklistRow:
    """One study, or one file that cannot be used. `reason`: why it was not read, or its image warnings."""

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
    """By finding, for those with training labels; empty if the study was not read."""
    expected_errors: float | None = None
    """Expected number of wrong predictions, if probabilities are calibrated: how uncertain the model is."""
    predicted_positive: tuple[str, ...] = ()
    """Findings with a probability at or above their threshold, most probable first."""

    @property
    def most_probable(self) -> str:
        """The most probable pathology; "" if the study was not read."""
        known = [finding for finding in PATHOLOGIES if finding in self.probabilities]
        return max(known, key=self.probabilities.__getitem__) if known else ""

    @property
    def any_finding(self) -> float | None:
        """Probability of the most probable pathology, a lower bound for "any pathology"."""
        return self.probabilities.get(self.most_probable)

    def sort_value(self, finding: str) -> float:
        """Probability of `finding` ("": of any pathology); negative for studies without one."""
        value = self.probabilities.get(finding) if finding else self.any_finding
        return {READ: -1.0, BLOCKED: -2.0, REJECTED: -3.0}[self.state] if value is None else value


@dataclass(frozen=True, kw_only=True, slots=True)
class WorklistStep:
    """One more row, and the progress: `num_done` of `num_studies`."""

    row: WorklistRow | None
    num_done: int
    num_studies: int


def read_worklist(
    generator: ReportGenerator,
    sources: Sequence[Path],
    *,
    options: GenerationOptions = DEFAULT_GENERATION,
    write_anyway: bool = False,
) -> Iterator[WorklistStep]:
    """Read all studies in the order of their files; the first step has no row and gives the number of studies.

    Raises:
        ValueError: no source is given, or there are too many files.
    """
    if not sources:
        raise ValueError("Nothing to read yet: upload a zip, a folder, or several files first.")
    with open_sources(sources) as (files, rejections):
        studies = group_studies(files)
        yield WorklistStep(row=None, num_done=0, num_studies=len(studies))
        for rejected in rejections:
            yield WorklistStep(row=_rejected_file(str(rejected)), num_done=0, num_studies=len(studies))
        for number, study in enumerate(studies, start=1):
            for row in _read_study(generator, study, options, write_anyway):
                yield WorklistStep(row=row, num_done=number, num_studies=len(studies))


def sort_by_probability(rows: Sequence[WorklistRow], finding: str = "") -> list[WorklistRow]:
    """Highest probability of `finding` ("": of any pathology) first; then blocked studies, then rejected files.

    Raises:
        ValueError: `finding` is unknown.
    """
    if finding and finding not in FINDING_INDEX:
        raise ValueError(f"there is no finding {finding!r}; choose one of {', '.join(FINDINGS)}")
    return sorted(rows, key=lambda row: -row.sort_value(finding))


@contextmanager
def open_sources(sources: Sequence[Path]) -> Iterator[tuple[list[SourceFile], list[ImageRejected]]]:
    """All files in these files, zips and folders, readable until the context ends; and the sources that failed.

    Raises:
        ValueError: there are too many files.
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


def group_studies(files: Sequence[SourceFile]) -> list[StudyFiles]:
    """The studies, in the order of their first files; every file belongs to exactly one."""
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


def _from_file(path: Path, stack: ExitStack) -> list[SourceFile]:
    try:
        file = stack.enter_context(path.open("rb"))
    except FileNotFoundError as error:
        raise ImageRejected(f"{path.name}: no longer exists; upload it again") from error
    except OSError as error:
        raise ImageRejected(f"{path.name}: cannot be read ({error.strerror})") from error
    head = file.read(_HEAD_BYTES)
    if not is_zip(head):
        file.close()
        read = partial(read_bytes, path, name=path.name)
        return [SourceFile(name=plain_line(path.name), folder="", study_uid=_study_uid(lambda: head), read=read)]
    # The zip stays open, because uploads are removed after a while.
    archive = stack.enter_context(open_zip(file, name=path.name, max_files=MAX_FILES, too_many=_TOO_MANY))
    entries = zip_entries(archive, name=path.name)
    folders = _below_common_parent([PurePosixPath(entry.filename).parent for entry in entries])
    return [
        SourceFile(
            name=plain_line(entry.filename),
            folder=folder,
            study_uid=_study_uid(partial(read_entry_head, archive, entry, _HEAD_BYTES, name=path.name)),
            read=partial(read_entry, archive, entry, name=path.name),
        )
        for entry, folder in zip(entries, folders, strict=True)
    ]


def _from_folder(root: Path) -> list[SourceFile]:
    """All files of a folder. Symbolic links are ignored: they can point outside the folder."""
    paths = []
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            paths.append(path)
        if len(paths) > MAX_FILES:
            raise ValueError(f"{root} holds {_TOO_MANY}.")
    paths.sort()
    names = [path.relative_to(root) for path in paths]
    folders = _below_common_parent([PurePosixPath(name.parent) for name in names])
    return [
        SourceFile(
            name=plain_line(name.as_posix()),
            folder=folder,
            study_uid=_study_uid(partial(_file_head, path)),
            read=partial(read_bytes, path, name=name.as_posix()),
        )
        for path, name, folder in zip(paths, names, folders, strict=True)
    ]


def _file_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _study_uid(read_head: Callable[[], bytes]) -> str:
    """Empty without one, and if the file cannot be read: that error is reported when the study is read."""
    try:
        identifiers = dicom_identifiers(read_head())
    except (ImageRejected, OSError):
        return ""
    return identifiers.study_instance_uid if identifiers else ""


def _below_common_parent(folders: Sequence[PurePosixPath]) -> list[str]:
    """Each folder without the leading parts that all folders share."""
    num_common = 0
    for parts in zip(*(folder.parts for folder in folders), strict=False):
        if len(set(parts)) > 1:
            break
        num_common += 1
    return [plain_line("/".join(folder.parts[num_common:])) for folder in folders]


def _read_study(
    generator: ReportGenerator, study: StudyFiles, options: GenerationOptions, write_anyway: bool
) -> Iterator[WorklistRow]:
    """A row for each file that cannot be used, and one for the rest."""
    if len(study.files) > MAX_VIEWS:
        reason = f"has {len(study.files)} images, more than the {MAX_VIEWS} that one study may have"
        names = tuple(file.name for file in study.files)
        yield WorklistRow(study=study.name, files=names, state=REJECTED, reason=reason, study_uid=study.study_uid)
        return
    images = []
    for file in study.files:
        try:
            images.append(read_upload(file.read(), file.name, generator.config.preprocessing))
        except ImageRejected as rejected:
            yield _rejected_file(str(rejected), file)
    if not images:
        return
    columns = {"study": study.name, "files": tuple(image.name for image in images), "study_uid": study.study_uid}
    try:
        *_, reading = read_study(generator, images, options=options, write_anyway=write_anyway)
    except ValueError as error:
        yield WorklistRow(state=REJECTED, reason=plain_line(str(error)), **columns)
        return
    yield _row(reading, generator, columns)


def _row(reading: StudyReading, generator: ReportGenerator, columns: dict) -> WorklistRow:
    columns |= {
        "view_positions": tuple(image.view_position for image in reading.images),
        "reason": plain_line(" ".join(reading.image_warnings)),
    }
    report, calibration = reading.report, generator.calibration
    if report is None:
        return WorklistRow(state=BLOCKED, **columns)
    values = zip(FINDINGS, report.finding_probabilities, calibration.is_known, strict=True)
    probabilities = {finding: probability for finding, probability, is_known in values if is_known}
    thresholds = dict(zip(FINDINGS, calibration.thresholds, strict=True))
    positive = [finding for finding, probability in probabilities.items() if probability >= thresholds[finding]]
    return WorklistRow(
        state=READ,
        findings=plain_text(report.findings),
        impression=plain_text(report.impression),
        report=plain_text(report.report),
        probabilities=probabilities,
        expected_errors=(
            calibration.expected_errors(report.finding_probabilities) if calibration.is_calibrated else None
        ),
        predicted_positive=tuple(sorted(positive, key=probabilities.__getitem__, reverse=True)),
        **columns,
    )


def _rejected_file(reason: str, file: SourceFile | None = None) -> WorklistRow:
    name = file.name if file else plain_line(reason.split(": ")[0])
    return WorklistRow(
        study=name, files=(name,), state=REJECTED, reason=plain_line(reason), study_uid=file.study_uid if file else ""
    )
