"""``iso ledger roll-over``: close a log and begin the one that continues it."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iso_exchange.cli import output
from iso_exchange.cli.refusals import FAILURE, BadValue, Failure
from iso_exchange.cli.session import OPERATOR_ID, Json, identity_directory, settings_of
from iso_exchange.client import load_exchange, load_identity

if TYPE_CHECKING:
    from iso_exchange.identity.directory import ExchangeAddress
    from iso_exchange.rollover import Carried, Side
    from iso_exchange.secrets_file import ExchangeSecrets
    from iso_exchange.storage.postgres import PostgresStore
    from settlement.ledger.keys import SigningKey

BUNDLE_DIRECTORY = "predecessor"


def roll_over(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Data directory of the new exchange; made.")],
    origin: Annotated[str, typer.Option("--origin", help="Name of the new log.")],
    as_json: Json = False,
) -> None:
    """Close the log of a stopped exchange, and begin the one that continues it.

    Everything in the old log must be settled. The new data directory gets new log and service
    keys, the identities with their signing keys, the registry and the participants' balances,
    and a bundle of the old log. Run again after a failure.
    """
    from iso_exchange.audit.export import ExportError
    from iso_exchange.observability import logs
    from iso_exchange.rollover import RolloverError
    from iso_exchange.storage.migrate import MigrationError
    from iso_exchange.storage.programs import EmbeddedError
    from settlement.ledger.errors import KeyFormatError
    from settlement.ledger.keys import check_key_name
    from settlement.storage.store import StoreError

    logs.configure("WARNING")
    data = settings_of(context).data
    if out.resolve() == data.resolve():
        raise BadValue("--out", "name another directory than that of the old exchange")
    try:
        check_key_name(origin)
    except KeyFormatError as error:
        raise BadValue("--origin", str(error), got=origin) from error
    directory = identity_directory(settings_of(context), default=OPERATOR_ID)
    try:
        carried, vkey = asyncio.run(_roll_over(data, directory, out, origin))
    except RolloverError as error:
        failure = Failure(exit_code=FAILURE, code="ROLLOVER_REFUSED", advice=str(error))
        output.report(failure, as_json=as_json)
        raise typer.Exit(FAILURE) from error
    except (EmbeddedError, ExportError, MigrationError, StoreError) as error:
        failure = Failure(exit_code=FAILURE, code=error.code, advice=str(error))
        output.report(failure, as_json=as_json)
        raise typer.Exit(FAILURE) from error
    output.answer(
        {
            "directory": str(out),
            "origin": origin,
            "log_vkey": vkey,
            "entry_count": carried.entries,
            "deposit_count": carried.deposits,
            "left": list(carried.left),
        },
        f"{out}: {origin} begins with {carried.entries} entries, {carried.deposits} balances",
        vkey,
        *carried.left,
        as_json=as_json,
    )
    output.next_steps(f"iso serve --data {out} --origin {origin}", as_json=as_json)


async def _roll_over(
    data: Path, operator_directory: Path, out: Path, origin: str
) -> tuple[Carried, str]:
    from iso_exchange import rollover
    from iso_exchange.audit.bundle import BUNDLE_NAME, BundleKind
    from iso_exchange.audit.export import export
    from iso_exchange.secrets_file import load_or_create

    address = load_exchange(operator_directory)
    old_secrets = load_or_create(data / "secrets")
    has_second = old_secrets.second_log_key is not None
    new_secrets = load_or_create(out / "secrets", second_signature=has_second)
    operator_key = load_identity(operator_directory).signing_key
    bundle = out / BUNDLE_DIRECTORY
    async with AsyncExitStack() as stack:
        store = await _store(stack, data, address.origin)
        old = _side(store, address.origin, old_secrets, data, operator_key)
        await rollover.close(old, successor_origin=origin, successor_key=new_secrets.log_key.public)
        if not (bundle / BUNDLE_NAME).exists():
            await export(
                store=store,
                log_directory=old.directory,
                directory=bundle,
                kind=BundleKind.AUDITOR,
                origin=address.origin,
                vkey=old.vkey,
            )
    async with AsyncExitStack() as stack:
        store = await _store(stack, out, origin)
        new = _side(store, origin, new_secrets, out, operator_key)
        carried = await rollover.begin(new, bundle=bundle, old_log_key=old_secrets.log_key)
    _carry_identities(data, out, replace(address, origin=origin, log_vkey=new.vkey))
    return carried, new.vkey


async def _store(stack: AsyncExitStack, data: Path, origin: str) -> PostgresStore:
    """The embedded database below a data directory, for writing; refused where it runs."""
    from iso_exchange.server import code_version
    from iso_exchange.storage.embedded import Embedded
    from iso_exchange.storage.migrate import migrate
    from iso_exchange.storage.postgres import PostgresStore

    server = await stack.enter_async_context(Embedded(data / "postgres"))
    await migrate(server.url)
    store = await PostgresStore.open(server.url, application_name="iso roll-over")
    stack.push_async_callback(store.close)
    await store.bind_origin(origin, code_version())
    return store


def _side(
    store: PostgresStore, origin: str, keys: ExchangeSecrets, data: Path, operator: SigningKey
) -> Side:
    from iso_exchange.clock import SystemClock
    from iso_exchange.rollover import Side
    from iso_exchange.server import code_version

    return Side(
        store=store,
        origin=origin,
        secrets=keys,
        operator_key=operator,
        directory=data / "log",
        clock=SystemClock(),
        new_salt=secrets.token_bytes,
        code_version=code_version(),
    )


def _carry_identities(data: Path, out: Path, address: ExchangeAddress) -> None:
    """Signing keys as they are, with certificates for the new origin."""
    from iso_exchange.identity.ca import DevelopmentAuthority, write_private
    from iso_exchange.identity.directory import SIGNING_FILE, write_identity

    now = datetime.now(UTC)
    authority = DevelopmentAuthority.load_or_create(out / "ca", origin=address.origin, now=now)
    for old in sorted((data / "identities").iterdir()):
        if not (old / SIGNING_FILE).exists():
            continue
        new = out / "identities" / old.name
        new.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(new / SIGNING_FILE, (old / SIGNING_FILE).read_bytes())
        write_identity(
            new,
            ca_pem=authority.certificate_pem,
            issued=authority.issue(old.name, now=now),
            address=address,
        )
