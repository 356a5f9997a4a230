"""``iso dispute``: contest what was delivered in an hour, decide, list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from clearing.types import Interval
from clearing.units import ChipSeconds
from iso_exchange.cli import output, values
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import Json, accepted, call, receipt_document, send
from iso_exchange.client import BLANK_HEADER
from iso_exchange.money_commands import CounterReading, DecideDispute, DisputeHour

app: Final = typer.Typer(no_args_is_help=True, help="Disputes: open, decide, list.")

_FIELDS: Final = ("node_id", "start_time", "end_time", "healthy_chip_seconds")


@app.command("open")
def open_dispute(
    context: typer.Context,
    contract: Annotated[str, typer.Option("--contract", help="Own contract.")],
    hour: Annotated[str, typer.Option("--hour", help="Start of the delivery interval.")],
    reason: Annotated[str, typer.Option("--reason", help="What is contested.")],
    readings: Annotated[
        Path | None,
        typer.Option(
            "--readings",
            help="JSON list of counter readings: node_id, start_time, end_time,"
            " healthy_chip_seconds.",
        ),
    ] = None,
    dispute_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    as_json: Json = False,
) -> None:
    """Contest a settled hour of an own contract and freeze the amount in question.

    Without readings the whole hour is contested.
    """
    identifier = dispute_id or values.new_identifier("dispute")
    command = DisputeHour(
        header=BLANK_HEADER,
        dispute_id=identifier,
        contract_id=contract,
        hour_start=values.parse_time(hour, "--hour"),
        reason=reason,
        counter_readings=() if readings is None else parse_readings(readings),
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, dispute_id=identifier),
        accepted(f"Opened {identifier}", receipt),
        as_json=as_json,
    )


@app.command("decide")
def decide(
    context: typer.Context,
    dispute: Annotated[str, typer.Argument(metavar="DISPUTE", help="Open dispute.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    upheld: Annotated[
        bool,
        typer.Option(
            "--uphold/--dismiss", help="Whether the counter readings replace the meter's."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Decide a dispute: what is frozen is given back. The operator."""
    command = DecideDispute(header=BLANK_HEADER, dispute_id=dispute, upheld=upheld, reason=reason)
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, dispute_id=dispute, upheld=upheld),
        accepted(f"{'Upheld' if upheld else 'Dismissed'} {dispute}", receipt),
        as_json=as_json,
    )


@app.command("list")
def list_disputes(context: typer.Context, as_json: Json = False) -> None:
    """List disputes of own contracts; the operator and auditors see all."""
    found = call(context, lambda client: client.disputes(), as_json=as_json)
    rows = [
        (
            item.dispute.dispute_id,
            output.named(item, "state"),
            item.dispute.contract_id,
            output.stamp_text(item.dispute.hour_start_time),
            output.money_text(item.frozen_micro_usd),
            item.dispute.reason,
        )
        for item in found
    ]
    headers = ("DISPUTE", "STATE", "CONTRACT", "HOUR", "FROZEN", "REASON")
    output.answer(
        {"disputes": [output.plain(item) for item in found]},
        output.table(headers, rows),
        as_json=as_json,
    )


def parse_readings(file: Path) -> tuple[CounterReading, ...]:
    """Counter readings of a JSON file, read strictly.

    Raises:
        BadValue: it is no list of readings; it names the place.
    """
    try:
        document: Any = json.loads(file.read_text())
    except ValueError as error:
        raise BadValue("--readings", f"expected JSON: {error}", got=str(file)) from error
    if not isinstance(document, list):
        raise BadValue("--readings", "expected a list of readings", got=str(file))
    return tuple(_reading(item, f"--readings[{number}]") for number, item in enumerate(document))


def _reading(item: Any, place: str) -> CounterReading:  # noqa: ANN401 - any JSON value
    if not isinstance(item, dict) or set(item) != set(_FIELDS):
        raise BadValue(place, f"expected exactly {', '.join(_FIELDS)}")
    healthy = item["healthy_chip_seconds"]
    texts = [item[name] for name in _FIELDS[:3]]
    if type(healthy) is not int or healthy < 0 or not all(isinstance(t, str) for t in texts):
        raise BadValue(place, "expected texts, and chip-seconds of zero or more")
    return CounterReading(
        node_id=texts[0],
        interval=Interval(
            start=values.parse_time(texts[1], f"{place}.start_time"),
            end=values.parse_time(texts[2], f"{place}.end_time"),
        ),
        healthy=ChipSeconds(healthy),
    )
