"""Who is calling, and what it may see.

The client certificate names the caller; the registry says what it may do. Public data needs
a certificate and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from iso_exchange.commands import Role
from iso_exchange.identity.names import participant_of
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.state import State
from iso_exchange.services.errors import refuse

Context = grpc.aio.ServicerContext[Any, Any]

NAMES_KEY = "x509_subject_alternative_name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a connection belongs to.

    Attributes:
        roles: As registered now; empty for a certificate whose participant is not registered yet.
    """

    participant_id: str
    roles: frozenset[Role]

    @property
    def is_auditor(self) -> bool:
        """Whether it may read what others own, once that is published."""
        return Role.AUDITOR in self.roles

    @property
    def is_operator(self) -> bool:
        """Whether it runs the exchange. Gives no view of open orders."""
        return Role.OPERATOR in self.roles

    def may_read(self, owners: Iterable[str]) -> bool:
        """Whether a settled or published thing of these owners is shown to it."""
        return self.is_auditor or self.participant_id in owners


def caller_of(state: State, context: Context) -> Caller:
    """Caller of a method.

    Raises:
        Refused: UNAUTHENTICATED: the certificate names no participant of this exchange, or every
            key of the participant is revoked.
    """
    names = [name.decode("utf-8", "replace") for name in context.auth_context().get(NAMES_KEY, ())]
    participant_id = participant_of(state.origin, names)
    if participant_id is None:
        raise refuse(
            Code.UNKNOWN_PARTICIPANT,
            "",
            "connect with a client certificate that this exchange issued to a participant",
            status=grpc.StatusCode.UNAUTHENTICATED,
        )
    structlog.contextvars.bind_contextvars(principal=participant_id)
    participant = state.participants.get(participant_id)
    if participant is None:
        return Caller(participant_id=participant_id, roles=frozenset())
    if not participant.keys:
        raise refuse(
            Code.KEY_REVOKED, "", "every key is revoked: register again under another identifier"
        )
    return Caller(participant_id=participant_id, roles=participant.roles)


def subject_of(caller: Caller, participant_id: str, *, operator: bool = False) -> str:
    """Participant whose books are asked for: the caller's own unless it may see others'.

    Args:
        participant_id: As requested; empty for the caller's own.
        operator: Whether the operator may see them too.

    Raises:
        Refused: PERMISSION_DENIED.
    """
    wanted = participant_id or caller.participant_id
    allowed = caller.is_auditor or (operator and caller.is_operator)
    if wanted != caller.participant_id and not allowed:
        raise refuse(
            Code.WRONG_ROLE,
            "participant_id",
            "leave it empty for your own; others' books are for auditors",
            got=",".join(sorted(role.value for role in caller.roles)),
            limit=Role.AUDITOR.value,
        )
    return wanted
