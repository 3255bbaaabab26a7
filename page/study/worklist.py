"""Read many studies: sources of studies in, one row per study out; a bad file costs at most its own study.

    for row, num_done, num_studies in read_worklist(generator, [Path("month.zip")]):
        print(num_done, row)

Each study is read by `page.study.read`, so its report is the same as when it is read alone. A study with a file that
cannot be used is read from its other files, and `reason` names the file. Images of one study, or of one batch of
studies, are held in memory at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.corrections.correction import image_hash, study_hash
from data.images.pixels import ImageRejected
from page.study.plain_text import plain_line
from page.study.prior import PREFIX, PriorStudy, as_prior, prior_study
from page.study.read import DEFAULT_GENERATION, StudyInput, StudyReading, read_studies
from page.study.row import StudyRow, generator_name, rejected_row, study_row
from page.study.sources import SourceFile, group_studies, open_sources
from page.study.upload import MAX_VIEWS, UploadedImage, read_upload
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDING_INDEX, FINDINGS
from vlm.schema.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How studies are read; see `page.study.read.read_study` and `page.study.row.study_row`."""

    generation: GenerationOptions = DEFAULT_GENERATION
    write_anyway: bool = False
    include_identity: bool = False
    by_system: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorSource:
    """The prior study of a study that is read later."""

    images: tuple[Callable[[], UploadedImage], ...]
    """Functions that read the images, like those of StudySource."""
    report: str = ""
    interval_days: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySource:
    """A study that is read later: a name, and for each of its files its name and the function that reads it.

    The functions raise ImageRejected for a file that cannot be used.
    """

    name: str
    files: tuple[str, ...]
    images: tuple[Callable[[], UploadedImage], ...]
    study_uid: str = ""
    indication: str = ""
    prior: "PriorSource | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """The row of a study, and its reading if it could be read."""

    row: StudyRow
    reading: StudyReading | None = None


def study_source(name: str, files: Sequence[SourceFile], preprocessing: Preprocessing) -> StudySource:
    """The study in these files."""

    def image_of(file: SourceFile) -> Callable[[], UploadedImage]:
        return lambda: read_upload(file.read(), file.name, preprocessing)

    return StudySource(
        name=name,
        files=tuple(file.name for file in files),
        images=tuple(map(image_of, files)),
        study_uid=files[0].study_uid,
    )


def images_hash_of(source: StudySource) -> str:
    """The column `images_hash` of a study, without the model; "" if no image can be used."""
    try:
        return study_hash(image_hash(image.image) for image in _read_images(source.images, []))
    except ValueError:
        return ""


def read_sources(generator: ReportGenerator, sources: Sequence[StudySource], options: ReadOptions) -> list[StudyResult]:
    """One result for each study, in order; the model reads all of them as one batch."""
    results: dict[int, StudyResult] = {}
    inputs: dict[int, StudyInput] = {}
    problems: dict[int, list[str]] = {}
    for number, source in enumerate(sources):
        problems[number] = []
        try:
            images = _read_images(source.images, problems[number])
            prior = _read_prior(source.prior, problems[number]) if source.prior else None
            inputs[number] = StudyInput(images=images, indication=source.indication, prior=prior)
        except ValueError as error:
            results[number] = _rejected(generator, source, error)
    for number, reading in _read_inputs(generator, inputs, options).items():
        source = sources[number]
        if isinstance(reading, ValueError):
            results[number] = _rejected(generator, source, reading)
            continue
        row = study_row(
            generator,
            reading,
            source.name,
            files=source.files,
            problems=problems[number],
            include_identity=options.include_identity,
            by_system=options.by_system,
        )
        results[number] = StudyResult(row=row, reading=reading)
    return [results[number] for number in range(len(sources))]


def read_worklist(
    generator: ReportGenerator, sources: Sequence[Path], options: ReadOptions
) -> Iterator[tuple[StudyRow | None, int, int]]:
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
            yield _rejected_source(generator, rejected), 0, len(studies)
        for number, (name, study) in enumerate(studies, start=1):
            source = study_source(name, study, generator.config.preprocessing)
            [result] = read_sources(generator, [source], options)
            yield result.row, number, len(studies)


def sort_by_probability(rows: Sequence[StudyRow], finding: str = "") -> list[StudyRow]:
    """Highest probability of `finding` ("": of any pathology) first; then blocked studies, then rejected files.

    Raises:
        ValueError: `finding` is unknown.
    """
    if finding and finding not in FINDING_INDEX:
        raise ValueError(f"there is no finding {finding!r}; choose one of {', '.join(FINDINGS)}")
    return sorted(rows, key=lambda row: -row.sort_value(finding))


def _rejected_source(generator: ReportGenerator, rejected: ImageRejected) -> StudyRow:
    """The row of a file or zip that cannot be opened."""
    name = plain_line(str(rejected).split(": ")[0])
    return rejected_row(name, str(rejected), model=generator_name(generator), files=[name])


def _read_prior(source: PriorSource, problems: list[str]) -> PriorStudy | None:
    """The prior study; None if none of its images can be used, because the study can still be read without it.

    Raises:
        ValueError: see `prior_study`.
    """
    failures: list[str] = []
    try:
        images = [as_prior(image) for image in _read_images(source.images, failures)]
    except ValueError as error:
        problems.append(f"Read without its prior study: {error}.")
        return None
    problems += (failure.replace("Not used: ", f"Not used: {PREFIX}", 1) for failure in failures)
    return prior_study(images, report=source.report, interval_days=source.interval_days)


def _read_images(reads: Sequence[Callable[[], UploadedImage]], problems: list[str]) -> list[UploadedImage]:
    """The images that can be used; the reasons of the others are added to `problems`.

    Raises:
        ValueError: there are too many, or none can be used.
    """
    if len(reads) > MAX_VIEWS:
        raise ValueError(f"has {len(reads)} images, more than the {MAX_VIEWS} that one study may have")
    images = []
    for read in reads:
        try:
            images.append(read())
        except ImageRejected as rejected:
            problems.append(f"Not used: {rejected}.")
    if not images:
        raise ValueError(" ".join(problem.removeprefix("Not used: ").removesuffix(".") for problem in problems))
    return images


def _read_inputs(
    generator: ReportGenerator, inputs: dict[int, StudyInput], options: ReadOptions
) -> dict[int, StudyReading | ValueError]:
    """A reading for each input, or the error. If a batch fails, its studies are read one by one."""
    settings = {"options": options.generation, "write_anyway": options.write_anyway}
    try:
        readings = read_studies(generator, list(inputs.values()), **settings) if inputs else []
        return dict(zip(inputs, readings, strict=True))
    except ValueError as error:
        if len(inputs) == 1:
            return dict.fromkeys(inputs, error)
    return {
        number: found
        for one in inputs
        for number, found in _read_inputs(generator, {one: inputs[one]}, options).items()
    }


def _rejected(generator: ReportGenerator, source: StudySource, error: ValueError) -> StudyResult:
    model = generator_name(generator)
    row = rejected_row(source.name, str(error), model=model, files=source.files, study_uid=source.study_uid)
    return StudyResult(row=row)
