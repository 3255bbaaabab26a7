"""How the PDF looks: fonts, paragraph styles, colours, a probability's bar, and what stands at the foot of each page.

The fonts are DejaVu Sans, which matplotlib brings along: Latin, Greek, Cyrillic and the signs of medicine. Of Chinese,
Japanese, Korean and most Indian scripts it has no letters; `missing_letters` tells which of a text.
"""

from functools import cache
from pathlib import Path

import matplotlib
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable

PAGE_WIDTH, PAGE_HEIGHT = A4
MARGIN = 18 * mm
FRAME_PADDING = 6
"""What reportlab leaves free within the margins by itself."""
WIDTH = PAGE_WIDTH - 2 * MARGIN
"""Of the text."""
INK, SOFT, LINE = HexColor("#16212b"), HexColor("#56636f"), HexColor("#d3dae0")
ACCENT, ACCENT_LIGHT, EMPTY_BAR = HexColor("#0b7285"), HexColor("#9fc9d1"), HexColor("#eef1f4")
WARNING, WARNING_GROUND = HexColor("#8a4b00"), HexColor("#fff6e0")
BODY, BOLD = "DejaVuSans", "DejaVuSans-Bold"


@cache
def load_fonts() -> None:
    """Makes the fonts known to reportlab, once."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (BODY, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(BODY, normal=BODY, bold=BOLD, italic=BODY, boldItalic=BOLD)


def missing_letters(text: str) -> str:
    """Those letters of a text that the fonts have not."""
    load_fonts()
    known = pdfmetrics.getFont(BODY).face.charToGlyph
    return "".join(sorted({letter for letter in text if not letter.isspace() and ord(letter) not in known}))


def _style(name: str, size: float, *, color: Color = INK, font: str = BODY, **settings) -> ParagraphStyle:
    return ParagraphStyle(name, fontName=font, fontSize=size, leading=size * 1.4, textColor=color, **settings)


TITLE = _style("title", 17, font=BOLD)
HEADING = _style("heading", 11, font=BOLD, color=ACCENT, spaceBefore=9, spaceAfter=2, keepWithNext=1)
TEXT = _style("text", 9.5)
SMALL = _style("small", 8)
SOFT_SMALL = _style("soft", 8, color=SOFT)
CALLED = _style("called", 8, font=BOLD)
CAPTION = _style("caption", 7.5, color=SOFT, alignment=1)
WARNING_TEXT = _style("warning", 8.5, color=WARNING)
DISAGREES = _style("disagrees", 8, color=WARNING)


class ProbabilityBar(Flowable):
    """A bar from 0 to 1, dark where the finding is called present, with a tick at the threshold."""

    def __init__(self, probability: float, threshold: float, *, is_called: bool, width: float, height: float = 7):
        super().__init__()
        self.probability, self.threshold, self.is_called = probability, threshold, is_called
        self.width, self.height = width, height

    def draw(self) -> None:
        canvas = self.canv
        canvas.setFillColor(EMPTY_BAR)
        canvas.rect(0, 0, self.width, self.height, stroke=0, fill=1)
        canvas.setFillColor(ACCENT if self.is_called else ACCENT_LIGHT)
        canvas.rect(0, 0, self.width * self.probability, self.height, stroke=0, fill=1)
        canvas.setStrokeColor(INK)
        canvas.setLineWidth(1)
        tick = self.width * self.threshold
        canvas.line(tick, -1.5, tick, self.height + 1.5)


class NumberedCanvas(Canvas):
    """A canvas that writes the foot of all pages at the end, when their number is known."""

    foot = ""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self._pages = []

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
            self.drawString(MARGIN, 9.5 * mm, self.foot)
            self.drawRightString(PAGE_WIDTH - MARGIN, 9.5 * mm, f"Page {number} of {len(self._pages)}")
            super().showPage()
        super().save()
