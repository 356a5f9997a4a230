"""``iso credits``: a lab's market among its teams, in credits."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.units import Seconds
from iso_exchange.api.v1 import credits_pb2
from iso_exchange.cli import output, values
from iso_exchange.cli.session import Json, accepted, call, receipt_document, send
from iso_exchange.client import BLANK_HEADER
from iso_exchange.credit_commands import (
    BidCredits,
    CancelCreditBid,
    CloseCredits,
    GrantCredits,
    OpenCredits,
)

app: Final = typer.Typer(
    no_args_is_help=True, help="Credits: share an entitlement out among teams, by their bids."
)

Book = Annotated[str, typer.Argument(metavar="BOOK", help="Identifier of the book.")]


@app.command("open")
def open_book(
    context: typer.Context,
    book: Book,
    entitlement: Annotated[str, typer.Option("--entitlement", help="Own entitlement.")],
    start: Annotated[str, typer.Option("--start", help="First interval of the first round.")],
    interval_seconds: Annotated[int, typer.Option("--interval-seconds", min=300)] = 3_600,
    intervals: Annotated[int, typer.Option("--intervals", min=1, help="Of a round.")] = 24,
    gate_lead: Annotated[
        int, typer.Option("--gate-lead", min=1, help="Seconds from the gate to the round.")
    ] = 600,
    cap: Annotated[str, typer.Option("--cap", help="Highest price, credits.")] = "1000",
    tick: Annotated[str, typer.Option("--tick", help="Prices are multiples of it.")] = "0.001",
    reserve: Annotated[str, typer.Option("--reserve", help="Nothing is given for less.")] = "0",
    as_json: Json = False,
) -> None:
    """Open a book over an entitlement: its hours go to teams, round by round."""
    command = OpenCredits(
        header=BLANK_HEADER,
        book_id=book,
        entitlement_id=entitlement,
        first_start=values.parse_time(start, "--start"),
        interval_seconds=Seconds(interval_seconds),
        interval_count=intervals,
        gate_lead_s=Seconds(gate_lead),
        price_cap=values.parse_price(cap, "--cap"),
        tick=values.parse_price(tick, "--tick"),
        reserve_price=values.parse_price(reserve, "--reserve"),
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, book_id=book),
        accepted(f"Opened credits book {book}", receipt),
        as_json=as_json,
    )
    output.next_steps("iso credits grant --help", as_json=as_json)


@app.command("close")
def close_book(
    context: typer.Context,
    book: Book,
    reason: Annotated[str, typer.Option("--reason", help="Why; public and kept for ever.")],
    as_json: Json = False,
) -> None:
    """End a book: standing bids end, what rounds gave stays given."""
    command = CloseCredits(header=BLANK_HEADER, book_id=book, reason=reason)
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, book_id=book),
        accepted(f"Closed credits book {book}", receipt),
        as_json=as_json,
    )


@app.command("grant")
def grant(
    context: typer.Context,
    team: Annotated[str, typer.Argument(metavar="TEAM", help="Registered participant.")],
    amount: Annotated[str, typer.Option("--amount", help="Credits, up to six digits behind .")],
    expiry: Annotated[str, typer.Option("--expires", help="What is left then goes back.")],
    grant_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    as_json: Json = False,
) -> None:
    """Give a team credits, good in all of your books until they expire."""
    identifier = grant_id or values.new_identifier("credits")
    command = GrantCredits(
        header=BLANK_HEADER,
        grant_id=identifier,
        team_id=team,
        amount=int(values.parse_amount(amount, "--amount")),
        expiry=values.parse_time(expiry, "--expires"),
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, grant_id=identifier),
        accepted(f"Gave {team} {amount} credits", receipt),
        as_json=as_json,
    )


@app.command("bid")
def bid(
    context: typer.Context,
    book: Book,
    chips: Annotated[str, typer.Option("--chips", help="Whole nodes.")],
    limit: Annotated[str, typer.Option("--limit", help="Most credits for a chip-hour.")],
    window: Annotated[str, typer.Option("--window", help="When, as START..END.")],
    whole: Annotated[
        bool, typer.Option("--whole", help="All chips for the whole window of a round, or none.")
    ] = False,
    bid_id: Annotated[
        str, typer.Option("--id", help="Default: a fresh one; an own one again replaces it.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Bid for chips of a book in credits; the bid stands until its window is over."""
    identifier = bid_id or values.new_identifier("bid")
    start, end = values.parse_window(window, "--window")
    command = BidCredits(
        header=BLANK_HEADER,
        bid_id=identifier,
        book_id=book,
        start=start,
        end=end,
        chips=values.parse_chips(chips, "--chips"),
        limit_price=values.parse_price(limit, "--limit"),
        whole=whole,
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, bid_id=identifier),
        accepted(f"Bid {identifier} stands", receipt),
        as_json=as_json,
    )
    output.next_steps(f"iso credits allocations {book}", as_json=as_json)


@app.command("cancel")
def cancel(
    context: typer.Context,
    book: Book,
    bid_id: Annotated[str, typer.Option("--bid", help="Own standing bid.")],
    as_json: Json = False,
) -> None:
    """Withdraw a standing bid."""
    command = CancelCreditBid(header=BLANK_HEADER, book_id=book, bid_id=bid_id)
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, bid_id=bid_id),
        accepted(f"Cancelled bid {bid_id}", receipt),
        as_json=as_json,
    )


@app.command("books")
def books(context: typer.Context, as_json: Json = False) -> None:
    """List credits books."""
    found = call(context, lambda client: client.credits_books(), as_json=as_json)
    rows = [
        (
            item.spec.book_id,
            item.organisation_id,
            item.spec.entitlement_id,
            item.pool_id,
            f"{item.spec.interval_count} x {item.spec.interval_seconds} s",
            output.stamp_text(item.last_start_time) if item.HasField("last_start_time") else "",
            item.closed_reason,
        )
        for item in found
    ]
    headers = ("BOOK", "LAB", "ENTITLEMENT", "POOL", "ROUND", "LAST ROUND", "CLOSED")
    output.answer(
        {"books": [output.plain(item) for item in found]},
        output.table(headers, rows),
        as_json=as_json,
    )


@app.command("account")
def account(context: typer.Context, as_json: Json = False) -> None:
    """Show own credits, and as a lab those of your teams."""
    found = call(context, lambda client: client.credit_accounts(), as_json=as_json)
    rows = [
        (
            item.organisation_id,
            item.team_id,
            output.price_text(int(item.balance_micro_credits)),
            output.price_text(int(item.reserved_micro_credits)),
            ", ".join(
                f"{output.price_text(part.left_micro_credits)}"
                f" until {output.stamp_text(part.expire_time)}"
                for part in item.grants
            ),
        )
        for item in found
    ]
    output.answer(
        {"accounts": [output.plain(item) for item in found]},
        output.table(("LAB", "TEAM", "CREDITS", "RESERVED", "LEFT"), rows),
        as_json=as_json,
    )


@app.command("bids")
def bids(context: typer.Context, book: Book, as_json: Json = False) -> None:
    """List own standing bids."""
    found = call(context, lambda client: client.credit_bids(book), as_json=as_json)
    rows = [
        (
            item.bid_id,
            output.interval_text(item.start_time, item.end_time),
            f"{item.chip_count:,}",
            output.price_text(item.limit_price_micro_credits_per_chip_hour),
            "all or none" if item.all_or_none else "",
        )
        for item in found
    ]
    output.answer(
        {"bids": [output.plain(item) for item in found]},
        output.table(("BID", "WINDOW", "CHIPS", "LIMIT/CHIP-H", ""), rows),
        as_json=as_json,
    )


@app.command("rounds")
def rounds(context: typer.Context, book: Book, as_json: Json = False) -> None:
    """List rounds of the last seven days, latest first."""
    found = call(context, lambda client: client.credit_rounds(book), as_json=as_json)
    rows = [
        (
            output.stamp_text(item.start_time),
            output.enum_text(credits_pb2.CreditRoundState.DESCRIPTOR, item.state),
            f"{item.bid_count:,}",
            item.failure,
        )
        for item in found
    ]
    output.answer(
        {"rounds": [output.plain(item) for item in found]},
        output.table(("START", "STATE", "BIDS", ""), rows),
        as_json=as_json,
    )


@app.command("allocations")
def allocations(
    context: typer.Context,
    book: Book,
    start: Annotated[str, typer.Option("--from", help="Not before this time.")] = "",
    end: Annotated[str, typer.Option("--to", help="Before this time.")] = "",
    as_json: Json = False,
) -> None:
    """List who has which chips when: own ones, and as the lab everybody's."""
    first = values.parse_time(start, "--from") if start else None
    last = values.parse_time(end, "--to") if end else None
    found = call(
        context,
        lambda client: client.credit_allocations(book, start=first, end=last),
        as_json=as_json,
    )
    rows = [
        (
            output.interval_text(item.start_time, item.end_time),
            item.team_id,
            item.bid_id,
            f"{item.chip_count:,}",
            output.price_text(item.price_micro_credits_per_chip_hour),
        )
        for item in found
    ]
    output.answer(
        {"allocations": [output.plain(item) for item in found]},
        output.table(("INTERVAL", "TEAM", "BID", "CHIPS", "CREDITS/CHIP-H"), rows),
        as_json=as_json,
    )
