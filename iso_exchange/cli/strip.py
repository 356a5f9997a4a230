"""``iso auction strip``: an auction of a week or a month, the same chips in every hour of it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

import typer

from clearing.types import AuctionSpec, PricingRule, Tariff
from clearing.units import MicroUsdPerChipHour, Seconds, UnixSeconds
from iso_exchange.cli import output, values
from iso_exchange.cli.auction import app
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import OPERATOR_ID, Json, accepted, call, receipt_document
from iso_exchange.client import BLANK_HEADER, Client, Receipt
from iso_exchange.commands import CreateAuction
from iso_exchange.sequencer.strips import FORWARD

DEFAULTS: Final = AuctionSpec(auction_id="", intervals=())
DAY_SECONDS: Final = 86_400
GATE_BEFORE_S: Final = 2 * DAY_SECONDS
_WEEK: Final = re.compile(r"(\d{4})-W(\d{2})")
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")


@app.command("strip")
def strip(
    context: typer.Context,
    week: Annotated[str, typer.Option("--week", help="ISO week such as 2026-W49.")] = "",
    month: Annotated[str, typer.Option("--month", help="Calendar month such as 2026-12.")] = "",
    auction_id: Annotated[str, typer.Option("--id", help="Default: strip and its time.")] = "",
    close: Annotated[
        str, typer.Option("--close", help="Gate closure. Default: two days before it begins.")
    ] = "",
    fee: Annotated[str, typer.Option("--fee", help="Operator's fee, USD per chip-hour.")] = "0",
    floor: Annotated[str, typer.Option("--floor", help="Lowest price, USD per chip-hour.")] = "0",
    cap: Annotated[str, typer.Option("--cap", help="Highest price.")] = output.price_text(
        DEFAULTS.price_cap
    ),
    tick: Annotated[str, typer.Option("--tick", help="Prices are multiples of it.")] = "0.001",
    as_json: Json = False,
) -> None:
    """Create an auction of a strip: firm chips, the same in every hour of a week or a month."""
    first, last = parse_strip(week, month)
    gate = values.parse_time(close, "--close") if close else UnixSeconds(first - GATE_BEFORE_S)
    identifier = auction_id or f"strip-{(week or month).lower()}"
    prices = {
        name: values.parse_price(text, f"--{name}")
        for name, text in (("fee", fee), ("floor", floor), ("cap", cap), ("tick", tick))
    }

    async def work(client: Client) -> Receipt:
        return await client.send(
            CreateAuction(
                header=BLANK_HEADER,
                auction_id=identifier,
                product=FORWARD,
                close_time=gate,
                first_interval_start=first,
                interval_seconds=Seconds(last - first),
                interval_count=1,
                price_floor=prices["floor"],
                price_cap=prices["cap"],
                tick=prices["tick"],
                operator_fee=prices["fee"],
                pricing_rule=PricingRule.MAKE_WHOLE,
                tie_credit=MicroUsdPerChipHour(min(DEFAULTS.tie_credit, prices["tick"] - 1)),
                seed_commitment=await client.seed_commitment(identifier),
                tariff=Tariff(),
            )
        )

    receipt = call(context, work, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, auction_id=identifier),
        accepted(f"Created strip {identifier}, open until {output.time_text(gate)}", receipt),
        as_json=as_json,
    )
    output.next_steps(
        f"iso offer step --auction {identifier} --pool POOL --step 256@1.90", as_json=as_json
    )


def parse_strip(week: str, month: str) -> tuple[UnixSeconds, UnixSeconds]:
    """Start and end of an ISO week (Monday to Monday) or a calendar month, UTC.

    Raises:
        BadValue: both or none are given, or it is no week or month.

    Example:
        >>> parse_strip("2026-W01", "")
        (1766966400, 1767571200)
    """
    if bool(week) == bool(month):
        raise BadValue("--week", "give a week or a month, one of them", got=week or month)
    text, field = (week, "--week") if week else (month, "--month")
    match = (_WEEK if week else _MONTH).fullmatch(text)
    expected = "expected an ISO week such as 2026-W49 or a month such as 2026-12"
    if match is None:
        raise BadValue(field, expected, got=text)
    year, number = int(match[1]), int(match[2])
    try:
        if week:
            first = date.fromisocalendar(year, number, 1)
            last = first + timedelta(days=7)
        else:
            first = date(year, number, 1)
            last = date(year + number // 12, number % 12 + 1, 1)
    except ValueError as error:
        raise BadValue(field, expected, got=text) from error
    return _midnight(first), _midnight(last)


def _midnight(day: date) -> UnixSeconds:
    return UnixSeconds(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()))
