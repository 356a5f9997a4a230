"""A community report as one HTML page: styles, script and evidence inside, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from importlib import resources

from iso_exchange.exports.community_sheet import Attachment, EvidenceLine, Figure, Grid, Sheet


def community_page(sheet: Sheet) -> str:
    """The page."""
    return "".join(f"{line}\n" for line in _lines(sheet))


def _lines(sheet: Sheet) -> Iterator[str]:
    yield "<!DOCTYPE html>"
    yield '<html lang="en">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    # The page may run its own script and fetch nothing: what it checks is in it.
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield f"<title>{escape(sheet.title)}: {escape(sheet.community)}, {escape(sheet.site)}</title>"
    yield f"<style>\n{_resource('community.css')}</style>"
    yield "</head>"
    yield "<body>"
    yield from _head(sheet)
    yield from _grid(sheet.days, sheet)
    yield f"<details><summary>{escape(sheet.hours.title)}</summary>"
    yield from _table(sheet.hours, sheet)
    yield "</details>"
    yield from _grid(sheet.payouts, sheet)
    yield from _grid(sheet.account, sheet)
    yield from _check(sheet)
    yield f"<script>\n{_resource('community.js')}</script>"
    yield "</body>"
    yield "</html>"


def _head(sheet: Sheet) -> Iterator[str]:
    yield f"<h1>{escape(sheet.title)}</h1>"
    yield f'<p class="lead">{escape(sheet.community)}, site {escape(sheet.site)}</p>'
    yield f'<p class="lead">{escape(sheet.period)}</p>'
    yield f'<p class="soft">As of {escape(sheet.as_of)}, from the log of {escape(sheet.origin)}</p>'
    for notice in sheet.notices:
        yield f'<p class="notice">{escape(notice)}</p>'
    yield '<dl class="figures">'
    for figure in sheet.figures:
        yield _figure(figure)
    yield "</dl>"
    for line in sheet.summary:
        yield f"<p>{escape(line)}</p>"


def _figure(figure: Figure) -> str:
    return (
        f'<div class="figure"><dt>{escape(figure.label)}</dt><dd>{escape(figure.value)}</dd>'
        f'<dd class="exact">{escape(figure.exact)}</dd></div>'
    )


def _grid(grid: Grid, sheet: Sheet) -> Iterator[str]:
    yield f"<h2>{escape(grid.title)}</h2>"
    yield from _table(grid, sheet)


def _table(grid: Grid, sheet: Sheet) -> Iterator[str]:
    if not grid.rows:
        yield f"<p>{escape(grid.empty)}</p>"
        return
    linked = {str(line.index) for line in sheet.evidence}
    yield "<table>"
    if any(grid.headers):
        cells = "".join(
            f"<th{_class(grid, column)}>{escape(text)}</th>"
            for column, text in enumerate(grid.headers)
        )
        yield f"<thead><tr>{cells}</tr></thead>"
    yield "<tbody>"
    for row in grid.rows:
        cells = "".join(
            f"<td{_class(grid, column)}>"
            f"{_linked(text) if column == grid.entry and text in linked else escape(text)}</td>"
            for column, text in enumerate(row)
        )
        yield f"<tr>{cells}</tr>"
    yield "</tbody>"
    if grid.total:
        cells = "".join(
            f"<td{_class(grid, column)}>{escape(text)}</td>"
            for column, text in enumerate(grid.total)
        )
        yield f"<tfoot><tr>{cells}</tr></tfoot>"
    yield "</table>"


def _class(grid: Grid, column: int) -> str:
    return ' class="number"' if column in grid.numeric else ""


def _linked(index: str) -> str:
    return f'<a href="#entry-{escape(index)}">{escape(index)}</a>'


def _check(sheet: Sheet) -> Iterator[str]:
    yield "<h2>How to check this page</h2>"
    yield "<ol>"
    for step in sheet.checks:
        yield f"<li>{escape(step)}</li>"
    yield "</ol>"
    yield '<p class="check"><button id="check" type="button">Check the entries</button>'
    yield '<span id="verdict" class="verdict" role="status"></span></p>'
    yield "<table>"
    yield "<thead><tr><th>Log entry</th><th>What it says</th><th>Result</th></tr></thead>"
    yield "<tbody>"
    for line in sheet.evidence:
        yield _evidence(line)
    yield "</tbody></table>"
    yield "<h2>The log</h2>"
    yield "<p>Key of the log:</p>"
    yield f'<p><code id="vkey">{escape(sheet.vkey)}</code></p>'
    yield f"<p>Checkpoint: {sheet.size:,} entries, root <code>{escape(sheet.root)}</code></p>"
    yield f'<p class="files">{"".join(map(_file, sheet.attachments))}</p>'


def _evidence(line: EvidenceLine) -> str:
    files = "".join(map(_file, line.files))
    return (
        f'<tr id="entry-{line.index}" data-entry="{line.index}"><td>{line.index}</td>'
        f'<td>{escape(line.what)}<br><span class="files">{files}</span></td>'
        '<td><span class="result"></span></td></tr>'
    )


def _file(attachment: Attachment) -> str:
    encoded = base64.b64encode(attachment.content).decode()
    return (
        f'<a download="{escape(attachment.name)}" title="{escape(attachment.meaning)}"'
        f' href="data:{attachment.media_type};base64,{encoded}">{escape(attachment.name)}</a> '
    )


def _resource(name: str) -> str:
    return resources.files("iso_exchange.exports").joinpath(name).read_text("utf-8")
