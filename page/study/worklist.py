"""Read many studies: files, zips and folders in, one worklist row per study out; a bad file is a row with its reason.

    for row, num_done, num_studies in read_worklist(generator, [Path("month.zip")]):
        print(num_done, row)

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
from itertools import takewhile
from pathlib import Path, PurePosixPath

from data.images.dicom.identifiers import dicom_identifiers
from data.images.pixels import ImageRejected, read_bytes
from page.study.read import DEFAULT_GENERATION, read_study
from page.study.record import by_probability, finding_rows, plain_line, plain_text
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


_ReadBytes = Callable[[], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file that is read later. `folder` is its path below the common parent folder of all files."""

    name: str
    folder: str
    study_uid: str
    read: _ReadBytes
    """Raises ImageRejected."""


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


def read_worklist(
    generator: ReportGenerator,
    sources: Sequence[Path],
    *,
    options: GenerationOptions = DEFAULT_GENERATION,
    write_anyway: bool = False,
) -> Iterator[tuple[WorklistRow | None, int, int]]:
    """Read all studies in the order of their files: one row more, the number of studies done, and of all studies.

    The first step has no row.

    Raises:
        ValueError: no source is given, or there are too many files.
    """
    if not sources:
        raise ValueError("Nothing to read yet: upload a zip, a folder, or several files first.")
    with open_sources(sources) as (files, rejections):
        studies = group_studies(files)
        yield None, 0, len(studies)
        for rejected in rejections:
            yield _rejected_file(str(rejected)), 0, len(studies)
        for number, (name, study) in enumerate(studies, start=1):
            for row in _read_study(generator, name, study, options, write_anyway):
                yield row, number, len(studies)


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


def group_studies(files: Sequence[SourceFile]) -> list[tuple[str, list[SourceFile]]]:
    """Name and files of each study, in the order of their first files; every file belongs to exactly one."""
    folders = defaultdict(list)
    for file in files:
        if not file.study_uid and file.folder:
            folders[file.folder].append(file)
    groups = defaultdict(list)
    for number, file in enumerate(files):
        shared = not file.study_uid and 1 < len(folders.get(file.folder, ())) <= MAX_VIEWS
        groups[(file.study_uid, file.folder) if shared else (file.study_uid or number, "")].append(file)
    return [(folder or members[0].name, members) for (_, folder), members in groups.items()]


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
        return _source_files([(path.name, lambda: head, partial(read_bytes, path, name=path.name))])
    # The zip stays open, because uploads are removed after a while.
    archive = stack.enter_context(open_zip(file, name=path.name, max_files=MAX_FILES, too_many=_TOO_MANY))
    return _source_files(
        [
            (
                entry.filename,
                partial(read_entry_head, archive, entry, _HEAD_BYTES, name=path.name),
                partial(read_entry, archive, entry, name=path.name),
            )
            for entry in zip_entries(archive, name=path.name)
        ]
    )


def _from_folder(root: Path) -> list[SourceFile]:
    """All files of a folder. Symbolic links are ignored: they can point outside the folder."""
    paths = []
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            paths.append(path)
        if len(paths) > MAX_FILES:
            raise ValueError(f"{root} holds {_TOO_MANY}.")
    names = {path: path.relative_to(root).as_posix() for path in sorted(paths)}
    return _source_files(
        [(name, partial(_file_head, path), partial(read_bytes, path, name=name)) for path, name in names.items()]
    )


def _source_files(files: Sequence[tuple[str, _ReadBytes, _ReadBytes]]) -> list[SourceFile]:
    """From the path of each file in its folder or zip, and the functions that read its first bytes and all bytes."""
    folders = [PurePosixPath(name).parent for name, _, _ in files]
    parts = zip(*(folder.parts for folder in folders), strict=False)
    num_common = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, parts))
    return [
        SourceFile(
            name=plain_line(name),
            folder=plain_line("/".join(folder.parts[num_common:])),
            study_uid=_study_uid(read_head),
            read=read,
        )
        for (name, read_head, read), folder in zip(files, folders, strict=True)
    ]


def _file_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _study_uid(read_head: _ReadBytes) -> str:
    """Empty without one, and if the file cannot be read: that error is reported when the study is read."""
    try:
        identifiers = dicom_identifiers(read_head())
    except (ImageRejected, OSError):
        return ""
    return identifiers.study_instance_uid if identifiers else ""


def _read_study(
    generator: ReportGenerator, name: str, files: Sequence[SourceFile], options: GenerationOptions, write_anyway: bool
) -> Iterator[WorklistRow]:
    """A row for each file that cannot be used, and one for the rest."""
    columns = {"study": name, "study_uid": files[0].study_uid}
    if len(files) > MAX_VIEWS:
        reason = f"has {len(files)} images, more than the {MAX_VIEWS} that one study may have"
        yield WorklistRow(files=tuple(file.name for file in files), state=REJECTED, reason=reason, **columns)
        return
    images = []
    for file in files:
        try:
            images.append(read_upload(file.read(), file.name, generator.config.preprocessing))
        except ImageRejected as rejected:
            yield _rejected_file(str(rejected), file)
    if not images:
        return
    columns["files"] = tuple(image.name for image in images)
    try:
        *_, reading = read_study(generator, images, options=options, write_anyway=write_anyway)
    except ValueError as error:
        yield WorklistRow(state=REJECTED, reason=plain_line(str(error)), **columns)
        return
    columns |= {
        "view_positions": tuple(image.view_position for image in images),
        "reason": plain_line(" ".join([*reading.image_warnings, *reading.notes])),
    }
    if reading.is_blocked:
        yield WorklistRow(state=BLOCKED, **columns)
        return
    report, calibration = reading.report, reading.calibration
    rows = by_probability(finding_rows(reading))
    yield WorklistRow(
        state=READ,
        findings=plain_text(report.findings),
        impression=plain_text(report.impression),
        report=plain_text(report.report),
        probabilities={row.finding: row.probability for row in rows},
        expected_errors=(
            calibration.expected_errors(report.finding_probabilities) if calibration.is_calibrated else None
        ),
        predicted_positive=tuple(row.finding for row in rows if row.is_positive),
        **columns,
    )


def _rejected_file(reason: str, file: SourceFile | None = None) -> WorklistRow:
    name = file.name if file else plain_line(reason.split(": ")[0])
    return WorklistRow(
        study=name, files=(name,), state=REJECTED, reason=plain_line(reason), study_uid=file.study_uid if file else ""
    )
