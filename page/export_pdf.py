"""A study's report as a PDF of A4 pages: a `StudyRecord` in, the bytes of the file out.

The pictures, the heatmaps of the findings that are called present, the report, warnings, and all findings with
probability, threshold and what the report says of them. Each page says that it is a machine's draft. The same record
always gives the same bytes.
"""

from html import escape
from io import BytesIO

import numpy as np
from PIL import Image as PillowImage
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from page import pdf_style as style
from page.export_text import TITLE, by_probability, facts, sections
from page.study_record import NOT_A_DEVICE, RecordedFinding, StudyRecord, without_identity
from vlm.schema.findings import FINDING_INDEX

MAX_PICTURE_HEIGHT, MAX_HEATMAP_HEIGHT = 230.0, 150.0
"""In points, 72 to the inch."""
PICTURE_PIXELS, HEATMAP_PIXELS = 1024, 512
"""Longest side as stored."""
MAX_PICTURES_IN_A_ROW, HEATMAPS_IN_A_ROW = 3, 4
GAP = 6.0


def export_pdf(record: StudyRecord, *, include_identity: bool = False) -> bytes:
    """The file.

    Raises:
        ValueError: with identity, the pictures are of several patients.
    """
    record = record if include_identity else without_identity(record)
    style.load_fonts()
    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=(style.PAGE_WIDTH, style.PAGE_HEIGHT),
        **dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), style.MARGIN - style.FRAME_PADDING),
        title=TITLE,
        author="cxrscribe",
        subject=f"{record.status} {NOT_A_DEVICE}",
        creator=f"cxrscribe {record.model.program_version}",
        lang="en",
        invariant=1,
    )

    def canvas(*arguments, **settings) -> style.NumberedCanvas:
        made = style.NumberedCanvas(*arguments, **settings)
        made.foot = f"{record.pseudonym} · preliminary, machine-written · not a medical device"
        return made

    document.build(_story(record), canvasmaker=canvas)
    return buffer.getvalue()


def _story(record: StudyRecord) -> list[Flowable]:
    story = [Paragraph(TITLE, style.TITLE), Spacer(0, 5), _boxed([record.status + " " + NOT_A_DEVICE])]
    story += [Spacer(0, 6), _facts(record), Spacer(0, 8), *_pictures(record)]
    for heading, text in sections(record):
        story.append(Paragraph(heading, style.HEADING))
        story += [Paragraph(escape(line), style.TEXT) for line in text.split("\n") if line]
    warnings = [*record.warnings, *_unshown(record)]
    if warnings:
        story += [Paragraph("Warnings", style.HEADING), _boxed(warnings)]
    story += _heatmaps(record)
    story += [
        KeepTogether([Paragraph("Findings by probability", style.HEADING), _findings(record)]),
        Spacer(0, 4),
        Paragraph(
            f"{escape(record.calibration_note)} The tick on a bar is the threshold from which on a finding is called "
            "present.",
            style.SOFT_SMALL,
        ),
    ]
    return story


def _boxed(texts: list[str]) -> Table:
    """Paragraphs on a tinted ground; one that is long goes on over the page."""
    rows = [[Paragraph(escape(text), style.WARNING_TEXT)] for text in texts]
    ground = [
        ("BACKGROUND", (0, 0), (-1, -1), style.WARNING_GROUND),
        ("LINEBEFORE", (0, 0), (0, -1), 2.5, style.WARNING),
        ("LEFTPADDING", (0, 0), (-1, -1), 8),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ]
    return Table(rows, colWidths=[style.WIDTH], style=TableStyle(ground), splitInRow=1)


def _facts(record: StudyRecord) -> Table:
    rows = [[Paragraph(label, style.SOFT_SMALL), Paragraph(escape(text), style.SMALL)] for label, text in facts(record)]
    tight = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 0),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
    ]
    return Table(rows, colWidths=[62, style.WIDTH - 62], style=TableStyle(tight))


def _pictures(record: StudyRecord) -> list[Flowable]:
    captions = [
        f"Picture {number}: {'view position unknown' if view.kind == 'unknown' else view.kind}"
        for number, view in enumerate(record.views, start=1)
    ]
    images = [_stored(view.image, PICTURE_PIXELS) for view in record.views]
    columns = min(len(images), MAX_PICTURES_IN_A_ROW)
    return [_grid(images, captions, columns=columns, max_height=MAX_PICTURE_HEIGHT)]


def _heatmaps(record: StudyRecord) -> list[Flowable]:
    """For each finding that is called present, the view with most of its attention."""
    rows = [row for row in by_probability(record) if row.is_called and row.finding != "No Finding"]
    if not rows:
        return []
    images, captions = [], []
    for row in rows:
        attention = record.attention_maps[FINDING_INDEX[row.finding]]
        view = int(np.argmax(attention.sum(axis=(1, 2))))
        images.append(_stored(record.heatmap(row.finding, view), HEATMAP_PIXELS))
        of_view = f", picture {view + 1}" if len(record.views) > 1 else ""
        captions.append(f"{row.finding} {row.percent}{of_view}")
    grid = _grid(images, captions, columns=HEATMAPS_IN_A_ROW, max_height=MAX_HEATMAP_HEIGHT)
    note = "Brightest where the model looked most for a finding; not why, and not how likely the finding is."
    head = [Paragraph("Where the model looked", style.HEADING), Paragraph(note, style.SOFT_SMALL), Spacer(0, 4)]
    return [KeepTogether([*head, grid])] if len(rows) <= HEATMAPS_IN_A_ROW else [*head, grid]


def _grid(images: list[Image], captions: list[str], *, columns: int, max_height: float) -> Table:
    """Pictures in rows, each with its caption below."""
    cell = style.WIDTH / columns
    rows = []
    for start in range(0, len(images), columns):
        part = images[start : start + columns]
        for image in part:
            scale = min((cell - GAP) / image.imageWidth, max_height / image.imageHeight)
            image.drawWidth, image.drawHeight = image.imageWidth * scale, image.imageHeight * scale
        blank = [""] * (columns - len(part))
        labels = [Paragraph(escape(text), style.CAPTION) for text in captions[start : start + columns]]
        rows += [[*part, *blank], [*labels, *blank]]
    commands = [
        ("ALIGN", (0, 0), (-1, -1), "CENTER"),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LEFTPADDING", (0, 0), (-1, -1), GAP / 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), GAP / 2),
        ("TOPPADDING", (0, 0), (-1, -1), 0),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ]
    # A picture and its caption are not parted by the end of a page.
    commands += [("NOSPLIT", (0, row), (-1, row + 1)) for row in range(0, len(rows), 2)]
    return Table(rows, colWidths=[cell] * columns, style=TableStyle(commands))


def _stored(picture: PillowImage.Image, max_pixels: int) -> Image:
    small = picture.copy()
    small.thumbnail((max_pixels, max_pixels))
    buffer = BytesIO()
    small.save(buffer, "jpeg", quality=90)
    buffer.seek(0)
    return Image(buffer)


def _findings(record: StudyRecord) -> Table:
    bar = 96.0
    widths = [131.0, bar + 10, 36.0, 50.0, 38.0]
    heads = ("Finding", "Probability", "", "Threshold", "Called", "The report says")
    rows = [[Paragraph(head, style.SOFT_SMALL) for head in heads]]
    rows += [_finding(row, bar) for row in by_probability(record)]
    lines = [
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, style.LINE),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ]
    return Table(rows, colWidths=[*widths, style.WIDTH - sum(widths)], style=TableStyle(lines), repeatRows=1)


def _finding(row: RecordedFinding, bar_width: float) -> list[Flowable]:
    text = style.CALLED if row.is_called else style.SMALL
    agreement = f"≠ {row.agreement}" if row.disagrees else row.agreement
    return [
        Paragraph(row.finding, text),
        style.ProbabilityBar(row.probability, row.threshold, is_called=row.is_called, width=bar_width),
        Paragraph(escape(row.percent), text),
        Paragraph(f"{row.threshold:.0%}", style.SMALL),
        Paragraph("yes" if row.is_called else "no", text),
        Paragraph(agreement, style.DISAGREES if row.disagrees else style.SMALL),
    ]


def _unshown(record: StudyRecord) -> list[str]:
    texts = [text for _, text in [*facts(record), *sections(record)]] + list(record.warnings)
    missing = style.missing_letters("".join(texts))
    if not missing:
        return []
    return [f"{len(missing)} letters have no shape in this document's font; the text export holds them all."]
