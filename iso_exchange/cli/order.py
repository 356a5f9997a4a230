"""``iso order``: own orders and what became of them."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Annotated, Final

import typer

from iso_exchange.api.v1 import order_pb2
from iso_exchange.cli import output, values
from iso_exchange.cli.refusals import BadValue, exit_code_of
from iso_exchange.cli.session import Json, Yes, accepted, call, receipt_document, send
from iso_exchange.cli.submission import Manner, submit
from iso_exchange.client import BLANK_HEADER
from iso_exchange.commands import (
    BlockBidTerms,
    CancelOrder,
    OfferTerms,
    OrderTerms,
    SubmitOrder,
    WorkBidTerms,
)

app: Final = typer.Typer(no_args_is_help=True, help="Own orders: list, show, why, amend, cancel.")

OrderId = Annotated[str, typer.Argument(metavar="ORDER", help="Own order.")]


class State(StrEnum):
    """States of an order, for filters."""

    OPEN = "open"
    CANCELLED = "cancelled"
    CANCELLED_BY_OPERATOR = "cancelled_by_operator"
    PURGED = "purged"
    LOCKED = "locked"
    FILLED = "filled"
    PARTIALLY_FILLED = "partially_filled"
    UNFILLED = "unfilled"


@app.command("list")
def list_orders(
    context: typer.Context,
    auction: Annotated[str, typer.Option("--auction", help="Only this auction.")] = "",
    state: Annotated[
        State | None, typer.Option("--state", case_sensitive=False, help="Only this state.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 100,
    as_json: Json = False,
) -> None:
    """List own orders, newest first."""
    wanted = order_pb2.ORDER_STATE_UNSPECIFIED
    if state is not None:
        wanted = order_pb2.OrderState.Value(f"ORDER_STATE_{state.name}")
    found = call(
        context,
        lambda client: client.orders(auction, state=wanted, limit=limit),
        as_json=as_json,
    )
    rows = [
        (
            view.order.order_id,
            view.order.auction_id,
            view.order.WhichOneof("kind"),
            output.named(view, "state"),
            view.order.revision,
            output.money_text(view.hold_micro_usd),
            output.named(view.outcome, "reason") if view.HasField("outcome") else "",
        )
        for view in found
    ]
    headers = ("ORDER", "AUCTION", "KIND", "STATE", "REVISION", "HELD", "OUTCOME")
    output.answer(
        {"orders": [output.plain(view) for view in found]},
        output.table(headers, rows),
        as_json=as_json,
    )


@app.command("show")
def show(context: typer.Context, order_id: OrderId, as_json: Json = False) -> None:
    """Show an own order with its awards."""
    view = call(context, lambda client: client.order(order_id), as_json=as_json)
    facts: list[tuple[str, object]] = [
        ("Order", view.order.order_id),
        ("Auction", view.order.auction_id),
        ("Kind", view.order.WhichOneof("kind")),
        ("State", output.named(view, "state")),
        ("Revision", view.order.revision),
        ("Accepted", f"{output.stamp_text(view.accept_time)}, log entry {view.entry_index}"),
        ("Held", output.money_text(view.hold_micro_usd)),
    ]
    if view.HasField("outcome"):
        facts += _outcome_facts(view.outcome)
    output.answer(output.plain(view), output.pairs(facts), as_json=as_json)
    output.next_steps(f"iso order why {order_id}", as_json=as_json)


@app.command("why")
def why(context: typer.Context, order_id: OrderId, as_json: Json = False) -> None:
    """Explain what became of an own order, pool by pool."""
    answer = call(context, lambda client: client.explain_order(order_id), as_json=as_json)
    rows = []
    for pool in answer.pools:
        price = ""
        if pool.HasField("price_micro_usd_per_chip_hour"):
            price = output.price_text(pool.price_micro_usd_per_chip_hour)
        short = pool.shortfall_micro_usd_per_chip_hour
        rows.append(
            (
                pool.pool_id,
                "yes" if pool.eligible else output.named(pool, "reason"),
                price,
                output.price_text(short) if short else "",
            )
        )
    output.answer(
        output.plain(answer),
        answer.explanation,
        output.table(("POOL", "ELIGIBLE", "PRICE", "LIMIT SHORT BY"), rows),
        as_json=as_json,
    )


@app.command("cancel")
def cancel(
    context: typer.Context,
    order_ids: Annotated[list[str], typer.Argument(metavar="ORDER...", help="Own orders.")],
    as_json: Json = False,
) -> None:
    """Withdraw own orders before gate closure."""
    if len(order_ids) == 1:
        command = CancelOrder(header=BLANK_HEADER, order_id=order_ids[0])
        receipt = send(context, command, as_json=as_json)
        output.answer(
            receipt_document(receipt, order_id=order_ids[0]),
            accepted(f"Cancelled {order_ids[0]}", receipt),
            as_json=as_json,
        )
        return
    from iso_exchange.client import Refused

    commands = [CancelOrder(header=BLANK_HEADER, order_id=name) for name in order_ids]
    answers = call(context, lambda client: client.send_many(commands), as_json=as_json)
    documents: list[dict[str, object]] = []
    lines = []
    exit_code = 0
    for name, result in zip(order_ids, answers, strict=True):
        if isinstance(result, Refused):
            exit_code = exit_code or exit_code_of(result.code)
            documents.append({"order_id": name, "code": result.code, "advice": result.advice})
            lines.append(f"{name}: {result}")
        else:
            documents.append(receipt_document(result, order_id=name))
            lines.append(accepted(f"Cancelled {name}", result))
    output.answer({"results": documents}, *lines, as_json=as_json)
    if exit_code:
        raise typer.Exit(exit_code)


@app.command("amend")
def amend(
    context: typer.Context,
    order_id: OrderId,
    limit: Annotated[str, typer.Option("--limit", help="New limit of a gang or work bid.")] = "",
    chips: Annotated[
        str, typer.Option("--chips", help="New quantity of a gang, new rate of a work bid.")
    ] = "",
    steps: Annotated[
        list[str] | None,
        typer.Option("--step", metavar="CHIPS@PRICE", help="New curve of an offer or step bid."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Quote only.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Replace an open order by its next revision; what is not named stays."""
    from iso_exchange import convert
    from iso_exchange.kinds import ENTRY_KINDS

    view = call(context, lambda client: client.order(order_id), as_json=as_json)
    payload_type = ENTRY_KINDS[SubmitOrder].payload_type
    current = convert.command_from(payload_type, view.order.SerializeToString())
    if not isinstance(current, SubmitOrder):
        raise BadValue("ORDER", "this version cannot read the order back", got=order_id)
    amended = dataclasses.replace(
        current,
        header=BLANK_HEADER,
        revision=current.revision + 1,
        terms=_amended(current.terms, limit, chips, steps or []),
    )
    submit(context, amended, Manner(dry_run=dry_run, yes=yes, as_json=as_json))


def _amended(terms: OrderTerms, limit: str, chips: str, steps: list[str]) -> OrderTerms:
    if isinstance(terms, BlockBidTerms | WorkBidTerms):
        if steps or not (limit or chips):
            raise BadValue("--limit", "of this order --limit and --chips can be amended")
        price = values.parse_price(limit, "--limit") if limit else terms.limit_price
        if isinstance(terms, BlockBidTerms):
            if chips and terms.profile:
                raise BadValue("--chips", "of an order with a profile the limit can be amended")
            quantity = values.parse_chips(chips, "--chips") if chips else terms.chips
            return dataclasses.replace(terms, limit_price=price, chips=quantity)
        rate = values.parse_chips(chips, "--chips") if chips else terms.max_chips
        return dataclasses.replace(terms, limit_price=price, max_chips=rate)
    if limit or chips or not steps:
        raise BadValue("--step", "of this order the curve can be amended: --step CHIPS@PRICE")
    curve = values.parse_steps(steps, "--step", descending=not isinstance(terms, OfferTerms))
    segments = tuple(dataclasses.replace(segment, steps=curve) for segment in terms.segments)
    return dataclasses.replace(terms, segments=segments)


def _outcome_facts(outcome: order_pb2.OrderOutcome) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("Filled", output.named(outcome, "fill")),
        ("Because", output.named(outcome, "reason")),
        ("In words", outcome.detail),
    ]
    if outcome.make_whole_micro_usd:
        facts.append(("Make-whole", output.money_text(outcome.make_whole_micro_usd)))
    facts += [
        (
            f"Award {award.pool_id}",
            f"{output.interval_text(part.start_time, part.end_time)} {_award_text(part)}",
        )
        for award in outcome.awards
        for part in award.segments
    ]
    facts += [("On", output.interval_text(run.start_time, run.end_time)) for run in outcome.runs]
    facts += [("Contract", contract_id) for contract_id in outcome.contract_ids]
    return facts


def _award_text(part: order_pb2.AwardSegment) -> str:
    """Chips of an award, what of them stands by, and where its backup is."""
    texts = [f"{part.chip_count} chips"]
    if part.reserve_chip_count:
        texts.append(f"{part.reserve_chip_count} stand by for nodes")
    if part.site_reserve_chip_count:
        texts.append(f"{part.site_reserve_chip_count} stand by for a site")
    texts += [f"{backup.chip_count} backed by {backup.pool_id}" for backup in part.backups]
    return ", ".join(texts)
