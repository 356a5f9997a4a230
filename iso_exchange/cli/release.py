"""``iso release`` and ``iso recall``: base load that its holder gives up in a spot market."""

from __future__ import annotations

from typing import Annotated

import typer

from clearing.types import Step
from clearing.units import MicroUsdPerChipHour
from iso_exchange.cli import output, values
from iso_exchange.cli.session import Json, accepted, receipt_document, send
from iso_exchange.client import BLANK_HEADER
from iso_exchange.commands import Recall, Release, TimedSegment

Start = Annotated[str, typer.Option("--from", help="On an interval of the market.")]
End = Annotated[str, typer.Option("--to", help="The same, not included.")]


def release(
    context: typer.Context,
    entitlement: Annotated[str, typer.Argument(metavar="ENTITLEMENT", help="Own entitlement.")],
    market: Annotated[str, typer.Option("--market", help="Open spot market.")],
    steps: Annotated[
        list[str],
        typer.Option("--step", metavar="CHIPS@PRICE", help="At least so many USD an hour."),
    ],
    start: Start,
    end: End,
    release_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    as_json: Json = False,
) -> None:
    """Offer a part of an entitlement to interruptible work; all the rest stays nominated."""
    identifier = release_id or values.new_identifier("release")
    curve = values.parse_steps(steps, "--step", descending=False)
    command = Release(
        header=BLANK_HEADER,
        release_id=identifier,
        entitlement_id=entitlement,
        auction_id=market,
        segments=(
            TimedSegment(
                start=values.parse_time(start, "--from"),
                end=values.parse_time(end, "--to"),
                steps=curve,
            ),
        ),
    )
    receipt = send(context, command, as_json=as_json)
    chips = sum(step.chips for step in curve)
    output.answer(
        receipt_document(receipt, release_id=identifier),
        accepted(f"Released {chips} chips of {entitlement} as {identifier}", receipt),
        as_json=as_json,
    )
    output.next_steps(
        f"iso recall {identifier} --chips CHIPS --from {start} --to {end}", as_json=as_json
    )


def recall(
    context: typer.Context,
    release_id: Annotated[str, typer.Argument(metavar="RELEASE", help="Own release in force.")],
    chips: Annotated[str, typer.Option("--chips", help="What is taken back.")],
    start: Start,
    end: End,
    recall_id: Annotated[str, typer.Option("--id", help="Default: a fresh one.")] = "",
    as_json: Json = False,
) -> None:
    """Take released chips back; work on them gets its notice, and the holder pays spot."""
    quantity = values.parse_chips(chips, "--chips")
    identifier = recall_id or values.new_identifier("recall")
    step = Step(price=MicroUsdPerChipHour(0), chips=quantity)
    command = Recall(
        header=BLANK_HEADER,
        recall_id=identifier,
        release_id=release_id,
        segments=(
            TimedSegment(
                start=values.parse_time(start, "--from"),
                end=values.parse_time(end, "--to"),
                steps=(step,),
            ),
        ),
    )
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, recall_id=identifier),
        accepted(f"Recalled {quantity} chips of {release_id}", receipt),
        as_json=as_json,
    )
