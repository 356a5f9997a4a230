"""``iso watch``: everything that concerns one identity, as it happens."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from iso_exchange.api.v1 import event_pb2
from iso_exchange.cli import output, values
from iso_exchange.cli.session import Json, identity_directory, settings_of
from iso_exchange.client import Client, Watched

KINDS = tuple(
    name.removeprefix("EVENT_KIND_")
    for name in event_pb2.EventKind.keys()  # noqa: SIM118 - an enum wrapper, not a mapping
    if not name.endswith("_UNSPECIFIED")
)


def watch(
    context: typer.Context,
    cursor: Annotated[
        int, typer.Option("--cursor", min=-1, help="Resume here; 0: all, -1: from now on.")
    ] = 0,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help=f"Only these: {', '.join(KINDS)}.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", min=0, help="End after so many events. Default: never.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Follow awards, notices, outages and statements; with --json one document a line.

    Keep the cursor of the last line that was dealt with: --cursor resumes there.
    """
    names = values.parse_names(kind or (), "--kind", KINDS)
    kinds = [event_pb2.EventKind.Value(f"EVENT_KIND_{name}") for name in names]
    directory = identity_directory(settings_of(context))

    async def follow() -> None:
        reported = 0
        async with Client.from_directory(directory) as client:
            async for update in client.watch(cursor, kinds=kinds):
                for event in update.events:
                    _print(event, update, as_json=as_json)
                    reported += 1
                    if reported == count:
                        return

    asyncio.run(follow())


def _print(event: event_pb2.Event, update: Watched, *, as_json: bool) -> None:
    if as_json:
        document = output.plain(event)
        document["entry_index"] = update.entry_index
        document["cursor"] = update.cursor
        output.line(document)
        return
    about = event.contract_id or event.order_id or event.statement_id or event.auction_id
    print(
        f"{output.stamp_text(event.create_time)} {output.named(event, 'kind')} {about} "
        f"{event.description}".rstrip(),
        flush=True,
    )
