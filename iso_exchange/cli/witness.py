"""``iso witness``: cosign the checkpoints of logs that only ever grow."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from iso_exchange.cli import output
from iso_exchange.cli.refusals import FAILURE, BadValue, Failure
from iso_exchange.cli.session import Json

if TYPE_CHECKING:
    from iso_exchange.witness.state import WitnessKeys, WitnessStateError
    from settlement.ledger.policy import Policy

LISTEN_DEFAULT: Final = "127.0.0.1:7090"

app: Final = typer.Typer(
    no_args_is_help=True, help="A witness: cosigns checkpoints, never a rollback or a fork."
)

State = Annotated[Path, typer.Option("--state", help="Directory of the witness's keys and memory.")]


@app.command("init")
def init(
    state: State,
    name: Annotated[str, typer.Option("--name", help="Key name, such as witness.example.org/one.")],
    ed25519: Annotated[
        bool, typer.Option("--ed25519/--no-ed25519", help="Make an Ed25519 key.")
    ] = True,
    ml_dsa: Annotated[
        bool, typer.Option("--ml-dsa/--no-ml-dsa", help="Make an ML-DSA-44 key.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Make a witness: keys and an empty memory; its verifier keys go to those who trust it."""
    from iso_exchange.witness.state import WitnessStateError, create
    from settlement.ledger.errors import KeyFormatError

    if not (ed25519 or ml_dsa):
        raise BadValue("--ed25519", "a witness has at least one key")
    try:
        keys = create(state, name=name, ed25519=ed25519, mldsa=ml_dsa)
    except KeyFormatError as error:
        raise BadValue("--name", str(error), got=name) from error
    except WitnessStateError as error:
        _fail(error, as_json=as_json)
    _show(state, keys, as_json=as_json)
    output.next_steps(f"iso witness serve --state {state} --policy logs.policy", as_json=as_json)


@app.command("show")
def show(state: State, as_json: Json = False) -> None:
    """Print the verifier keys of a witness, as they stand in a policy."""
    from iso_exchange.witness.state import WitnessStateError, read_keys

    try:
        keys = read_keys(state)
    except WitnessStateError as error:
        _fail(error, as_json=as_json)
    _show(state, keys, as_json=as_json)


@app.command("serve")
def serve(
    state: State,
    policy: Annotated[
        Path,
        typer.Option("--policy", help="C2SP tlog-policy file; its log lines are witnessed."),
    ],
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Port 0: choose one.")
    ] = LISTEN_DEFAULT,
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, ...")] = "INFO",
) -> None:
    """Answer POST /add-checkpoint (C2SP tlog-witness) until told to stop.

    Put TLS in front of it. The directory is the memory that makes it a witness: losing it, or
    restoring an old one, makes it cosign what it must not.
    """
    import time

    from iso_exchange import config
    from iso_exchange.observability import logs
    from iso_exchange.witness.server import WitnessServer
    from iso_exchange.witness.state import WitnessState, WitnessStateError

    rules = _policy(policy)
    try:
        address = config.parse_listen(listen)
    except config.ConfigError as error:
        raise BadValue("--listen", str(error)) from error
    logs.configure(log_level.upper())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        memory = WitnessState.open(state)
    except WitnessStateError as error:
        _fail(error, as_json=False)
    with memory:
        server = WitnessServer(
            listen=address, state=memory, policy=rules, now_seconds=lambda: int(time.time())
        )
        server.start()
        output.answer({}, f"witness {memory.keys.name} at {server.url}", as_json=False)
        stop.wait()
        server.stop()


def _policy(path: Path) -> Policy:
    from settlement.ledger.errors import PolicyError
    from settlement.ledger.policy import parse_policy

    try:
        policy = parse_policy(path.read_bytes())
    except (OSError, PolicyError) as error:
        raise BadValue("--policy", str(error), got=str(path)) from error
    if not policy.logs:
        raise BadValue("--policy", "expected at least one line 'log vkey'", got=str(path))
    return policy


def _show(state: Path, keys: WitnessKeys, *, as_json: bool) -> None:
    vkeys = [key.to_vkey() for key in keys.note_keys]
    document = {"directory": str(state), "name": keys.name, "vkeys": vkeys}
    output.answer(document, *vkeys, as_json=as_json)


def _fail(error: WitnessStateError, *, as_json: bool) -> NoReturn:
    output.report(Failure(exit_code=FAILURE, code=error.code, advice=str(error)), as_json=as_json)
    raise typer.Exit(FAILURE) from error
