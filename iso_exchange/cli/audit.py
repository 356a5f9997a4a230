"""``iso audit``: write the evidence of a whole exchange, and check it from files alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from iso_exchange.cli import output
from iso_exchange.cli.refusals import FAILURE, BadValue, Failure
from iso_exchange.cli.session import OPERATOR_ID, Json, identity_directory, settings_of

if TYPE_CHECKING:
    from iso_exchange.audit.bundle import Bundle, BundleKind
    from iso_exchange.audit.log_keys import Trust

app: Final = typer.Typer(no_args_is_help=True, help="Audit bundles: export, verify.")


@app.command("export")
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="New or empty directory for the bundle.")],
    public: Annotated[
        bool, typer.Option("--public", help="Without openings and confidential documents.")
    ] = False,
    database_url: Annotated[
        str,
        typer.Option(
            "--database-url",
            envvar="ISO_DATABASE_URL",
            help="PostgreSQL server. Default: the embedded one below the data directory.",
        ),
    ] = "",
    log_key: Annotated[
        str, typer.Option("--log-key", help="Verifier key. Default: that of the operator.")
    ] = "",
    witnessed: Annotated[
        bool, typer.Option("--witnessed", help="End at the last witnessed checkpoint.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a bundle of everything published, reading the data directory of the exchange.

    The exchange may work or be stopped; nothing of it is changed.
    """
    from iso_exchange.audit.bundle import BundleKind
    from iso_exchange.audit.export import ExportError
    from iso_exchange.storage.migrate import MigrationError
    from iso_exchange.storage.pool import UnsafeServerError
    from iso_exchange.storage.programs import EmbeddedError
    from settlement.storage.store import StoreError

    kind = BundleKind.PUBLIC if public else BundleKind.AUDITOR
    try:
        bundle = asyncio.run(
            _export(
                data=settings_of(context).data,
                out=out,
                kind=kind,
                database_url=database_url,
                vkey=log_key or _operator_vkey(context),
                witnessed=witnessed,
            )
        )
    except (ExportError, EmbeddedError, MigrationError, StoreError, UnsafeServerError) as error:
        output.report(
            Failure(exit_code=FAILURE, code=error.code, advice=str(error)), as_json=as_json
        )
        raise typer.Exit(FAILURE) from error
    document = {
        "directory": str(out),
        "kind": bundle.kind.value,
        "origin": bundle.origin,
        "log_vkey": bundle.vkey,
        "tree_size": bundle.size,
        "file_count": len(bundle.files),
    }
    size = f"{bundle.size:,} entries in {len(bundle.files):,} files"
    output.answer(document, f"{out}: {bundle.kind.value} bundle, {size}", as_json=as_json)
    output.next_steps(f"iso audit verify {out} --key '{bundle.vkey}'", as_json=as_json)


@app.command("verify")
def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Audit bundle.")],
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", help="Verifier key of the log, from a place you trust; repeated: all sign."
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="C2SP tlog-policy file: a log key, and witnesses' quorum."),
    ] = None,
    tsa_root: Annotated[
        list[Path] | None,
        typer.Option(
            "--tsa-root", help="PEM certificates of timestamp authorities' roots; may be repeated."
        ),
    ] = None,
    previous: Annotated[
        list[Path] | None,
        typer.Option(
            "--previous",
            metavar="DIR",
            help="Bundle of the log before; repeated: the latest first.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a bundle from its files alone, without server, database and network.

    Ends with 0 when nothing failed, with 1 when anything did. A public bundle leaves steps
    NOT CHECKABLE, because they need openings that only auditors have.
    """
    from clearing import codec
    from iso_exchange.audit.verify import verify as verify_bundle

    if not directory.is_dir():
        raise BadValue("DIR", "expected the directory of an audit bundle", got=str(directory))
    report = verify_bundle(directory, _trust(key or [], policy, tsa_root or [], previous or []))
    document: dict[str, Any] = json.loads(codec.encode(report))
    document |= {"ok": report.ok, "summary": report.summary()}
    lines = [report.summary()]
    if report.trusts_own_key:
        lines.append(f"trusting the bundle's own key {report.vkey}")
    if report.not_checkable:
        numbers = ", ".join(str(step.number) for step in report.not_checkable)
        lines.append(f"not checkable: steps {numbers}")
    lines.extend(f"stamped: {stamp}" for stamp in report.timestamps)
    lines.append("FAILED" if report.failed else "nothing failed")
    output.answer(
        document,
        output.table(
            ("", "STEP", "RESULT", "CHECKED", "WHAT", "FIRST FINDING"),
            (
                (
                    step.number,
                    step.name,
                    step.result.value,
                    f"{step.checked:,} {step.unit}".rstrip(),
                    step.title,
                    f"{step.place}: {step.detail}" if step.place else step.detail,
                )
                for step in report.steps
            ),
        ),
        *lines,
        as_json=as_json,
    )
    if not report.ok:
        raise typer.Exit(FAILURE)


async def _export(
    *,
    data: Path,
    out: Path,
    kind: BundleKind,
    database_url: str,
    vkey: str,
    witnessed: bool,
) -> Bundle:
    from iso_exchange.audit.database import open_for_reading
    from iso_exchange.audit.export import export as write_bundle
    from iso_exchange.publisher.publication import CHECKPOINT_NAME, WITNESSED_NAME
    from settlement.ledger.keys import parse_vkey

    async with open_for_reading(data, database_url) as store:
        return await write_bundle(
            store=store,
            log_directory=data / "log",
            directory=out,
            kind=kind,
            origin=parse_vkey(vkey).name,
            vkey=vkey,
            checkpoint_name=WITNESSED_NAME if witnessed else CHECKPOINT_NAME,
        )


def _trust(
    keys: list[str], policy: Path | None, tsa_roots: list[Path], previous: list[Path]
) -> Trust:
    from cryptography import x509

    from iso_exchange.audit.log_keys import Trust
    from settlement.ledger.checkpoint import check_log_key
    from settlement.ledger.errors import KeyFormatError, PolicyError
    from settlement.ledger.keys import parse_vkey
    from settlement.ledger.policy import parse_policy

    for key in keys:
        try:
            check_log_key(parse_vkey(key))
        except KeyFormatError as error:
            raise BadValue("--key", str(error), got=key) from error
    if tsa_roots and find_spec("rfc3161_client") is None:
        raise BadValue("--tsa-root", "install 'iso-exchange[timestamps]' to check timestamps")
    try:
        roots = [
            certificate
            for path in tsa_roots
            for certificate in x509.load_pem_x509_certificates(path.read_bytes())
        ]
    except (OSError, ValueError) as error:
        raise BadValue("--tsa-root", f"expected PEM certificates: {error}") from error
    trust = Trust(vkeys=tuple(keys), timestamp_roots=tuple(roots), previous=tuple(previous))
    if policy is None:
        return trust
    try:
        return replace(trust, policy=parse_policy(policy.read_bytes()))
    except (OSError, PolicyError) as error:
        raise BadValue("--policy", str(error), got=str(policy)) from error


def _operator_vkey(context: typer.Context) -> str:
    from iso_exchange.client import load_exchange

    return load_exchange(identity_directory(settings_of(context), default=OPERATOR_ID)).log_vkey
