"""First start: the operator registers itself, then the exchange's services, then the chip table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import structlog

from clearing.units import UnixSeconds
from iso_exchange import convert
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import Command, Header, PublishChipTable, RegisterParticipant, Role
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.reference import read_default, read_default_bytes
from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.sequencer import Sequencer, Submission
from iso_exchange.signer import EXCHANGE_ID
from settlement.ledger import envelope
from settlement.ledger.keys import SigningKey

OPERATOR_ID = "operator"

log = structlog.get_logger("bootstrap")


class BootstrapError(RuntimeError):
    """The log refuses what every exchange begins with."""


async def bootstrap(
    *,
    sequencer: Sequencer,
    operator_key: Callable[[], SigningKey],
    service_key: SigningKey,
    origin: str,
    clock: Clock,
) -> None:
    """Do what is missing; a log that has everything is left alone.

    Args:
        operator_key: Reads (or makes) the operator's key; only called when something is missing.

    Raises:
        BootstrapError: a step is refused, for instance because the operator's key is another one.
    """
    state = sequencer.state

    def header(request_id: str) -> Header:
        return Header(
            origin=origin,
            signer_id=OPERATOR_ID,
            request_id=f"bootstrap/{request_id}",
            create_time=UnixSeconds(clock.now_us() // MICROSECONDS),
        )

    steps: list[Command] = []
    if not state.participants:
        steps.append(
            RegisterParticipant(
                header=header(OPERATOR_ID),
                participant_id=OPERATOR_ID,
                display_name="Operator",
                roles=(Role.OPERATOR,),
                public_key=operator_key().public,
            )
        )
    if EXCHANGE_ID not in state.participants:
        steps.append(
            RegisterParticipant(
                header=header(EXCHANGE_ID),
                participant_id=EXCHANGE_ID,
                display_name="Exchange services",
                roles=(Role.EXCHANGE,),
                public_key=service_key.public,
            )
        )
    if not state.chip_tables:
        steps.append(
            PublishChipTable(
                header=header("chip-table"),
                version=read_default().version,
                document=read_default_bytes(),
            )
        )
    for command in steps:
        answer = await sequencer.submit(_signed(command, operator_key()))
        if not isinstance(answer, Receipt):
            message = f"{type(command).__name__} is refused: {answer.code.value}: {answer.advice}"
            raise BootstrapError(message)
        log.info("bootstrapped", step=command.header.request_id, entry_index=answer.entry_index)


def _signed(command: Command, key: SigningKey) -> Submission:
    payload = convert.body_of(command)
    return Submission(
        command=command,
        envelope=envelope.sign(ENTRY_KINDS[type(command)].payload_type, payload, [key]),
        body_sha256=hashlib.sha256(payload).digest(),
    )
