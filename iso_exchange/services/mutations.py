"""From a signed request to its receipt: the path of every mutation.

Whatever is refused here was not stored, and is refused the same way on retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import grpc

from iso_exchange.api.v1 import receipt_pb2
from iso_exchange.authority import Authorised, Claim, claim_of, judge
from iso_exchange.commands import Command, CreateAuction
from iso_exchange.convert import views
from iso_exchange.gateway.signatures import SignatureWorker
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.refusals import Code, Rejected
from iso_exchange.sequencer.sequencer import QUEUE_COUNT_MAX, Sequencer, Submission
from iso_exchange.services.access import Caller
from iso_exchange.services.errors import Refused, log_refusal, refuse

ITEM_COUNT_MAX: Final = 100

NOT_LOGGED: Final = frozenset({Code.REQUEST_CONFLICT, Code.UNAVAILABLE})
"""Answers that the sequencer gives without applying, and so without logging, anything."""

_NO_REQUEST_ID: Final = Rejected(
    code=Code.REQUEST_ID_REQUIRED,
    field="request_id",
    advice="choose an identifier of 1 to 128 characters, new for each request",
)

C = TypeVar("C")


class SignedRequest(Protocol):
    """Any request that carries one envelope."""

    @property
    def request_id(self) -> str:
        """Idempotency key."""
        ...

    @property
    def envelope(self) -> bytes:
        """Exact bytes of one DSSE envelope."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutations:
    """Checks signed requests and hands them to the sequencer."""

    sequencer: Sequencer
    secrets: ExchangeSecrets
    signatures: SignatureWorker

    async def one(
        self, caller: Caller, request: SignedRequest, kind: type[C]
    ) -> tuple[C, receipt_pb2.Receipt]:
        """Accept one signed request.

        Args:
            kind: Command that the method takes.

        Raises:
            Refused: with the first reason, by the order of ``Code``.
        """
        (checked,) = await self._checked(caller, (request,), (kind,))
        if isinstance(checked, Refused):
            raise checked
        answer = await self.sequencer.submit(checked)
        if isinstance(answer, Rejected):
            raise Refused(answer, logged=answer.code not in NOT_LOGGED)
        command = checked.command
        assert isinstance(command, kind)
        return command, receipt_message(answer)

    async def many(
        self,
        caller: Caller,
        items: Sequence[SignedRequest],
        kinds: tuple[type[Command], ...],
    ) -> list[receipt_pb2.ItemResult]:
        """Judge items one by one, in order; a refused one does not hold up the others.

        Raises:
            Refused: INVALID_ARGUMENT: no item, or more than 100.
        """
        if not 1 <= len(items) <= ITEM_COUNT_MAX:
            raise refuse(
                Code.INVALID_VALUE,
                "items",
                f"send 1 to {ITEM_COUNT_MAX} items",
                got=str(len(items)),
                limit=f"1 to {ITEM_COUNT_MAX}",
            )
        checked = await self._checked(caller, items, kinds)
        submissions = [item for item in checked if isinstance(item, Submission)]
        answers = iter(await self.sequencer.submit_all(submissions))
        results = []
        for item, outcome in zip(items, checked, strict=True):
            result = receipt_pb2.ItemResult(request_id=item.request_id)
            if isinstance(outcome, Refused):
                log_refusal(outcome.rejected, request_id=item.request_id)
                result.refusal.CopyFrom(views.refusal_view(outcome.rejected))
            else:
                answer = next(answers)
                if isinstance(answer, Rejected):
                    if answer.code in NOT_LOGGED:
                        log_refusal(answer, request_id=item.request_id)
                    result.refusal.CopyFrom(views.refusal_view(answer))
                else:
                    result.receipt.CopyFrom(receipt_message(answer))
            results.append(result)
        return results

    async def _checked(
        self, caller: Caller, requests: Sequence[SignedRequest], kinds: tuple[type, ...]
    ) -> list[Submission | Refused]:
        """Judge requests: form, signer and keys here, the signatures all at once."""
        self._refuse_overload(len(requests))
        state = self.sequencer.state
        claims = [
            claim_of(state, request.envelope) if request.request_id else _NO_REQUEST_ID
            for request in requests
        ]
        checks = [check for claim in claims if isinstance(claim, Claim) for check in claim.checks]
        found = await self.signatures.check(checks)
        results: list[Submission | Refused] = []
        place = 0
        for request, claim in zip(requests, claims, strict=True):
            if isinstance(claim, Rejected):
                results.append(Refused(claim))
                continue
            held = found[place : place + len(claim.checks)]
            place += len(claim.checks)
            results.append(self._judged(caller, request, judge(claim, held), kinds))
        return results

    def _judged(
        self,
        caller: Caller,
        request: SignedRequest,
        authorised: Authorised | Rejected,
        kinds: tuple[type, ...],
    ) -> Submission | Refused:
        if isinstance(authorised, Rejected):
            return Refused(authorised)
        refused = (
            _refuse_kind(authorised, kinds)
            or _refuse_identity(caller, request, authorised)
            or self._refuse_seed(authorised.command)
        )
        return refused or Submission(
            command=authorised.command,
            envelope=request.envelope,
            body_sha256=authorised.body_sha256,
        )

    def _refuse_overload(self, count: int) -> None:
        """At the door, before anything was spent on the call.

        Raises:
            Refused: RESOURCE_EXHAUSTED with a delay: more waits than is answered in seconds.
        """
        waiting = self.sequencer.waiting + self.signatures.checking
        if waiting + count > QUEUE_COUNT_MAX:
            raise refuse(
                Code.OVERLOADED,
                "",
                "the exchange is busy: repeat the same request with the same id after the delay",
                got=f"{waiting} waiting",
                limit=str(QUEUE_COUNT_MAX),
            )

    def _refuse_seed(self, command: Command) -> Refused | None:
        """A commitment to a seed that is not ours could not be revealed after clearing."""
        if not isinstance(command, CreateAuction):
            return None
        commitment = self.secrets.seed_commitment(command.auction_id)
        if command.seed_commitment == commitment:
            return None
        return refuse(
            Code.INVALID_VALUE,
            "seed_commitment",
            "use the commitment that GetSeedCommitment answers for this auction_id",
            got=command.seed_commitment,
            limit=commitment,
        )


def receipt_message(receipt: Receipt) -> receipt_pb2.Receipt:
    """Receipt on the wire, made of the stored one alone: a replay answers the same bytes."""
    return views.receipt_view(receipt, receipt.entry_index + 1)


def _refuse_kind(authorised: Authorised, kinds: tuple[type, ...]) -> Refused | None:
    if isinstance(authorised.command, kinds):
        return None
    wanted = " or ".join(ENTRY_KINDS[kind].payload_type for kind in kinds)
    return refuse(
        Code.MALFORMED_ENVELOPE,
        "envelope.payloadType",
        "send this envelope with the method of its payload type",
        got=ENTRY_KINDS[type(authorised.command)].payload_type,
        limit=wanted,
    )


def _refuse_identity(
    caller: Caller, request: SignedRequest, authorised: Authorised
) -> Refused | None:
    header = authorised.command.header
    if request.request_id != header.request_id:
        return refuse(
            Code.HEADER_MISMATCH,
            "request_id",
            "repeat the request_id of the signed header",
            got=request.request_id,
            limit=header.request_id,
        )
    if header.signer_id != caller.participant_id:
        return refuse(
            Code.HEADER_MISMATCH,
            "header.signer_id",
            "connect with the certificate of the participant that signs",
            got=header.signer_id,
            limit=caller.participant_id,
            status=grpc.StatusCode.PERMISSION_DENIED,
        )
    return None
