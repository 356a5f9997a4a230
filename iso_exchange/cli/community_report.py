"""``iso community report``: what a host community earned, as a page that it can check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from clearing.units import chip_hours_text
from iso_exchange.cli import output
from iso_exchange.cli.bundles import (
    BundleDirectory,
    From,
    Key,
    To,
    log_document,
    number,
    open_bundle,
    parse_period,
    refusals,
    remarks,
    written,
)
from iso_exchange.cli.refusals import FAILURE, BadValue, Failure
from iso_exchange.cli.session import Json

if TYPE_CHECKING:
    from iso_exchange.exports.community_sheet import Sheet
    from settlement.exports.community import CommunityReport

SUFFIXES: Final = (".html", ".pdf")


def report(
    site: Annotated[str, typer.Option("--site", help="Site.")],
    start: From,
    end: To,
    bundle: BundleDirectory,
    out: Annotated[Path, typer.Option("--out", help="File, .html or .pdf.")],
    font: Annotated[
        Path | None,
        typer.Option("--font", help="TrueType font for names outside Latin-1 (.pdf)."),
    ] = None,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Write what a site's community earned: chip-hours, earned, paid, pending, with proofs.

    Works offline, from an auditor bundle alone. The page holds the proofs of its entries and
    checks them in the browser; a PDF has them attached.
    """
    from iso_exchange.exports.community_sheet import sheet
    from settlement.exports.community import community_report

    period = parse_period(start, end)
    if period is None:
        raise BadValue("--from", "say which period: give --from and --to")
    if out.suffix not in SUFFIXES:
        raise BadValue("--out", "expected a name that ends with .html or .pdf", got=str(out))
    if font is not None and (out.suffix != ".pdf" or not font.is_file()):
        raise BadValue("--font", "expected a TrueType file, for a .pdf", got=str(font))
    with refusals(as_json=as_json):
        read = open_bundle(bundle, key)
        made = community_report(read.extract, site, period)
        page = sheet(made, read)
        content = _content(page, out, made, font, as_json=as_json)
    files = [written(out, content, attachments=len(page.files))]
    document = {"files": files, **_document(made), "log": log_document(read)}
    facts = (
        ("File", str(out)),
        ("Community", f"{made.community_name}, site {made.site_id}"),
        ("Period", page.period),
        ("Chip-hours", chip_hours_text(made.delivered)),
        ("Earned", output.money_text(made.earned)),
        ("Of this paid", output.money_text(made.paid)),
        ("Of this pending", output.money_text(made.pending)),
    )
    output.answer(document, output.pairs(facts), *remarks(read), as_json=as_json)


def _content(
    page: Sheet, out: Path, made: CommunityReport, font: Path | None, *, as_json: bool
) -> bytes:
    if out.suffix == ".html":
        from iso_exchange.exports.community_page import community_page

        return community_page(page).encode()
    from iso_exchange.exports.community_pdf import FontError, community_pdf

    try:
        return community_pdf(page, created=made.as_of, font=font)
    except FontError as error:
        advice = f"{error}; name a TrueType font with --font, or write .html"
        output.report(
            Failure(exit_code=FAILURE, code="FONT_NEEDED", field="--font", advice=advice),
            as_json=as_json,
        )
        raise typer.Exit(FAILURE) from error


def _document(made: CommunityReport) -> dict[str, object]:
    return {
        "site_id": made.site_id,
        "community_id": made.community_id,
        "start_time": output.time_text(made.period.start),
        "end_time": output.time_text(made.period.end),
        "delivered_chip_seconds": number(made.delivered),
        "earned_micro_usd": number(made.earned),
        "paid_micro_usd": number(made.paid),
        "pending_micro_usd": number(made.pending),
        "balance_micro_usd": number(made.balance),
        "promised_micro_usd": number(made.promised),
        "recomputes": made.recomputes,
        "entry_indexes": [
            *(item.entry_index for item in made.totals),
            *(item.entry_index for item in made.statements),
        ],
    }
