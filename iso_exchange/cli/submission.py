"""Quote, confirm, submit: what ``iso offer``, ``iso bid`` and ``iso order amend`` share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

import typer
from rich.console import RenderableType

from clearing.units import UnixSeconds, chip_hours_text
from iso_exchange.api.v1 import auction_pb2, market_service_pb2, spot_pb2
from iso_exchange.cli import output
from iso_exchange.cli.refusals import BadValue, exit_code_of
from iso_exchange.cli.session import (
    accepted,
    call,
    identity_directory,
    receipt_document,
    send,
    settings_of,
)
from iso_exchange.client import BLANK_HEADER, Client, load_identity
from iso_exchange.client.errors import from_item
from iso_exchange.client.reads import microseconds
from iso_exchange.client.signing import MICROSECONDS
from iso_exchange.commands import OfferTerms, OrderTerms, SubmitOrder

DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A preview, the auction it is for, and the exchange's time when it was made."""

    preview: market_service_pb2.PreviewOrderResponse
    auction: auction_pb2.Auction
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to submit.

    Attributes:
        dry_run: Show the quote and stop.
        yes: Submit without asking.
        as_json: Print documents.
    """

    dry_run: bool
    yes: bool
    as_json: bool


def new_order(
    context: typer.Context, *, order_id: str, auction_id: str, terms: OrderTerms
) -> SubmitOrder:
    """A first revision by the identity in use."""
    identity = load_identity(identity_directory(settings_of(context)))
    return SubmitOrder(
        header=BLANK_HEADER,
        order_id=order_id,
        auction_id=auction_id,
        participant_id=identity.participant_id,
        revision=1,
        terms=terms,
    )


def auction_period(
    context: typer.Context, auction_id: str, *, as_json: bool
) -> tuple[UnixSeconds, UnixSeconds]:
    """First and last moment of an auction's delivery period; a day of a spot market."""
    auction = call(context, lambda client: auction_or_market(client, auction_id), as_json=as_json)
    spec = auction.spec
    start = spec.first_interval_start_time.seconds
    return UnixSeconds(start), UnixSeconds(start + spec.interval_count * spec.interval_seconds)


async def auction_or_market(client: Client, name: str) -> auction_pb2.Auction:
    """An auction; of a spot market a day from its next run on, which has the next gate."""
    for market in await client.spot_markets():
        if market.spec.market_id != name:
            continue
        terms, is_open = market.spec, market.state == spot_pb2.SPOT_MARKET_STATE_OPEN
        view = auction_pb2.Auction(
            spec=auction_pb2.AuctionSpec(
                auction_id=name,
                interval_seconds=terms.interval_seconds,
                interval_count=DAY_SECONDS // terms.interval_seconds,
                first_interval_start_time=market.next_start_time,
            ),
            state=(auction_pb2.AUCTION_STATE_OPEN if is_open else auction_pb2.AUCTION_STATE_HALTED),
        )
        gate = market.next_start_time.seconds - terms.gate_lead_seconds
        view.spec.close_time.FromSeconds(max(0, gate))
        return view
    return await client.auction(name)


def submit(context: typer.Context, command: SubmitOrder, manner: Manner) -> None:
    """Quote an order, ask, and submit it.

    Raises:
        BadValue: nobody is there to be asked, and ``--yes`` is missing.
        Refused: the order would be, or was, refused.
    """
    interactive = sys.stdin.isatty() and sys.stderr.isatty() and not manner.as_json
    if not (manner.dry_run or manner.yes or interactive):
        raise BadValue("--yes", "add -y to submit without being asked, or --dry-run to look only")

    async def ask(client: Client) -> Quote:
        return Quote(
            preview=await client.preview(command),
            auction=await auction_or_market(client, command.auction_id),
            now_us=(await client.time()).now_us,
        )

    quote = call(context, ask, as_json=manner.as_json)
    if manner.dry_run:
        _show_dry_run(command, quote, as_json=manner.as_json)
        return
    if quote.preview.refusals:
        raise from_item(quote.preview.refusals[0])
    if not manner.yes:
        output.answer({}, *_quote_blocks(command, quote), as_json=False)
        typer.confirm(f"Submit {command.order_id}?", abort=True, err=True)
    receipt = send(context, command, as_json=manner.as_json)
    output.answer(
        receipt_document(receipt, order_id=command.order_id, revision=command.revision),
        accepted(f"Accepted {command.order_id} in {command.auction_id}", receipt),
        as_json=manner.as_json,
    )
    output.next_steps(
        f"iso order show {command.order_id}",
        f"iso order cancel {command.order_id}",
        f"iso auction watch {command.auction_id}",
        as_json=manner.as_json,
    )


def _show_dry_run(command: SubmitOrder, quote: Quote, *, as_json: bool) -> None:
    output.answer(
        {"order_id": command.order_id, **output.plain(quote.preview)},
        *_quote_blocks(command, quote),
        as_json=as_json,
    )
    if quote.preview.refusals:
        raise typer.Exit(exit_code_of(quote.preview.refusals[0].reason))


def _quote_blocks(command: SubmitOrder, quote: Quote) -> list[RenderableType]:
    preview, spec = quote.preview, quote.auction.spec
    hours = chip_hours_text(preview.quantity_chip_seconds)
    left_s = max(0, microseconds(spec.close_time) - quote.now_us) // MICROSECONDS
    blocks: list[RenderableType] = [
        (
            f"{spec.auction_id} is {output.named(quote.auction, 'state')}, gate closes in "
            f"{duration_text(left_s)} ({output.stamp_text(spec.close_time)})"
        )
    ]
    if isinstance(command.terms, OfferTerms):
        blocks.append(f"Offered at most: {hours} chip-hours in {command.terms.pool_id}")
    else:
        blocks += [
            (
                f"Worst case at your limit: {output.money_text(preview.worst_case_micro_usd)} "
                f"({hours} chip-hours)"
            ),
            (
                f"  of it community surcharge {output.money_text(preview.surcharge_micro_usd)}, "
                f"operator's fee {output.money_text(preview.operator_fee_micro_usd)}"
            ),
            (
                "Collateral left after: "
                f"{output.money_text(preview.collateral_after_micro_usd)} "
                f"of {output.money_text(preview.collateral_before_micro_usd)}"
            ),
        ]
    blocks.append(f"Eligible: {len(preview.eligible_pools)}")
    if preview.eligible_pools:
        blocks.append(_eligible_table(preview))
    if preview.refused_pools:
        blocks.append(f"Not eligible: {len(preview.refused_pools)}")
        rows = [
            (f"  {pool.pool_id}", output.named(pool, "reason"), pool.description)
            for pool in preview.refused_pools
        ]
        blocks.append(output.table(("  POOL", "REASON", "WHY"), rows))
    blocks += [
        f"Would be refused: {refusal.reason} ({refusal.field}): {refusal.advice}"
        for refusal in preview.refusals
    ]
    return blocks


def _eligible_table(preview: market_service_pb2.PreviewOrderResponse) -> Any:  # noqa: ANN401
    rows = []
    for pool in preview.eligible_pools:
        last = ""
        if pool.HasField("last_price_micro_usd_per_chip_hour"):
            last = output.price_text(pool.last_price_micro_usd_per_chip_hour)
        rows.append(
            (
                f"  {pool.pool_id}",
                f"{pool.capacity_chip_count:,}",
                output.price_text(pool.surcharge_micro_usd_per_chip_hour),
                output.price_text(pool.operator_fee_micro_usd_per_chip_hour),
                last,
            )
        )
    return output.table(("  POOL", "CHIPS", "SURCHARGE", "FEE", "LAST PRICE"), rows)


def duration_text(seconds: int) -> str:
    """Short text of a duration, such as ``1d2h`` or ``38m``."""
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds >= size and len(parts) < 2:  # noqa: PLR2004 - two units say enough
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return "".join(parts) or "0s"
