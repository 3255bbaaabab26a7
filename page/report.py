"""One study's report on the command line: the same as the web page and its API write.

    python -m page.report frontal.dcm lateral.dcm --indication "Cough and fever."
    python -m page.report study.zip --checkpoint runs/mine/best --format json > report.json

Images of one study (PNG, JPEG, WebP, TIFF, DICOM, or a zip of them) in; the report to standard output; which model
read them, and warnings, to standard error. Exit status 2: a mistake in what was given; 3: there are doubts whether the
model can read the study, so that the report is only written with --write-anyway.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import tyro

from data.cli import run_main
from page.export.formats import take_away
from page.study.read import MAX_INDICATION_CHARACTERS, Reading, read_files
from page.study.record import model_identity, study_record
from vlm.checkpoint.store import SHIPPED, model_line
from vlm.generator import GenerationOptions, ReportGenerator

WITHHELD = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """Write the report of one study."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Images of one study, or a zip of them."""
    checkpoint: str = SHIPPED
    """Checkpoint folder (or hub id); by default the one that ships with the project."""
    indication: str = ""
    """Why the images were taken."""
    view_positions: tuple[Literal["auto", "PA", "AP", "lateral"], ...] = ()
    """One for each image, or one for all; auto, the default, asks the DICOM header."""
    format: Literal["report", "text", "json", "pdf", "fhir", "sr"] = "report"
    """report: what the model wrote and nothing else; the others are the files that the web page offers."""
    output: Path | None = None
    """File to write instead of standard output."""
    include_identity: bool = False
    """Keep file names and, from a DICOM header, who the patient is (all formats but report)."""
    write_anyway: bool = False
    """Write the report also where there are doubts."""
    max_new_tokens: int = 160
    """Longest report, in tokens."""

    def __post_init__(self):
        if not self.images:
            raise ValueError("no image is given; name the files of one study")
        if len(self.indication) > MAX_INDICATION_CHARACTERS:
            raise ValueError(
                f"--indication has {len(self.indication)} characters; shorten it to {MAX_INDICATION_CHARACTERS} at most"
            )
        if self.format in ("pdf", "sr") and self.output is None and sys.stdout.isatty():
            raise ValueError(f"--format {self.format} is no text for a terminal; name a file with --output")


def main(argv: Sequence[str] | None = None) -> int:
    """Parses, reads, prints; returns the exit status."""
    options = tyro.cli(ReportOptions, args=argv, description=__doc__)
    print(model_line(options.checkpoint), file=sys.stderr, flush=True)
    generator = ReportGenerator.from_pretrained(options.checkpoint)
    if options.format == "report" and not generator.writes_reports:
        raise ValueError(
            f"{options.checkpoint} only classifies, for it has learned no reports; --format text or json gives its "
            "findings, or name another --checkpoint"
        )
    *_, reading = read_files(
        generator,
        options.images,
        views=options.view_positions,
        indication=options.indication,
        options=GenerationOptions(max_new_tokens=options.max_new_tokens),
        write_anyway=options.write_anyway,
    )
    for doubt in reading.doubts:
        print(f"warning: {doubt}", file=sys.stderr)
    if reading.is_withheld:
        print("no report is written; --write-anyway writes it all the same", file=sys.stderr)
        return WITHHELD
    content = _content(reading, generator, options)
    if options.output is not None:
        options.output.write_bytes(content)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    return 0


def _content(reading: Reading, generator: ReportGenerator, options: ReportOptions) -> bytes:
    if options.format == "report":
        return f"{reading.report.report}\n".encode()
    record = study_record(reading, generator, model_identity(generator), read_at=datetime.now(UTC))
    return take_away(record, options.format, include_identity=options.include_identity).content


if __name__ == "__main__":
    run_main(main, mistakes=(ValueError, OSError))
