"""``iso key``: rotate keys, register the root key, show what signs the log."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from clearing.units import UnixSeconds
from iso_exchange.cli import output
from iso_exchange.cli.refusals import FAILURE, BadValue, Failure
from iso_exchange.cli.session import (
    OPERATOR_ID,
    Json,
    Settings,
    accepted,
    call,
    identity_directory,
    receipt_document,
    settings_of,
)
from iso_exchange.client import BLANK_HEADER, Client, Receipt, load_exchange, load_identity
from iso_exchange.commands import Command, RegisterRootKey, RotateKey
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey, key_id

if TYPE_CHECKING:
    from iso_exchange.rotation import Rotated

SECRETS_DIRECTORY: Final = "secrets"
NEXT_FILE: Final = "signing.next.pem"

app: Final = typer.Typer(no_args_is_help=True, help="Keys: rotate, root key, show.")

Reason = Annotated[str, typer.Option("--reason", help="Why; public and kept for ever.")]
Root = Annotated[
    Path | None, typer.Option("--root", help="Seed file of the root key, in place of a lost key.")
]


@app.command("rotate")
def rotate(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A participant or meter; or log, or settlement (see below)."
        ),
    ],
    reason: Reason,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Replace a key: the log names the new one, signed by it and by the old one.

    A participant's or meter's key changes at once, in its identity directory. `log` and
    `settlement` are the exchange's own: the new key is prepared in the data directory and used
    from its next start on. Where the old key is lost, --root names the root key: for a log key
    it signs in its place, for a participant the operator signs with it.
    """
    if target in {"log", "settlement"}:
        _prepare(context, target, reason, root, as_json=as_json)
    elif root is not None:
        _replace(context, target, reason, root, as_json=as_json)
    else:
        _rotate_own(context, target, reason, as_json=as_json)


@app.command("root-init")
def root_init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the seed is written.")],
    as_json: Json = False,
) -> None:
    """Make a root key. Register it, then keep the file offline: it replaces lost keys."""
    from iso_exchange.secrets_file import create_seed, read_seed

    if file.exists():
        raise BadValue("FILE", "is there already", got=str(file))
    create_seed(file)
    key = SigningKey.from_seed(read_seed(file))
    output.answer(
        {"file": str(file), "public_key": key.public.hex(), "key_id": key.key_id},
        f"Root key {key.public.hex()}",
        as_json=as_json,
    )
    output.next_steps(f"iso key root-register {file}", as_json=as_json)


@app.command("root-register")
def root_register(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Seed file of the root key.")],
    old: Annotated[
        Path | None, typer.Option("--old", help="Seed file of the root key that it replaces.")
    ] = None,
    as_json: Json = False,
) -> None:
    """State the root key in the log, signed by the operator, by itself and by an older one."""
    key = _seed_key(file, "FILE")
    command = RegisterRootKey(header=BLANK_HEADER, public_key=key.public)
    cosigners = [key] if old is None else [key, _seed_key(old, "--old")]
    receipt = _send(context, command, cosigners, as_json=as_json)
    output.answer(
        receipt_document(receipt, public_key=key.public.hex()),
        accepted("Registered the root key", receipt),
        as_json=as_json,
    )


@app.command("show")
def show(context: typer.Context, as_json: Json = False) -> None:
    """Print the verifier keys of the log, from the exchange's data directory."""
    from iso_exchange.secrets_file import LOG_FILE, SECOND_LOG_FILE, read_seed
    from settlement.ledger.mldsa import MlDsaKey

    settings = settings_of(context)
    directory = _secrets_directory(settings)
    origin = load_exchange(identity_directory(settings, default=OPERATOR_ID)).origin
    vkeys = [_vkey(origin, _seed_key(directory / LOG_FILE, "--data").public)]
    if (directory / SECOND_LOG_FILE).exists():
        second = MlDsaKey.from_seed(read_seed(directory / SECOND_LOG_FILE)).public
        vkeys.append(
            NoteKey(name=origin, algorithm=NoteAlgorithm.ML_DSA_44, public=second).to_vkey()
        )
    output.answer({"origin": origin, "log_vkeys": vkeys}, *vkeys, as_json=as_json)


def _rotate_own(context: typer.Context, name: str, reason: str, *, as_json: bool) -> None:
    """Replace the key of an identity by one that was written down before it is announced."""
    from iso_exchange.identity.directory import SIGNING_FILE

    settings = settings_of(context)
    directory = identity_directory(Settings(data=settings.data, identity=name))
    identity = load_identity(directory)
    new = _next_key(directory / NEXT_FILE)
    owner = identity.participant_id

    async def work(client: Client) -> Receipt | None:
        view = await client.participant(owner)
        if identity.signing_key.key_id in view.revoked_key_ids:
            return None  # it was accepted before, and the answer was lost
        command = _rotation(owner, identity.signing_key.key_id, new, reason)
        return await client.send(command, cosigners=[new])

    own = typer.Context(context.command, obj=Settings(data=settings.data, identity=name))
    receipt = call(own, work, as_json=as_json)
    (directory / NEXT_FILE).rename(directory / SIGNING_FILE)
    document = {"participant_id": owner, "key_id": new.key_id, "identity": str(directory)}
    if receipt is None:
        output.answer(document, f"The key of {owner} is rotated already", as_json=as_json)
        return
    output.answer(
        receipt_document(receipt, **document),
        accepted(f"Rotated the key of {owner}", receipt),
        as_json=as_json,
    )


def _replace(context: typer.Context, name: str, reason: str, root: Path, *, as_json: bool) -> None:
    """Give a participant a new key in the place of a lost one, by operator and root key."""
    from iso_exchange.identity.directory import SIGNING_FILE

    settings = settings_of(context)
    directory = identity_directory(Settings(data=settings.data, identity=name))
    new = _next_key(directory / NEXT_FILE)

    async def work(client: Client) -> Receipt:
        view = await client.participant(name)
        # All of them revoked: the one it was registered with stands for them.
        old = next(iter(view.key_ids), key_id(view.participant.public_key))
        command = _rotation(name, old, new, reason)
        return await client.send(command, cosigners=[_seed_key(root, "--root"), new])

    receipt = call(context, work, as_json=as_json, default=OPERATOR_ID)
    (directory / NEXT_FILE).rename(directory / SIGNING_FILE)
    output.answer(
        receipt_document(receipt, participant_id=name, key_id=new.key_id),
        accepted(f"Replaced the key of {name}", receipt),
        as_json=as_json,
    )


def _prepare(
    context: typer.Context, target: str, reason: str, root: Path | None, *, as_json: bool
) -> None:
    import time

    from iso_exchange.rotation import Rotated, RotationError, prepare

    what: Rotated = Rotated.LOG if target == "log" else Rotated.SETTLEMENT
    settings = settings_of(context)
    origin = load_exchange(identity_directory(settings, default=OPERATOR_ID)).origin
    try:
        new = prepare(
            _secrets_directory(settings),
            what,
            origin=origin,
            reason=reason,
            now=UnixSeconds(int(time.time())),
            root=None if root is None else _seed_key(root, "--root"),
        )
    except RotationError as error:
        failure = Failure(exit_code=FAILURE, code="ROTATION_REFUSED", advice=str(error))
        output.report(failure, as_json=as_json)
        raise typer.Exit(FAILURE) from error
    vkey = _vkey(origin, new.public) if what is Rotated.LOG else ""
    document = {"key": target, "key_id": new.key_id, "log_vkey": vkey}
    output.answer(
        document,
        f"New {target} key {new.key_id}: used from the next start of the exchange on",
        *((vkey,) if vkey else ()),
        as_json=as_json,
    )
    if vkey:
        output.next_steps(
            "hand the verifier key to witnesses and auditors, then restart the exchange",
            as_json=as_json,
        )


def _rotation(name: str, old_key_id: str, new: SigningKey, reason: str) -> RotateKey:
    return RotateKey(
        header=BLANK_HEADER,
        participant_id=name,
        old_key_id=old_key_id,
        new_public_key=new.public,
        reason=reason,
    )


def _send(
    context: typer.Context, command: Command, cosigners: list[SigningKey], *, as_json: bool
) -> Receipt:
    return call(
        context,
        lambda client: client.send(command, cosigners=cosigners),
        as_json=as_json,
        default=OPERATOR_ID,
    )


def _next_key(path: Path) -> SigningKey:
    """Key of a rotation that may have been begun before."""
    from iso_exchange.identity.ca import write_private

    if not path.exists():
        write_private(path, SigningKey.from_seed(secrets.token_bytes(32)).to_pem())
    return SigningKey.from_pem(path.read_bytes())


def _seed_key(path: Path, field: str) -> SigningKey:
    from iso_exchange.secrets_file import read_seed

    try:
        return SigningKey.from_seed(read_seed(path))
    except (OSError, ValueError) as error:
        raise BadValue(field, f"expected a seed file: {error}", got=str(path)) from error


def _secrets_directory(settings: Settings) -> Path:
    directory = settings.data / SECRETS_DIRECTORY
    if not directory.is_dir():
        raise BadValue(
            "--data", "expected the data directory of a local exchange", got=str(settings.data)
        )
    return directory


def _vkey(origin: str, public: bytes) -> str:
    return NoteKey(name=origin, algorithm=NoteAlgorithm.ED25519, public=public).to_vkey()
