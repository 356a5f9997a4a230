"""Rotating the exchange's own keys: prepared beside the running exchange, done at its next start.

A rotation is two files in the secrets directory: the seed of the new key, and the signed
envelope that names it. The start submits the envelope and, once it is in the log, puts the
seed in the place of the old one. A crash between any two of these steps is made good by
the next start, because the log says which key is in force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace as changed
from enum import Enum
from pathlib import Path

import structlog

from clearing.units import UnixSeconds
from iso_exchange import convert
from iso_exchange.authority import Authorised, authorise
from iso_exchange.commands import Command, Header, RotateKey, RotateLogKey
from iso_exchange.durable import sync_directory
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.publisher.files import replace
from iso_exchange.secrets_file import (
    LOG_FILE,
    SERVICE_FILE,
    ExchangeSecrets,
    create_seed,
    read_seed,
)
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.sequencer import Sequencer, Submission
from iso_exchange.sequencer.state import State
from iso_exchange.signer import EXCHANGE_ID
from settlement.ledger import envelope
from settlement.ledger.keys import SigningKey

log = structlog.get_logger("rotation")


class RotationError(RuntimeError):
    """A prepared rotation is refused, or another one is prepared already."""


class Rotated(Enum):
    """Keys that the exchange itself holds; the value is the name of its seed file."""

    LOG = LOG_FILE
    SETTLEMENT = SERVICE_FILE

    def next_seed(self, directory: Path) -> Path:
        """Seed of the new key."""
        return directory / f"next-{self.value}"

    def envelope(self, directory: Path) -> Path:
        """Signed envelope that names it."""
        return directory / f"next-{self.value}.envelope"


def prepare(
    directory: Path,
    what: Rotated,
    *,
    origin: str,
    reason: str,
    now: UnixSeconds,
    root: SigningKey | None = None,
) -> SigningKey:
    """Make a new key and sign its introduction; nothing changes before the next start.

    Args:
        directory: Secrets of the exchange, which may run.
        root: Root key, which signs in the place of a log key that others may know.

    Returns:
        The new key.

    Raises:
        RotationError: one is prepared already, or the settlement key shall be replaced by
            the root key (``RotateKey`` of the operator does that).
    """
    if what.envelope(directory).exists():
        raise RotationError(
            f"{what.envelope(directory)} is there already: start the exchange to complete it"
        )
    if what is Rotated.SETTLEMENT and root is not None:
        raise RotationError(
            "the settlement key is replaced by root key and operator: `key replace`"
        )
    seed = what.next_seed(directory)
    if not seed.exists():
        create_seed(seed)
    new = SigningKey.from_seed(read_seed(seed))
    old = SigningKey.from_seed(read_seed(directory / what.value))
    service = SigningKey.from_seed(read_seed(directory / SERVICE_FILE))
    header = Header(
        origin=origin,
        signer_id=EXCHANGE_ID,
        request_id=f"rotate/{new.key_id}",
        create_time=now,
    )
    command: Command
    keys: Sequence[SigningKey]
    if what is Rotated.LOG:
        command = RotateLogKey(
            header=header, old_public_key=old.public, new_public_key=new.public, reason=reason
        )
        keys = (service, old if root is None else root, new)
    else:
        command = RotateKey(
            header=header,
            participant_id=EXCHANGE_ID,
            old_key_id=old.key_id,
            new_public_key=new.public,
            reason=reason,
        )
        keys = (old, new)
    payload_type = ENTRY_KINDS[type(command)].payload_type
    signed = envelope.sign(payload_type, convert.body_of(command), keys)
    replace(what.envelope(directory), signed)
    return new


def next_key(directory: Path, what: Rotated) -> SigningKey | None:
    """Key of a prepared rotation, None where none is prepared."""
    seed = what.next_seed(directory)
    return SigningKey.from_seed(read_seed(seed)) if seed.exists() else None


async def submit(directory: Path, sequencer: Sequencer) -> None:
    """Put prepared rotations into the log.

    Raises:
        RotationError: one is refused.
    """
    for what in Rotated:
        path = what.envelope(directory)
        if not path.exists():
            continue
        signed = path.read_bytes()
        answer = authorise(sequencer.state, signed)
        if isinstance(answer, Authorised):
            payload = envelope.decode(signed).payload
            receipt = await sequencer.submit(
                Submission(
                    command=answer.command,
                    envelope=signed,
                    body_sha256=hashlib.sha256(payload).digest(),
                )
            )
            if not isinstance(receipt, Rejected):
                log.info("key rotated", key=what.name, entry_index=receipt.entry_index)
                continue
            answer = receipt
        detail = f"{answer.code.value} {answer.field}: {answer.advice}"
        raise RotationError(
            f"{path} is refused: {detail}; remove it and {what.next_seed(directory)} to go on"
        )


def adopt(directory: Path, secrets: ExchangeSecrets, state: State) -> ExchangeSecrets:
    """Use the new keys that the log names, and destroy the old ones."""
    for what in Rotated:
        new = next_key(directory, what)
        if new is not None and _is_in_force(what, new, state):
            what.next_seed(directory).rename(directory / what.value)
            sync_directory(directory)
            secrets = (
                changed(secrets, log_key=new)
                if what is Rotated.LOG
                else changed(secrets, service_key=new)
            )
            log.info("new key in use", key=what.name, key_id=new.key_id)
        if next_key(directory, what) is None:
            what.envelope(directory).unlink(missing_ok=True)
    return secrets


def _is_in_force(what: Rotated, key: SigningKey, state: State) -> bool:
    if what is Rotated.LOG:
        return bool(state.log_keys) and state.log_keys[-1] == key.public
    services = state.participants.get(EXCHANGE_ID)
    return services is not None and key.key_id in services.keys
