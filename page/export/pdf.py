"""A study's report as a PDF with A4 pages.

It shows the images, the report, its warnings, heatmaps of the findings that are predicted positive, and all findings
with probability, threshold and the report's statement. Every page says that it is a machine-written draft. The same
record always gives the same bytes.

The font is DejaVu Sans, which matplotlib includes: Latin, Greek, Cyrillic and medical symbols. It has no Chinese,
Japanese, Korean and most Indian characters; `missing_characters` finds them in a text.
"""

from functools import cache, partial
from html import escape
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image as PillowImage
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from data.reports.structure import SYSTEMS
from page.export.text import facts, sections
from page.study.findings import RecordedFinding
from page.study.record import NOT_A_DEVICE, StudyRecord, without_identity
from vlm.schema.findings import FINDING_INDEX

PAGE_WIDTH = A4[0]
MARGIN = 18 * mm
FRAME_PADDING = 6
"""Padding that reportlab adds inside the margins."""
TEXT_WIDTH = PAGE_WIDTH - 2 * MARGIN
INK, SOFT, LINE = HexColor("#16212b"), HexColor("#56636f"), HexColor("#d3dae0")
ACCENT, ACCENT_LIGHT, EMPTY_BAR = HexColor("#0b7285"), HexColor("#9fc9d1"), HexColor("#eef1f4")
WARNING, WARNING_GROUND = HexColor("#8a4b00"), HexColor("#fff6e0")
BODY, BOLD = "DejaVuSans", "DejaVuSans-Bold"


@cache
def load_fonts() -> None:
    """Register the fonts with reportlab, once."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (BODY, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(BODY, normal=BODY, bold=BOLD, italic=BODY, boldItalic=BOLD)


def missing_characters(text: str) -> str:
    """The characters of a text that the font does not have."""
    load_fonts()
    known = pdfmetrics.getFont(BODY).face.charToGlyph
    return "".join(sorted({character for character in text if not character.isspace() and ord(character) not in known}))


def _style(name: str, size: float, *, color: Color = INK, font: str = BODY, **settings) -> ParagraphStyle:
    return ParagraphStyle(name, fontName=font, fontSize=size, leading=size * 1.4, textColor=color, **settings)


TITLE_STYLE = _style("title", 17, font=BOLD)
HEADING = _style("heading", 11, font=BOLD, color=ACCENT, spaceBefore=9, spaceAfter=2, keepWithNext=1)
TEXT = _style("text", 9.5)
SYSTEM = _style("system", 9.5, font=BOLD, keepWithNext=1)
SMALL = _style("small", 8)
SOFT_SMALL = _style("soft", 8, color=SOFT)
POSITIVE = _style("positive", 8, font=BOLD)
CAPTION = _style("caption", 7.5, color=SOFT, alignment=1)
WARNING_TEXT = _style("warning", 8.5, color=WARNING)
DISAGREES = _style("disagrees", 8, color=WARNING)


class ProbabilityBar(Flowable):
    """A bar from 0 to 1, dark if the finding is predicted positive, with a tick at the threshold."""

    def __init__(self, row: RecordedFinding, *, width: float):
        super().__init__()
        self.row, self.width, self.height = row, width, 7

    def draw(self) -> None:
        canvas = self.canv
        canvas.setFillColor(EMPTY_BAR)
        canvas.rect(0, 0, self.width, self.height, stroke=0, fill=1)
        canvas.setFillColor(ACCENT if self.row.is_positive else ACCENT_LIGHT)
        canvas.rect(0, 0, self.width * self.row.probability, self.height, stroke=0, fill=1)
        canvas.setStrokeColor(INK)
        canvas.setLineWidth(1)
        tick = self.width * self.row.threshold
        canvas.line(tick, -1.5, tick, self.height + 1.5)


class NumberedCanvas(Canvas):
    """A canvas that writes the footers at the end, when the number of pages is known."""

    def __init__(self, *arguments, footer: str, **settings):
        super().__init__(*arguments, **settings)
        self._footer, self._pages = footer, []

    def showPage(self) -> None:  # noqa: N802 (reportlab's name)
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self.setFont(BODY, 7)
            self.setFillColor(SOFT)
            self.setStrokeColor(LINE)
            self.line(MARGIN, 13 * mm, PAGE_WIDTH - MARGIN, 13 * mm)
            self.drawString(MARGIN, 9.5 * mm, self._footer)
            self.drawRightString(PAGE_WIDTH - MARGIN, 9.5 * mm, f"Page {number} of {len(self._pages)}")
            super().showPage()
        super().save()


MAX_IMAGE_HEIGHT, MAX_HEATMAP_HEIGHT = 230.0, 150.0
"""Maximum heights in points (1/72 inch)."""
IMAGE_PIXELS, HEATMAP_PIXELS = 1024, 512
"""Longest side in the file."""
MAX_IMAGES_PER_ROW, HEATMAPS_PER_ROW = 3, 4
GAP = 6.0
ALL = (0, 0), (-1, -1)
"""All cells of a table, for its style."""


def export_pdf(record: StudyRecord, *, include_identity: bool = False) -> bytes:
    """The bytes of the file.

    Raises:
        ValueError: with identity, the images belong to several patients.
    """
    record = record if include_identity else without_identity(record)
    load_fonts()
    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        **dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), MARGIN - FRAME_PADDING),
        title=record.title,
        author="cxrscribe",
        subject=f"{record.status} {NOT_A_DEVICE}",
        creator=f"cxrscribe {record.model.program_version}",
        lang="en",
        invariant=1,
    )

    status = "checked by a reader" if record.is_signed else "preliminary"
    footer = f"{record.pseudonym} · {status}, machine-written · not a medical device"
    document.build(_story(record), canvasmaker=partial(NumberedCanvas, footer=footer))
    return buffer.getvalue()


def _story(record: StudyRecord) -> list[Flowable]:
    story = [Paragraph(record.title, TITLE_STYLE), Spacer(0, 5), _boxed([record.status + " " + NOT_A_DEVICE])]
    story += [Spacer(0, 6), _facts(record), Spacer(0, 8), _images(record)]
    for heading, text in sections(record):
        story.append(Paragraph(heading, HEADING))
        story += [Paragraph(escape(line), SYSTEM if line in SYSTEMS else TEXT) for line in text.split("\n") if line]
    warnings = [*record.warnings, *_font_warning(record)]
    if warnings:
        story += [Paragraph("Warnings", HEADING), _boxed(warnings)]
    story += _heatmaps(record)
    story += [
        KeepTogether([Paragraph("Findings by probability", HEADING), _findings(record)]),
        Spacer(0, 4),
        Paragraph(
            f"{escape(record.calibration_note)} A finding is predicted positive if its probability reaches the "
            "threshold, the tick on its bar.",
            SOFT_SMALL,
        ),
    ]
    return story


def _padded(left: float, top: float, bottom: float, *commands: tuple) -> TableStyle:
    """Style of a table with this padding in each cell, in points."""
    padding = {"LEFTPADDING": left, "TOPPADDING": top, "BOTTOMPADDING": bottom}
    return TableStyle([*((name, *ALL, points) for name, points in padding.items()), *commands])


def _boxed(texts: list[str]) -> Table:
    """Paragraphs on a colored background; a long one continues on the next page."""
    rows = [[Paragraph(escape(text), WARNING_TEXT)] for text in texts]
    ground = [("BACKGROUND", *ALL, WARNING_GROUND), ("LINEBEFORE", (0, 0), (0, -1), 2.5, WARNING)]
    return Table(rows, colWidths=[TEXT_WIDTH], style=_padded(8, 3, 3, *ground), splitInRow=1)


def _facts(record: StudyRecord) -> Table:
    rows = [[Paragraph(label, SOFT_SMALL), Paragraph(escape(text), SMALL)] for label, text in facts(record)]
    return Table(rows, colWidths=[62, TEXT_WIDTH - 62], style=_padded(0, 0, 1, ("VALIGN", *ALL, "TOP")))


def _images(record: StudyRecord) -> Table:
    captions = [f"Image {number}: {view.view_text}" for number, view in enumerate(record.views, start=1)]
    prior = record.prior.images if record.prior else ()
    captions += [f"Prior study, image {number}: {view.view_text}" for number, view in enumerate(prior, start=1)]
    images = [_stored(view.image, IMAGE_PIXELS) for view in (*record.views, *prior)]
    return _grid(images, captions, columns=min(len(images), MAX_IMAGES_PER_ROW), max_height=MAX_IMAGE_HEIGHT)


def _heatmaps(record: StudyRecord) -> list[Flowable]:
    """For each positive prediction, the view with most of its attention."""
    rows = [row for row in record.by_probability if row.is_positive and row.finding != "No Finding"]
    if not rows:
        return []
    images, captions = [], []
    for row in rows:
        attention = record.attention_maps[FINDING_INDEX[row.finding]]
        view = int(np.argmax(attention.sum(axis=(1, 2))))
        images.append(_stored(record.heatmap(row.finding, view), HEATMAP_PIXELS))
        of_view = f", image {view + 1}" if len(record.views) > 1 else ""
        captions.append(f"{row.finding} {row.percent}{of_view}")
    grid = _grid(images, captions, columns=HEATMAPS_PER_ROW, max_height=MAX_HEATMAP_HEIGHT)
    note = "Brightest where the model looked most for a finding. This is not why, and not how likely the finding is."
    head = [Paragraph("Where the model looked", HEADING), Paragraph(note, SOFT_SMALL), Spacer(0, 4)]
    return [KeepTogether([*head, grid])] if len(rows) <= HEATMAPS_PER_ROW else [*head, grid]


def _grid(images: list[Image], captions: list[str], *, columns: int, max_height: float) -> Table:
    """Rows of images, each with its caption below."""
    cell = TEXT_WIDTH / columns
    rows = []
    for start in range(0, len(images), columns):
        part = images[start : start + columns]
        for image in part:
            scale = min((cell - GAP) / image.imageWidth, max_height / image.imageHeight)
            image.drawWidth, image.drawHeight = image.imageWidth * scale, image.imageHeight * scale
        blank = [""] * (columns - len(part))
        labels = [Paragraph(escape(text), CAPTION) for text in captions[start : start + columns]]
        rows += [[*part, *blank], [*labels, *blank]]
    commands = [("ALIGN", *ALL, "CENTER"), ("VALIGN", *ALL, "MIDDLE"), ("RIGHTPADDING", *ALL, GAP / 2)]
    # Keep an image and its caption on the same page.
    commands += [("NOSPLIT", (0, row), (-1, row + 1)) for row in range(0, len(rows), 2)]
    return Table(rows, colWidths=[cell] * columns, style=_padded(GAP / 2, 0, 3, *commands))


def _stored(image: PillowImage.Image, max_pixels: int) -> Image:
    small = image.copy()
    small.thumbnail((max_pixels, max_pixels))
    buffer = BytesIO()
    small.save(buffer, "jpeg", quality=90)
    buffer.seek(0)
    return Image(buffer)


def _findings(record: StudyRecord) -> Table:
    bar = 96.0
    widths = [131.0, bar + 10, 36.0, 50.0, 50.0]
    heads = ("Finding", "Probability", "", "Threshold", "Prediction", "The report says")
    rows = [[Paragraph(head, SOFT_SMALL) for head in heads]]
    for row in record.by_probability:
        text = POSITIVE if row.is_positive else SMALL
        statement = Paragraph(f"≠ {row.statement}", DISAGREES) if row.disagrees else Paragraph(row.statement, SMALL)
        rows.append(
            [
                Paragraph(row.finding, text),
                ProbabilityBar(row, width=bar),
                Paragraph(escape(row.percent), text),
                Paragraph(f"{row.threshold:.0%}", SMALL),
                Paragraph(row.prediction, text),
                statement,
            ]
        )
    style = _padded(0, 2, 2.5, ("VALIGN", *ALL, "MIDDLE"), ("LINEBELOW", *ALL, 0.4, LINE))
    return Table(rows, colWidths=[*widths, TEXT_WIDTH - sum(widths)], style=style, repeatRows=1)


def _font_warning(record: StudyRecord) -> list[str]:
    texts = [text for _, text in [*facts(record), *sections(record)]] + list(record.warnings)
    num_missing = len(missing_characters("".join(texts)))
    note = f"{num_missing} characters are missing in the font of this document; the text export shows them all."
    return [note] if num_missing else []
