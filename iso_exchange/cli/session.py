"""What every command shares: who calls, where the exchange is, and how a call is run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console

from iso_exchange.cli.refusals import BadValue
from iso_exchange.client import Client, Receipt, load_exchange
from iso_exchange.commands import Command

T = TypeVar("T")

OPERATOR_ID: Final = "operator"

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to standard output, nothing else.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before submitting.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Global options.

    Attributes:
        data: Data directory of a local exchange, where identities are kept.
        identity: Identity directory or name, empty when not given.
    """

    data: Path
    identity: str


def settings_of(context: typer.Context) -> Settings:
    """Global options of this invocation."""
    settings = context.obj
    if not isinstance(settings, Settings):
        raise BadValue("--as", "the command was started without its global options")
    return settings


def identity_directory(settings: Settings, *, default: str = "") -> Path:
    """Directory of the identity that a command acts as.

    Args:
        settings: Global options.
        default: Name used when none is given, such as the operator's.

    Raises:
        BadValue: none is given, or there is no such directory.
    """
    name = settings.identity or default
    if not name:
        raise BadValue("--as", "say who you are: --as NAME or DIRECTORY, or set ISO_IDENTITY")
    named = settings.data / "identities" / name
    for directory in (Path(name), named):
        if (directory / "cert.pem").is_file():
            return directory
    raise BadValue("--as", f"expected an identity directory, also looked at {named}", got=name)


def call(
    context: typer.Context,
    work: Callable[[Client], Awaitable[T]],
    *,
    as_json: bool,
    default: str = "",
) -> T:
    """Connect as the chosen identity, do the work, show that it is going on."""
    directory = identity_directory(settings_of(context), default=default)

    async def connected() -> T:
        async with Client.from_directory(directory) as client:
            return await work(client)

    if as_json or not sys.stderr.isatty():
        return asyncio.run(connected())
    with Console(stderr=True).status(load_exchange(directory).target):
        return asyncio.run(connected())


def send(context: typer.Context, command: Command, *, as_json: bool, default: str = "") -> Receipt:
    """Sign and send one command."""
    return call(context, lambda client: client.send(command), as_json=as_json, default=default)


def receipt_document(receipt: Receipt, **more: object) -> dict[str, object]:
    """JSON document of an accepted command; ``more`` stands first."""
    return {
        **more,
        "receipt": {
            "request_id": receipt.request_id,
            "entry_index": receipt.entry_index,
            "leaf_hash": receipt.leaf_hash.hex(),
            "accept_time_us": receipt.accept_time_us,
            "salt": receipt.salt.hex(),
        },
    }


def accepted(what: str, receipt: Receipt) -> str:
    """One line for people about an accepted command."""
    return f"{what}: log entry {receipt.entry_index}"
