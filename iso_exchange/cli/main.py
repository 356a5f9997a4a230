"""Entry point of ``iso``: global options, the table of nouns, errors to exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.exceptions import Abort, TyperException

from clearing.errors import InvariantError
from iso_exchange.cli import (
    account,
    auction,
    audit,
    bid,
    catalogue,
    chips,
    clock,
    community,
    contract,
    credits,  # noqa: A004 - the noun, as the other modules
    dispatch,
    dispute,
    entitlement,
    explain,
    grant,
    key,
    ledger,
    meter,
    offer,
    order,
    outage,
    output,
    participant,
    pool,
    readings,
    release,
    serve,
    site,
    spot,
    statement,
    strip,  # noqa: F401 - adds itself to the auctions
    watch,
    witness,
)
from iso_exchange.cli.refusals import FAILURE, OK, USAGE, BadValue, Failure, failure_of
from iso_exchange.cli.session import Settings
from iso_exchange.client import ClientError
from settlement.ledger.errors import LedgerFormatError
from settlement.metering.chip_table import ChipTableError

DATA_DEFAULT: Final = Path("var")

app: Final = typer.Typer(
    name="iso",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An independent system operator for AI compute: run an exchange, trade on it, check it.",
)


def print_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(metadata.version("iso-exchange"))
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    identity: Annotated[
        str,
        typer.Option(
            "--as",
            envvar="ISO_IDENTITY",
            help="Identity directory, or the name of one below DATA/identities.",
        ),
    ] = "",
    data: Annotated[
        Path, typer.Option("--data", envvar="ISO_DATA", help="Data directory of a local exchange.")
    ] = DATA_DEFAULT,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Run an exchange, trade on it, check it."""
    context.obj = Settings(data=data, identity=identity)


app.command("serve")(serve.serve)
for _name, _noun in (
    ("participant", participant.app),
    ("site", site.app),
    ("pool", pool.app),
    ("meter", meter.app),
    ("chips", chips.app),
    ("auction", auction.app),
    ("spot", spot.app),
    ("offer", offer.app),
    ("bid", bid.app),
    ("order", order.app),
    ("entitlement", entitlement.app),
    ("contract", contract.app),
    ("dispatch", dispatch.app),
    ("grant", grant.app),
    ("credits", credits.app),
    ("outage", outage.app),
    ("dispute", dispute.app),
    ("readings", readings.app),
    ("statement", statement.app),
    ("community", community.app),
    ("key", key.app),
    ("ledger", ledger.app),
    ("clock", clock.app),
    ("audit", audit.app),
    ("witness", witness.app),
):
    app.add_typer(_noun, name=_name)
app.command("deposit")(account.deposit)
app.command("balance")(account.balance)
app.command("nominate")(entitlement.nominate)
app.command("release")(release.release)
app.command("recall")(release.recall)
app.command("explain")(explain.explain)
app.command("watch")(watch.watch)
app.command("commands")(catalogue.commands)


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        0 done, 1 failed, 2 not understood, 3 not allowed, 4 nothing found, 5 in conflict.
    """
    as_json = "--json" in arguments
    try:
        code = typer.main.get_command(app).main(
            args=list(arguments), prog_name="iso", standalone_mode=False
        )
    except (BadValue, ClientError) as error:
        failure = failure_of(error)
    except TyperException as error:
        if not as_json:
            _show_usage(error)
            return USAGE
        failure = Failure(exit_code=USAGE, code="USAGE", advice=error.format_message())
    except Abort:
        failure = Failure(exit_code=FAILURE, code="ABORTED", advice="nothing was submitted")
    except LedgerFormatError as error:
        failure = Failure(exit_code=FAILURE, code=error.code.value, advice=str(error))
    except ChipTableError as error:
        failure = Failure(exit_code=FAILURE, code=error.code, field=error.path, advice=error.advice)
    except OSError as error:
        failure = Failure(exit_code=FAILURE, code="SYSTEM", advice=str(error))
    else:
        return code if isinstance(code, int) else OK
    output.report(failure, as_json=as_json)
    return failure.exit_code


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def _show_usage(error: TyperException) -> None:
    show = getattr(error, "show", None)
    if show is None:
        raise InvariantError(f"a usage error that cannot be shown: {error!r}") from error
    show()
