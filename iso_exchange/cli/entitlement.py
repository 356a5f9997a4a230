"""``iso entitlement`` and ``iso nominate``: base load."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from clearing.types import Cover, Interval, Step
from clearing.units import MicroUsdPerChipHour
from iso_exchange.cli import output, values
from iso_exchange.cli.session import (
    Json,
    Settings,
    accepted,
    call,
    identity_directory,
    receipt_document,
    send,
    settings_of,
)
from iso_exchange.cli.submission import auction_period
from iso_exchange.client import BLANK_HEADER, load_identity
from iso_exchange.commands import Nominate, RegisterEntitlement, TimedSegment

app: Final = typer.Typer(no_args_is_help=True, help="Base-load entitlements: register, list.")


@app.command("register")
def register(
    context: typer.Context,
    entitlement_id: Annotated[str, typer.Argument(metavar="ENTITLEMENT", help="Identifier.")],
    supplier_identity: Annotated[
        str,
        typer.Option("--supplier-identity", help="Directory or name; the supplier signs too."),
    ],
    pool: Annotated[str, typer.Option("--pool", help="Pool that serves it.")],
    chips: Annotated[str, typer.Option("--chips", help="Whole nodes.")],
    start: Annotated[str, typer.Option("--from", help="On a full hour.")],
    end: Annotated[str, typer.Option("--to", help="On a full hour, not included.")],
    price: Annotated[
        str, typer.Option("--price", help="Between the two, USD per chip-hour, paid outside.")
    ],
    cover: Annotated[Cover, typer.Option("--cover", case_sensitive=False)] = Cover.NODE,
    backups: Annotated[
        list[str] | None,
        typer.Option("--backup", help="With --cover site: pools at other sites that may stand by."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a bilateral contract, signed by its holder (--as) and its supplier."""
    settings = settings_of(context)
    holder = load_identity(identity_directory(settings))
    supplier = load_identity(
        identity_directory(Settings(data=settings.data, identity=supplier_identity))
    )
    command = RegisterEntitlement(
        header=BLANK_HEADER,
        entitlement_id=entitlement_id,
        holder_id=holder.participant_id,
        supplier_id=supplier.participant_id,
        pool_id=pool,
        period=Interval(
            start=values.parse_time(start, "--from"), end=values.parse_time(end, "--to")
        ),
        chips=values.parse_chips(chips, "--chips"),
        contract_price=values.parse_price(price, "--price"),
        cover=cover,
        backup_pool_ids=values.split_names(backups or ()),
    )
    receipt = call(
        context,
        lambda client: client.send(command, cosigners=(supplier.signing_key,)),
        as_json=as_json,
    )
    output.answer(
        receipt_document(receipt, entitlement_id=entitlement_id),
        accepted(f"Registered entitlement {entitlement_id}", receipt),
        as_json=as_json,
    )
    output.next_steps(
        f"iso nominate {entitlement_id} --auction AUCTION --chips {chips}", as_json=as_json
    )


@app.command("list")
def list_entitlements(
    context: typer.Context,
    pool: Annotated[str, typer.Option("--pool", help="Only in this pool.")] = "",
    as_json: Json = False,
) -> None:
    """List own entitlements, held or supplied."""
    found = call(context, lambda client: client.entitlements(pool_id=pool), as_json=as_json)
    rows = [
        (
            item.entitlement_id,
            item.holder_id,
            item.supplier_id,
            item.pool_id,
            f"{item.chip_count:,}",
            output.interval_text(item.start_time, item.end_time),
            output.price_text(item.contract_price_micro_usd_per_chip_hour),
        )
        for item in found
    ]
    headers = ("ENTITLEMENT", "HOLDER", "SUPPLIER", "POOL", "CHIPS", "PERIOD", "PRICE/CHIP-H")
    output.answer(
        {"entitlements": [output.plain(item) for item in found]},
        output.table(headers, rows),
        as_json=as_json,
    )


def nominate(
    context: typer.Context,
    entitlement: Annotated[str, typer.Argument(metavar="ENTITLEMENT", help="Own entitlement.")],
    auction: Annotated[str, typer.Option("--auction", help="Open auction.")],
    chips: Annotated[str, typer.Option("--chips", help="What will be used.")],
    start: Annotated[str, typer.Option("--from", help="Default: start of the auction.")] = "",
    end: Annotated[str, typer.Option("--to", help="Default: end of the auction.")] = "",
    backups: Annotated[
        list[str] | None,
        typer.Option("--backup", help="Only these of its backup pools. Default: all of them."),
    ] = None,
    nomination_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    as_json: Json = False,
) -> None:
    """Say what of an entitlement will be used in one auction; it is always served."""
    quantity = values.parse_chips(chips, "--chips")
    first = values.parse_time(start, "--from") if start else None
    last = values.parse_time(end, "--to") if end else None
    if first is None or last is None:
        period = auction_period(context, auction, as_json=as_json)
        first, last = first or period[0], last or period[1]
    identifier = nomination_id or values.new_identifier("nom")
    step = Step(price=MicroUsdPerChipHour(0), chips=quantity)  # its price is the registered one
    command = Nominate(
        header=BLANK_HEADER,
        nomination_id=identifier,
        entitlement_id=entitlement,
        auction_id=auction,
        segments=(TimedSegment(start=first, end=last, steps=(step,)),),
        backup_pool_ids=values.split_names(backups or ()),
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, nomination_id=identifier),
        accepted(f"Nominated {quantity} chips of {entitlement}", receipt),
        as_json=as_json,
    )
