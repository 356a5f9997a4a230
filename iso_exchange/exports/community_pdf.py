"""A community report as PDF, with its evidence attached to the file.

Needs fpdf2 (``pip install iso-exchange[exports]``): pure Python, and it attaches files,
which the proofs have to be.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fpdf import FPDF
from fpdf.enums import Align, TableBordersLayout, XPos, YPos
from fpdf.errors import FPDFUnicodeEncodingException
from fpdf.fonts import FontFace

from clearing.units import UnixSeconds
from iso_exchange.exports.community_sheet import BUTTON, Grid, Sheet

INK: Final = (27, 36, 48)
SOFT: Final = (90, 102, 117)
LINE: Final = (217, 223, 230)
TINT: Final = (243, 246, 249)
PAPER: Final = (255, 255, 255)
MARGIN_MM: Final = 18
GAP_MM: Final = 3
SMALL: Final = 8
BUILT_IN: Final = "Helvetica"
OWN: Final = "Report"


class FontError(ValueError):
    """A text that the built-in fonts of PDF cannot show; ``text`` is it."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        super().__init__(f"the fonts built into PDF cannot show {text!r}")
        self.text = text


class _Document(FPDF):
    """Pages with their number at the foot."""

    family = BUILT_IN

    def footer(self) -> None:
        """Called by fpdf2 at the end of each page."""
        self.set_y(-MARGIN_MM + GAP_MM)
        self.set_font(self.family, "", SMALL)
        self.set_text_color(*SOFT)
        self.cell(0, 5, f"{self.page_no()} / {{nb}}", align=Align.R)


def community_pdf(sheet: Sheet, *, created: UnixSeconds, font: Path | None = None) -> bytes:
    """The report.

    Args:
        sheet: What it says.
        created: Time stated in the file; the same arguments give the same bytes.
        font: TrueType font for names outside Latin-1.

    Raises:
        FontError: a text needs ``font``.
    """
    document = _Document(format="A4")
    document.set_creation_date(datetime.fromtimestamp(created, tz=UTC))
    document.set_title(f"{sheet.title}: {sheet.community}, {sheet.site}")
    document.set_lang("en")
    document.set_margin(MARGIN_MM)
    document.set_auto_page_break(auto=True, margin=MARGIN_MM)
    if font is not None:
        document.family = OWN
        for style in ("", "B"):
            document.add_font(OWN, style, font)
    document.add_page()
    try:
        _write(document, sheet, document.family)
    except FPDFUnicodeEncodingException as error:
        raise FontError(error.character) from error
    for attachment in sheet.files:
        document.embed_file(
            bytes=attachment.content,
            basename=attachment.name,
            mime_type=attachment.media_type,
            desc=attachment.meaning,
        )
    return bytes(document.output())


def _write(document: FPDF, sheet: Sheet, family: str) -> None:
    _line(document, sheet.title, family, size=18, bold=True)
    _line(document, f"{sheet.community}, site {sheet.site}", family, size=12)
    _line(document, sheet.period, family, size=12)
    as_of = f"As of {sheet.as_of}, from the log of {sheet.origin}"
    _line(document, as_of, family, size=9, colour=SOFT)
    for notice in sheet.notices:
        _gap(document)
        _line(document, notice, family, size=10, bold=True)
    _gap(document)
    _figures(document, sheet, family)
    for line in sheet.summary:
        _line(document, line, family, size=10)
        _gap(document, 1)
    for grid, widths in (
        (sheet.days, (40, 30, 55, 49)),
        (sheet.payouts, (48, 26, 76, 24)),
        (sheet.account, (120, 54)),
    ):
        _grid(document, grid, widths, family)
    _heading(document, "How to check this report", family)
    for number, step in enumerate(sheet.checks, start=1):
        _line(document, f"{number}. {_for_paper(step)}", family, size=10)
        _gap(document, 1)
    evidence = Grid(
        title="Log entries attached to this file",
        headers=("Log entry", "What it says", "Attached files"),
        rows=tuple(
            (str(line.index), line.what, ", ".join(file.name for file in line.files))
            for line in sheet.evidence
        ),
        numeric=(),
        empty="None: nothing was published for this period yet.",
    )
    _grid(document, evidence, (20, 84, 70), family)
    _heading(document, "The log", family)
    _line(document, f"Key of the log: {sheet.vkey}", family, size=9)
    _line(document, f"Checkpoint: {sheet.size:,} entries, root {sheet.root}", family, size=9)
    names = ", ".join(file.name for file in sheet.attachments)
    _line(document, f"Also attached: {names}", family, size=9)


def _for_paper(step: str) -> str:
    """The check button is on the HTML page only."""
    return step.replace(BUTTON, "The HTML form of this report has a check button:")


def _figures(document: FPDF, sheet: Sheet, family: str) -> None:
    """The headline figures side by side."""
    count = len(sheet.figures)
    width = (document.epw - GAP_MM * (count - 1)) / count
    height = 22
    top, left = document.get_y(), document.l_margin
    for place, figure in enumerate(sheet.figures):
        x = left + place * (width + GAP_MM)
        document.set_fill_color(*TINT)
        document.rect(x, top, width, height, style="F")
        for offset, text, size, bold, colour in (
            (2, figure.label, 9, False, SOFT),
            (8, figure.value, 15, True, INK),
            (15.5, figure.exact, 8, False, SOFT),
        ):
            document.set_xy(x + 2, top + offset)
            document.set_text_color(*colour)
            document.set_font(family, "B" if bold else "", size)
            # A large figure is set smaller rather than beyond its box.
            wide = document.get_string_width(text)
            if wide > width - 6:
                document.set_font_size(size * (width - 6) / wide)
            document.cell(width - 4, 5, text)
    document.set_xy(left, top + height + GAP_MM)


def _grid(document: FPDF, grid: Grid, widths: tuple[int, ...], family: str) -> None:
    _heading(document, grid.title, family)
    if not grid.rows:
        _line(document, grid.empty, family, size=10)
        return
    document.set_font(family, "", 9)
    document.set_text_color(*INK)
    document.set_draw_color(*LINE)
    document.set_fill_color(*PAPER)
    aligns = tuple(
        Align.R if column in grid.numeric else Align.L for column in range(len(grid.headers))
    )
    has_head = any(grid.headers)
    with document.table(
        col_widths=widths,
        text_align=aligns,
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=FontFace(emphasis="BOLD", color=SOFT),
        first_row_as_headings=has_head,
        line_height=5,
        padding=(0.6, 2),
    ) as table:
        if has_head:
            table.row(grid.headers)
        for row in grid.rows:
            table.row(row)
        if grid.total:
            table.row(grid.total, style=FontFace(emphasis="BOLD"))


def _heading(document: FPDF, text: str, family: str) -> None:
    # A heading alone at the foot of a page would be cut from its table.
    if document.will_page_break(30):
        document.add_page()
    _gap(document, 5)
    _line(document, text, family, size=12, bold=True)
    _gap(document, 1)


def _line(
    document: FPDF,
    text: str,
    family: str,
    *,
    size: int,
    bold: bool = False,
    colour: tuple[int, int, int] = INK,
) -> None:
    document.set_font(family, "B" if bold else "", size)
    document.set_text_color(*colour)
    document.multi_cell(0, size * 0.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align=Align.L)


def _gap(document: FPDF, millimetres: int = GAP_MM) -> None:
    document.ln(millimetres)
