"""``iso participant``: who takes part."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from iso_exchange.api.v1 import participant_pb2
from iso_exchange.cli import output
from iso_exchange.cli.refusals import BadValue
from iso_exchange.cli.session import (
    OPERATOR_ID,
    Json,
    accepted,
    call,
    identity_directory,
    receipt_document,
    send,
    settings_of,
)
from iso_exchange.client import BLANK_HEADER, load_exchange
from iso_exchange.commands import (
    CancelAllOrders,
    RegisterParticipant,
    ReinstateParticipant,
    RevokeKey,
    Role,
    SuspendParticipant,
)

app: Final = typer.Typer(no_args_is_help=True, help="Participants: register, list, suspend.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Identifier of the participant.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; public and kept for ever.")]


class RoleName(StrEnum):
    """Roles that can be given on the command line."""

    SUPPLIER = "supplier"
    BUYER = "buyer"
    AUDITOR = "auditor"
    COMMUNITY = "community"


@app.command("register")
def register(
    context: typer.Context,
    name: Name,
    role: Annotated[
        list[RoleName], typer.Option("--role", help="May be repeated.", case_sensitive=False)
    ],
    display_name: Annotated[str, typer.Option("--display-name", help="Name for people.")] = "",
    country: Annotated[str, typer.Option("--country", help="ISO 3166-1 alpha-2.")] = "",
    as_json: Json = False,
) -> None:
    """Admit a participant: certificate of the development authority, signing key, registration.

    Needs the data directory of the exchange. The operator signs; run again after a failure.
    """
    directory, public_key = make_identity(context, name)
    receipt = send(
        context,
        RegisterParticipant(
            header=BLANK_HEADER,
            participant_id=name,
            display_name=display_name or name,
            roles=tuple(dict.fromkeys(Role[item.name] for item in role)),
            public_key=public_key,
            country=country.upper(),
        ),
        as_json=as_json,
        default=OPERATOR_ID,
    )
    document = receipt_document(receipt, participant_id=name, identity=str(directory))
    output.answer(
        document,
        accepted(f"Registered {name}", receipt),
        f"Identity: {directory}",
        as_json=as_json,
    )
    steps = [f"export ISO_IDENTITY={name}"]
    if {RoleName.BUYER, RoleName.SUPPLIER} & set(role):
        steps.append(f"iso deposit {name} 250000.00 --reference WIRE-1")
    if RoleName.SUPPLIER in role:
        steps.append(f"iso pool register POOL --supplier {name} --site SITE ...")
    output.next_steps(*steps, as_json=as_json)


@app.command("list")
def list_participants(
    context: typer.Context,
    role: Annotated[
        RoleName | None, typer.Option("--role", help="Only this role.", case_sensitive=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """List participants and their keys."""
    wanted = (
        participant_pb2.ROLE_UNSPECIFIED
        if role is None
        else participant_pb2.Role.Value(f"ROLE_{role.name}")
    )
    found = call(
        context,
        lambda client: client.participants(role=wanted),
        as_json=as_json,
        default=OPERATOR_ID,
    )
    rows = []
    for view in found:
        body = view.participant
        roles = [output.enum_text(participant_pb2.Role.DESCRIPTOR, item) for item in body.roles]
        rows.append(
            (body.participant_id, body.display_name, " ".join(roles), output.named(view, "state"))
        )
    output.answer(
        {"participants": [output.plain(view) for view in found]},
        output.table(("PARTICIPANT", "NAME", "ROLES", "STATE"), rows),
        as_json=as_json,
    )


@app.command("suspend")
def suspend(context: typer.Context, name: Name, reason: Reason, as_json: Json = False) -> None:
    """Refuse new orders of a participant; its contracts go on."""
    command = SuspendParticipant(header=BLANK_HEADER, participant_id=name, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, participant_id=name),
        accepted(f"Suspended {name}", receipt),
        as_json=as_json,
    )
    output.next_steps(
        f"iso participant cancel-orders {name} --reason ...",
        f"iso participant reinstate {name} --reason ...",
        as_json=as_json,
    )


@app.command("reinstate")
def reinstate(context: typer.Context, name: Name, reason: Reason, as_json: Json = False) -> None:
    """Lift a suspension."""
    command = ReinstateParticipant(header=BLANK_HEADER, participant_id=name, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, participant_id=name),
        accepted(f"Reinstated {name}", receipt),
        as_json=as_json,
    )


@app.command("cancel-orders")
def cancel_orders(
    context: typer.Context, name: Name, reason: Reason, as_json: Json = False
) -> None:
    """Cancel every open order of a participant, without seeing them."""
    command = CancelAllOrders(header=BLANK_HEADER, participant_id=name, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    count = getattr(receipt.response, "cancelled_order_count", 0)
    output.answer(
        receipt_document(receipt, participant_id=name, cancelled_order_count=count),
        accepted(f"Cancelled {count} orders of {name}", receipt),
        as_json=as_json,
    )


@app.command("revoke-key")
def revoke_key(
    context: typer.Context,
    name: Name,
    reason: Reason,
    key_id: Annotated[str, typer.Option("--key-id", help="Default: the key in force.")] = "",
    as_json: Json = False,
) -> None:
    """Accept nothing more that is signed with a key."""
    wanted = key_id or _registered_key(context, name, as_json=as_json)
    command = RevokeKey(header=BLANK_HEADER, participant_id=name, key_id=wanted, reason=reason)
    receipt = send(context, command, as_json=as_json, default=OPERATOR_ID)
    output.answer(
        receipt_document(receipt, participant_id=name, key_id=wanted),
        accepted(f"Revoked {wanted} of {name}", receipt),
        as_json=as_json,
    )


def make_identity(context: typer.Context, name: str) -> tuple[Path, bytes]:
    """Identity directory of a new participant or meter, and its public signing key.

    A key that is there already is kept, so that a repeated registration names the same one.

    Raises:
        BadValue: no local exchange in the data directory, or not an identifier.
    """
    from iso_exchange.identity.ca import DevelopmentAuthority
    from iso_exchange.identity.directory import signing_key, write_identity
    from iso_exchange.identity.names import is_identifier

    if not is_identifier(name):
        raise BadValue("NAME", "expected 1 to 64 of a-z, 0-9, dot, dash and underscore", got=name)
    settings = settings_of(context)
    authority_directory = settings.data / "ca"
    if not authority_directory.is_dir():
        raise BadValue(
            "--data",
            "expected the data directory of a local exchange: its development authority signs",
            got=str(settings.data),
        )
    address = load_exchange(identity_directory(settings, default=OPERATOR_ID))
    now = datetime.now(tz=UTC)
    authority = DevelopmentAuthority.load_or_create(
        authority_directory, origin=address.origin, now=now
    )
    directory = settings.data / "identities" / name
    key = signing_key(directory, secrets.token_bytes(32))
    write_identity(
        directory,
        ca_pem=authority.certificate_pem,
        issued=authority.issue(name, now=now),
        address=address,
    )
    return directory, key.public


def _registered_key(context: typer.Context, name: str, *, as_json: bool) -> str:
    from settlement.ledger.keys import key_id

    view = call(
        context,
        lambda client: client.participant(name),
        as_json=as_json,
        default=OPERATOR_ID,
    )
    return next(iter(view.key_ids), key_id(view.participant.public_key))
