"""``iso contract``: what was awarded and is delivered."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from clearing.units import chip_hours_text
from iso_exchange.api.v1 import contract_pb2
from iso_exchange.cli import output
from iso_exchange.cli.session import Json, call

app: Final = typer.Typer(no_args_is_help=True, help="Own contracts: list, show.")


class State(StrEnum):
    """States of a contract, for filters."""

    AWARDED = "awarded"
    SCHEDULED = "scheduled"
    PROVISIONING = "provisioning"
    DELIVERING = "delivering"
    NOTICE = "notice"
    RECLAIMED = "reclaimed"
    COMPLETED = "completed"
    SETTLED = "settled"


@app.command("list")
def list_contracts(
    context: typer.Context,
    auction: Annotated[str, typer.Option("--auction", help="Only this auction.")] = "",
    order: Annotated[str, typer.Option("--order", help="Only this own order.")] = "",
    pool: Annotated[str, typer.Option("--pool", help="Only this pool.")] = "",
    state: Annotated[
        State | None, typer.Option("--state", case_sensitive=False, help="Only this state.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 100,
    as_json: Json = False,
) -> None:
    """List own contracts by start of delivery."""
    wanted = contract_pb2.CONTRACT_STATE_UNSPECIFIED
    if state is not None:
        wanted = contract_pb2.ContractState.Value(f"CONTRACT_STATE_{state.name}")
    found = call(
        context,
        lambda client: client.contracts(
            auction, order_id=order, pool_id=pool, state=wanted, limit=limit
        ),
        as_json=as_json,
    )
    rows = [
        (
            contract.contract_id,
            output.named(contract.terms, "service_class"),
            output.named(contract, "state"),
            max((hour.chip_count for hour in contract.hours), default=0),
            output.interval_text(contract.terms.start_time, contract.terms.end_time),
        )
        for contract in found
    ]
    output.answer(
        {"contracts": [output.plain(contract) for contract in found]},
        output.table(("CONTRACT", "CLASS", "STATE", "CHIPS", "PERIOD"), rows),
        as_json=as_json,
    )


@app.command("show")
def show(
    context: typer.Context,
    contract_id: Annotated[str, typer.Argument(metavar="CONTRACT", help="Own contract.")],
    as_json: Json = False,
) -> None:
    """Show a contract: parties, terms, hours and what the meter says of them."""
    found = call(context, lambda client: client.contract(contract_id), as_json=as_json)
    facts = (
        ("Contract", found.contract_id),
        ("State", output.named(found, "state")),
        ("Buyer", found.buyer_id),
        ("Supplier", found.supplier_id),
        ("Pool", found.pool_id),
        ("Backup", found.backup_pool_id),
        ("Class", output.named(found.terms, "service_class")),
        ("Cover", output.named(found.terms, "cover")),
        ("Notice", f"{found.terms.notice_seconds} s"),
        ("Period", output.interval_text(found.terms.start_time, found.terms.end_time)),
    )
    delivered = {hour.start_time.seconds: hour for hour in found.delivered_hours}
    rows = []
    for hour in found.hours:
        read = delivered.get(hour.start_time.seconds)
        rows.append(
            (
                output.stamp_text(hour.start_time),
                hour.chip_count,
                output.price_text(hour.legs.contract_micro_usd_per_chip_hour),
                output.price_text(hour.legs.surcharge_micro_usd_per_chip_hour),
                *(
                    chip_hours_text(part) if read else ""
                    for part in (
                        read.delivered_chip_seconds if read else 0,
                        read.failed_chip_seconds if read else 0,
                        read.gap_chip_seconds if read else 0,
                    )
                ),
            )
        )
    headers = ("FROM", "CHIPS", "PRICE", "SURCHARGE", "DELIVERED H", "FAILED H", "NOT READ H")
    output.answer(
        output.plain(found),
        output.pairs((name, value) for name, value in facts if value),
        output.table(headers, rows),
        as_json=as_json,
    )
