"""``iso dispatch``: instructions to suppliers, receipts to buyers, who is served on which nodes."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from clearing.units import UnixSeconds
from iso_exchange.api.v1 import dispatch_pb2
from iso_exchange.cli import output, values
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import (
    Json,
    accepted,
    call,
    identity_directory,
    receipt_document,
    send,
    settings_of,
)
from iso_exchange.client import BLANK_HEADER, Client, Receipt, WatchedBatch
from iso_exchange.client.access_key import access_key
from iso_exchange.commands import AcknowledgeBatch, SetAccessKey, SignReceipt
from iso_exchange.dispatch_commands import ReceiptKind, node_number
from iso_exchange.sealing import SealError, open_access, seal_access

app: Final = typer.Typer(
    no_args_is_help=True, help="Dispatch: instructions, receipts, nodes, access."
)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="Own pool.")]
Sequence = Annotated[
    int, typer.Argument(metavar="NUMBER", min=1, help="Number of the instruction in the pool.")
]
Nodes = Annotated[
    list[str] | None,
    typer.Option("--node", help="Only these nodes; may be repeated. Default: all that wait."),
]


@app.command("instructions")
def instructions(
    context: typer.Context,
    cursor: Annotated[
        int, typer.Option("--cursor", min=-1, help="Resume here; 0: all, -1: from now on.")
    ] = 0,
    count: Annotated[
        int, typer.Option("--count", min=0, help="End after so many batches. Default: never.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Follow own instructions as a supplier; with --json one batch a line.

    Keep the cursor of the last batch that was dealt with: --cursor resumes there.
    """
    directory = identity_directory(settings_of(context))

    async def follow() -> None:
        reported = 0
        async with Client.from_directory(directory) as client:
            async for found in client.watch_instructions(cursor):
                _print(found, as_json=as_json)
                reported += 1
                if reported == count:
                    return

    asyncio.run(follow())


@app.command("acknowledge")
def acknowledge(
    context: typer.Context,
    batch: Annotated[int, typer.Argument(metavar="BATCH", min=0, help="Its log entry.")],
    as_json: Json = False,
) -> None:
    """Say that a batch of instructions was received."""
    command = AcknowledgeBatch(header=BLANK_HEADER, batch_index=batch)
    receipt = send(context, command, as_json=as_json)
    output.answer(
        receipt_document(receipt, batch_entry_index=batch),
        accepted(f"Acknowledged batch {batch}", receipt),
        as_json=as_json,
    )


@app.command("ready")
def ready(
    context: typer.Context,
    pool: Pool,
    number: Sequence,
    node: Nodes = None,
    access: Annotated[
        Path | None,
        typer.Option("--access", help="File with access details; sealed to the buyer."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Hand nodes of a START or REPLACE over to the buyer."""
    details = b"" if access is None else _read(access)

    async def work(client: Client) -> Receipt:
        waiting = await _waiting(client, pool, number, node)
        sealed = b""
        if details:
            first = waiting[0]
            if not first.access_key:
                raise BadValue("--access", f"{first.buyer_id} registered no key to seal them to")
            sealed = _sealed(client, first, details)
        return await client.send(
            SignReceipt(
                header=BLANK_HEADER,
                pool_id=pool,
                sequence=number,
                kind=ReceiptKind.HANDED_OVER,
                nodes=_numbers(waiting),
                sealed_access=sealed,
            )
        )

    receipt = call(context, work, as_json=as_json)
    output.answer(
        receipt_document(receipt, instruction_id=f"{pool}/{number}"),
        accepted(f"Handed over {pool}/{number}", receipt),
        as_json=as_json,
    )


@app.command("cannot")
def cannot(
    context: typer.Context,
    pool: Pool,
    number: Sequence,
    reason: Annotated[str, typer.Option("--reason", help="What is wrong.")],
    node: Nodes = None,
    until: Annotated[
        str, typer.Option("--until", help="Expected end. Default: an hour from now.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Say that nodes of a START or REPLACE cannot be handed over: they are out of service."""
    end = values.parse_time(until, "--until") if until else UnixSeconds(0)

    async def work(client: Client) -> Receipt:
        waiting = await _waiting(client, pool, number, node)
        return await client.send(
            SignReceipt(
                header=BLANK_HEADER,
                pool_id=pool,
                sequence=number,
                kind=ReceiptKind.CANNOT,
                nodes=_numbers(waiting),
                until=end,
                reason=reason,
            )
        )

    receipt = call(context, work, as_json=as_json)
    output.answer(
        receipt_document(receipt, instruction_id=f"{pool}/{number}"),
        accepted(f"Reported {pool}/{number}", receipt),
        as_json=as_json,
    )


@app.command("nodes")
def nodes(
    context: typer.Context,
    pool: Annotated[str, typer.Option("--pool", help="Only this pool.")] = "",
    as_json: Json = False,
) -> None:
    """List nodes: a supplier's own pools whole, a buyer's those that serve it."""
    found = call(context, lambda client: client.nodes(pool), as_json=as_json)
    rows = [
        (
            item.pool_id,
            item.node_id,
            output.named(item, "state"),
            item.load_id,
            item.buyer_id,
            item.sequence_number or "",
            output.stamp_text(item.due_time) if item.HasField("due_time") else "",
            item.receipt_entry_index if item.receipt_entry_index >= 0 else "",
        )
        for item in found
    ]
    output.answer(
        {"nodes": [output.plain(item) for item in found]},
        output.table(
            ("POOL", "NODE", "STATE", "SERVES", "BUYER", "NUMBER", "DUE", "RECEIPT"), rows
        ),
        as_json=as_json,
    )


@app.command("status")
def status(
    context: typer.Context,
    contract: Annotated[str, typer.Argument(metavar="CONTRACT", help="Default: all.")] = "",
    as_json: Json = False,
) -> None:
    """Show how own contracts that deliver now stand, why, and whose doing it is."""
    found = call(context, lambda client: client.deliveries(contract), as_json=as_json)
    rows = [
        (
            item.contract_id,
            output.named(item, "state"),
            item.reason,
            item.responsible,
            f"{len(item.node_ids)} of {item.sold_node_count}",
            output.stamp_text(item.deadline_time) if item.HasField("deadline_time") else "",
        )
        for item in found
    ]
    output.answer(
        {"deliveries": [output.plain(item) for item in found]},
        output.table(("CONTRACT", "STATE", "REASON", "WHOSE", "NODES", "UNTIL"), rows),
        as_json=as_json,
    )


@app.command("key")
def key(context: typer.Context, as_json: Json = False) -> None:
    """Register the key that suppliers seal own access details to; made when there is none."""
    public = access_key(identity_directory(settings_of(context))).public_key().public_bytes_raw()
    receipt = send(context, SetAccessKey(header=BLANK_HEADER, public_key=public), as_json=as_json)
    output.answer(
        receipt_document(receipt, public_key=public.hex()),
        accepted(f"Registered access key {public.hex()}", receipt),
        as_json=as_json,
    )


@app.command("access")
def access_details(
    context: typer.Context,
    receipt: Annotated[
        int, typer.Argument(metavar="RECEIPT", min=0, help="Its log entry; see iso dispatch nodes.")
    ],
    as_json: Json = False,
) -> None:
    """Open the access details of a receipt and write them to standard output, as they are.

    With --json they are in base64, whatever they hold.
    """
    directory = identity_directory(settings_of(context))

    async def work(client: Client) -> bytes:
        found = await client.sealed_access(receipt)
        if not found.sealed_access:
            raise BadValue("RECEIPT", "it came without access details")
        try:
            return open_access(
                found.sealed_access,
                access_key(directory),
                origin=client.origin,
                pool_id=found.pool_id,
                sequence=found.sequence_number,
                buyer_id=client.participant_id,
            )
        except SealError as error:
            raise BadValue("RECEIPT", str(error)) from error

    details = call(context, work, as_json=as_json)
    if as_json:
        text = base64.b64encode(details).decode()
        output.answer({"receipt_entry_index": receipt, "details_base64": text}, as_json=True)
        return
    sys.stdout.buffer.write(details)


async def _waiting(
    client: Client, pool: str, number: int, names: list[str] | None
) -> list[dispatch_pb2.NodeView]:
    """Nodes of an instruction that wait for a receipt."""
    chosen = values.split_names(names or ())
    found = [
        item
        for item in await client.nodes(pool)
        if item.sequence_number == number
        and item.HasField("due_time")
        and (not chosen or item.node_id in chosen)
    ]
    if not found or (chosen and len(found) != len(chosen)):
        raise BadValue("--node", "expected nodes of the instruction that wait for a receipt")
    return found


def _sealed(client: Client, node: dispatch_pb2.NodeView, details: bytes) -> bytes:
    try:
        return seal_access(
            details,
            node.access_key,
            origin=client.origin,
            pool_id=node.pool_id,
            sequence=node.sequence_number,
            buyer_id=node.buyer_id,
        )
    except SealError as error:
        raise BadValue("--access", str(error)) from error


def _numbers(found: list[dispatch_pb2.NodeView]) -> tuple[int, ...]:
    numbers = (node_number(item.node_id) for item in found)
    return tuple(sorted(number for number in numbers if number is not None))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadValue("--access", f"cannot be read: {error}", got=str(path)) from error


def _print(found: WatchedBatch, *, as_json: bool) -> None:
    if as_json:
        document = output.plain(found.batch)
        document["cursor"] = found.cursor
        output.line(document)
        return
    for item in found.batch.instructions:
        due = f" due {output.stamp_text(item.due_time)}" if item.HasField("due_time") else ""
        print(
            f"{output.stamp_text(item.effect_time)} {item.instruction_id} "
            f"{output.named(item, 'kind')} {item.load_id} {' '.join(item.node_ids)}{due}",
            flush=True,
        )
