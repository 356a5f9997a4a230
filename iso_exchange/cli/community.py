"""``iso community``: what host communities earned; public."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.units import chip_hours_text
from iso_exchange.cli import community_report, output
from iso_exchange.cli.session import OPERATOR_ID, Json, call

app: Final = typer.Typer(no_args_is_help=True, help="Community surcharges: show, report.")
app.command("report")(community_report.report)


@app.command("show")
def show(
    context: typer.Context,
    site: Annotated[str, typer.Option("--site", help="Only this site.")] = "",
    as_json: Json = False,
) -> None:
    """Show the surcharge earned by site and auction."""
    found = call(
        context, lambda client: client.community_totals(site), as_json=as_json, default=OPERATOR_ID
    )
    rows = [
        (
            total.site_id,
            total.community_id,
            total.auction_id,
            chip_hours_text(total.delivered_chip_seconds),
            output.money_text(total.surcharge_micro_usd),
        )
        for total in found
    ]
    earned = sum(total.surcharge_micro_usd for total in found)
    headers = ("SITE", "COMMUNITY", "AUCTION", "CHIP-HOURS", "SURCHARGE")
    output.answer(
        {
            "totals": [output.plain(total) for total in found],
            "surcharge_sum_micro_usd": str(earned),
        },
        output.table(headers, rows),
        f"\nTogether: {output.money_text(earned)}",
        as_json=as_json,
    )
