"""Reports on the command line, the same as from the web page and its API: of one study, or of a folder of studies.

    python -m page.report frontal.dcm lateral.dcm --indication "Cough and fever."
    python -m page.report frontal.dcm --prior before.dcm --prior-report before.txt       # compares with a prior study
    python -m page.report frontal.dcm --structured
    python -m page.report frontal.dcm --operating-point sensitivity=0.9 --num-candidates 8
    python -m page.report study.zip --checkpoint runs/mine/best --format json > report.json
    python -m page.report frontal.dcm --output report.pdf                # or .json, .fhir.json, .dcm, .txt
    python -m page.report FOLDER --output reports.csv                    # or reports.jsonl; one row a study
    python -m page.report FOLDER --output reports.csv --exports fhir sr --export-folder exports

Reads images of one study (PNG, JPEG, WebP, TIFF, DICOM, or a zip of them). The report goes to standard output, the
model's name and warnings to standard error. Exit status 2: the input is wrong. Exit status 3: the model may not be able
to read the images, so the report is only written with --write-anyway.

In a folder or zip of studies, DICOM files with the same StudyInstanceUID are one study, and so are the other images of
one subfolder, if there are at most 6 of them; every other file is a study. The table has a row for every study, also
for those that cannot be read (state "rejected", with the reason); `page.study.row` explains its columns. Run the same
command again after an interruption, and it continues; studies with other files or images than before are read again.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from data.cli import run_main
from data.reports.structure import structured_report
from page.export.folder import Exports, write_table
from page.export.formats import export
from page.export.table import SUFFIXES
from page.study.prior import MAX_DAYS, MAX_REPORT_BYTES, PriorStudy, prior_study, read_prior_files
from page.study.read import (
    DEFAULT_GENERATION,
    MAX_INDICATION_CHARACTERS,
    check_num_candidates,
    check_reads_priors,
    choose_views,
    read_files,
)
from page.study.record import study_record
from page.study.worklist import ReadOptions
from vlm.checkpoint.store import SHIPPED, model_line
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import OperatingPoint
from vlm.precision import PrecisionChoice
from vlm.schema.atomic import write_atomically

BLOCKED = 3
FORMATS_OF_SUFFIX = {
    ".pdf": ("pdf",),
    ".fhir.json": ("fhir",),
    ".json": ("json", "fhir"),
    ".dcm": ("sr",),
    ".txt": ("report", "text"),
}
"""The formats that a file with this name may have; the first one is written without --format."""
_PRIOR_FLAGS = ("prior", "prior_report", "prior_days", "prior_view_positions")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """Write the report of one study, or a table of reports of many."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Images of one study, or a zip of them. With a table as --output: one folder or zip of studies."""
    checkpoint: str = SHIPPED
    """Checkpoint folder or hub id; the default is included in the project."""
    indication: str = ""
    """Reason for the X-ray."""
    view_positions: tuple[Literal["auto", "PA", "AP", "lateral"], ...] = ()
    """One per image, or one for all. The default, auto, reads the DICOM header."""
    prior: tuple[Path, ...] = ()
    """Images of one earlier study of the same patient, or a zip of them. The report then says what changed."""
    prior_report: Path | None = None
    """Text file with the report of the prior study."""
    prior_days: int | None = None
    """Days from the prior study to this one. By default, from the dates of the DICOM headers; if both are known and
    differ, a warning names both, and this number is used."""
    prior_view_positions: tuple[Literal["auto", "PA", "AP", "lateral"], ...] = ()
    """View positions of the prior images, as for --view-positions."""
    format: Literal["auto", "report", "text", "json", "pdf", "fhir", "sr"] = "auto"
    """report: only the text that the model wrote. text, json, pdf, fhir and sr: the files that the web page offers. The
    default, auto, follows the name of --output: .pdf, .json, .fhir.json, .dcm (sr); otherwise report."""
    output: Path | None = None
    """File to write instead of standard output. A table for many studies ends in .csv or .jsonl."""
    write_anyway: bool = False
    """Write the report even if there are warnings about the images."""
    max_new_tokens: int = DEFAULT_GENERATION.max_new_tokens
    """Maximum length of a report, in tokens."""
    num_candidates: int = DEFAULT_GENERATION.num_candidates
    """If the report has an error (it disagrees with the findings or with itself, …), write this many reports and keep
    the one with the fewest errors. 1 takes less time, but names a wrong side more often."""
    operating_point: str = "f1"
    """Thresholds of the findings: f1, or a target on validation studies such as sensitivity=0.9 or specificity=0.9. If
    the reports of the checkpoint state what the classifier decides, they follow."""
    include_identity: bool = False
    """Keep file names and the patient data of the DICOM header (all formats except report), and names in the texts of a
    table. A table always names its files, because its user must find them."""
    precision: PrecisionChoice = "fp32"
    """int8 is faster on a CPU, but about half of the reports differ in some words, and text scores fall slightly
    (docs/RESULTS.md). auto measures at the start which one is faster."""
    structured: bool = False
    """Write the findings by organ system; no sentence is changed or lost."""
    exports: tuple[Literal["text", "json", "pdf", "fhir", "sr"], ...] = ()
    """With a table: formats to export each report in, too."""
    export_folder: Path | None = None
    """Folder for --exports; the column `exports` of the table names the files."""

    def __post_init__(self):
        if not self.images:
            raise ValueError("no image is given; name the files of one study")
        if len(self.indication) > MAX_INDICATION_CHARACTERS:
            raise ValueError(
                f"--indication has {len(self.indication)} characters; shorten it to {MAX_INDICATION_CHARACTERS} at most"
            )
        check_num_candidates(self.num_candidates)
        OperatingPoint.parse(self.operating_point)
        for flag in _PRIOR_FLAGS[1:]:
            if getattr(self, flag) not in ((), None) and not self.prior:
                raise ValueError(f"--{flag.replace('_', '-')} needs --prior, the images of the prior study")
        if self.prior_days is not None and not 0 <= self.prior_days <= MAX_DAYS:
            raise ValueError(f"--prior-days is {self.prior_days}; give 0 to {MAX_DAYS}")
        if self.format in ("pdf", "sr") and self.output is None and sys.stdout.isatty():
            raise ValueError(f"--format {self.format} is a binary file; name a file with --output")
        if bool(self.exports) != (self.export_folder is not None):
            raise ValueError("--exports and --export-folder go together; give both, or neither")
        if not self.writes_table:
            self._check_format_fits_output()
            if self.exports:
                raise ValueError("--exports is for a table of many studies; use --format for one study")
            return
        if len(self.images) > 1:
            raise ValueError(f"--output {self.output} is a table of many studies; name one folder or zip of them")
        for flag in ("indication", "view_positions", *_PRIOR_FLAGS):
            if getattr(self, flag) not in ((), "", None):
                raise ValueError(f"--{flag.replace('_', '-')} is for one study, and --output {self.output} is a table")
        if self.format != "auto":
            raise ValueError(f"--format is for one study, and --output {self.output} is a table; use --exports")

    def _check_format_fits_output(self) -> None:
        formats = self._formats_of_output
        if self.format != "auto" and formats and self.format not in formats:
            raise ValueError(
                f"--format {self.format} does not fit --output {self.output}, which is a file for --format "
                f"{' or '.join(formats)}; change one of them, or leave --format out"
            )

    @property
    def _formats_of_output(self) -> tuple[str, ...]:
        """The formats that fit the name of the output; empty if every format does."""
        name = self.output.name.lower() if self.output else ""
        return next((formats for suffix, formats in FORMATS_OF_SUFFIX.items() if name.endswith(suffix)), ())

    @property
    def written_format(self) -> str:
        """--format, or the one that follows from --output."""
        return self.format if self.format != "auto" else (*self._formats_of_output, "report")[0]

    @property
    def generation(self) -> GenerationOptions:
        return GenerationOptions(max_new_tokens=self.max_new_tokens, num_candidates=self.num_candidates)

    @property
    def writes_table(self) -> bool:
        return self.output is not None and self.output.suffix.lower() in SUFFIXES


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options, read the study, and print the report; returns the exit status."""
    options = tyro.cli(ReportOptions, args=argv, description=__doc__)
    _check_paths(options)
    print(model_line(options.checkpoint), file=sys.stderr, flush=True)
    generator = ReportGenerator.from_pretrained(options.checkpoint, precision=options.precision)
    generator = generator.at(OperatingPoint.parse(options.operating_point))
    if options.writes_table:
        return _read_many(generator, options)
    if options.written_format == "report" and not generator.writes_reports:
        raise ValueError(
            f"{options.checkpoint} only classifies, because it was not trained on reports; use --format text or json "
            "for its findings, or name another --checkpoint"
        )
    *_, reading = read_files(
        generator,
        options.images,
        views=options.view_positions,
        indication=options.indication,
        prior=_prior(options, generator) if options.prior else None,
        options=options.generation,
        write_anyway=options.write_anyway,
    )
    record = None if reading.is_blocked else study_record(reading, generator)
    for warning in record.warnings if record else (*reading.image_warnings, *reading.notes):
        print(f"warning: {warning}", file=sys.stderr)
    if record is None:
        print("no report was written; --write-anyway writes it despite the warnings", file=sys.stderr)
        return BLOCKED
    if reading.report.is_truncated:
        print("the end of the report is missing; a larger --max-new-tokens writes it", file=sys.stderr)
    if options.written_format == "report":
        report = reading.report.report
        content = f"{structured_report(report) if options.structured else report}\n".encode()
    else:
        record = replace(record, by_system=options.structured)
        content = export(record, options.written_format, include_identity=options.include_identity).content
    _write(content, options.output)
    return 0


def _prior(options: ReportOptions, generator: ReportGenerator) -> PriorStudy | None:
    check_reads_priors(generator)
    images = choose_views(read_prior_files(options.prior, generator.config.preprocessing), options.prior_view_positions)
    report = ""
    if options.prior_report is not None:
        try:
            with options.prior_report.open("rb") as file:
                report = file.read(MAX_REPORT_BYTES + 1).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--prior-report {options.prior_report} is no readable text file in UTF-8") from error
    return prior_study(images, report=report, interval_days=options.prior_days)


def _read_many(generator: ReportGenerator, options: ReportOptions) -> int:
    reading = ReadOptions(
        generation=options.generation,
        write_anyway=options.write_anyway,
        include_identity=options.include_identity,
        by_system=options.structured,
    )
    [source] = options.images
    if options.export_folder is not None:
        options.export_folder.mkdir(parents=True, exist_ok=True)
    exports = Exports(formats=options.exports, folder=options.export_folder)
    counts = write_table(generator, source, options.output, reading, exports)
    for note in counts.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{counts.text}. {options.output}")
    return 0


def _check_paths(options: ReportOptions) -> None:
    """Find a mistyped path before the model is loaded."""
    for path in (*options.images, *options.prior, *filter(None, [options.prior_report])):
        if not path.exists():
            raise ValueError(f"{path}: does not exist; check the path")
        if path.is_dir() and not options.writes_table:
            raise ValueError(
                f"{path}: is a folder; name the images of one study in it, or a table for all its studies with "
                "--output reports.csv"
            )
    if (output := options.output) is not None and (output.is_dir() or not output.parent.is_dir()):
        problem = "is a folder; name a file in it" if output.is_dir() else "is in a folder that does not exist"
        raise ValueError(f"--output {output} {problem}")


def _write(content: bytes, output: Path | None) -> None:
    """Write to a file, or to standard output.

    Raises:
        ValueError: the disk is full, or the user may not write there; names the file, which has its old content.
    """
    try:
        if output is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            write_atomically(output, content)
    except OSError as error:
        if output is None:  # else Python would write again at its end, and fail with a traceback
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = "standard output" if output is None else f"--output {output}"
        raise ValueError(
            f"{where} cannot be written ({error.strerror}); free some space, or name another file"
        ) from error


if __name__ == "__main__":
    run_main(main)
