"""The credits auctioneer: closes the gates of rounds, clears them, and takes expired credits back.

Like the others it keeps nothing of its own: rounds that are due and grants that expired follow
from the state.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from clearing import codec
from clearing.auction import clear
from clearing.errors import BookError, GapError, RefusedResultError, SolverError
from clearing.types import Book
from clearing.units import Ppm, UnixSeconds
from iso_exchange.auctioneer.work import Failed
from iso_exchange.clock import MICROSECONDS, Clock
from iso_exchange.commands import Command
from iso_exchange.credit_commands import (
    CloseCreditRound,
    DiscloseCreditRound,
    ExpireCredits,
    PublishCreditRound,
)
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.credit_rounds import expiry_postings, freeze_round, round_seed
from iso_exchange.sequencer.credit_state import CreditBook, CreditRound, RoundState
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.signer import IDLE_SECONDS, ServiceSigner, make_document
from settlement.contracts import assign
from settlement.credits import round_postings
from settlement.errors import SettlementError
from settlement.storage.store import Document

log = structlog.get_logger("credits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Encoded documents of a round that the verifier accepted."""

    book: bytes
    outcome: bytes
    assignment: bytes
    postings: bytes


def give(
    book: Book, seed: bytes, organisation: str, derates: dict[str, Ppm], precisions: dict[str, str]
) -> Given | Failed:
    """Clear a round, pure: who gets which chips and what it costs."""
    try:
        outcome = clear(book, seed)
        assignment = assign(
            book, outcome, derates=derates, precisions=precisions, nomination_suppliers={}
        )
        postings = round_postings(assignment, organisation)
    except (BookError, SolverError, RefusedResultError, GapError, SettlementError) as error:
        return Failed(reason=str(error))
    return Given(
        book=codec.encode(book),
        outcome=codec.encode(outcome),
        assignment=codec.encode(assignment),
        postings=codec.encode(postings),
    )


class CreditAuctioneer:
    """Moves rounds of credits books along."""

    def __init__(
        self, *, sequencer: Sequencer, secrets: ExchangeSecrets, clock: Clock, origin: str
    ) -> None:
        """Wire the parts."""
        self._sequencer = sequencer
        self._clock = clock
        self._signer = ServiceSigner(key=secrets.service_key, origin=origin, clock=clock)

    async def run(self) -> None:
        """Step for ever."""
        while True:
            if not await self.step():
                await self._clock.wait(IDLE_SECONDS)

    async def step(self) -> bool:
        """Do the next step of every book and team; True when anything was done."""
        done = False
        state = self._sequencer.state
        for book in list(state.credit_books.values()):
            for decided in list(book.rounds.values()):
                if decided.state is RoundState.CLOSED:
                    await self._decide(book, decided)
                    done = True
                elif decided.state is RoundState.CLEARED:
                    await self._disclose(book, decided, "")
                    done = True
            done = await self._close_gate(book) or done
        for organisation, team_id in sorted(state.credit_teams):
            done = await self._expire(organisation, team_id) or done
        return done

    async def _close_gate(self, book: CreditBook) -> bool:
        now = UnixSeconds(self._clock.now_us() // MICROSECONDS)
        start = book.next_start(now)
        if start is None or now < book.gate(start):
            return False
        frozen = freeze_round(self._sequencer.state, book, start, now)
        count, root = frozen.count_and_root()
        name = book.opened.book_id
        await self._submit(
            CloseCreditRound(
                header=self._signer.header(f"credit-gate/{name}/{start}/{count}/{root[:16]}"),
                book_id=name,
                start=UnixSeconds(start),
                bid_count=count,
                book_root=root,
            )
        )
        return True

    async def _decide(self, book: CreditBook, decided: CreditRound) -> None:
        state = self._sequencer.state
        pools = state.pools.values()
        # Rounds are small: a thread keeps the event loop free, a process would cost more.
        result = await asyncio.to_thread(
            give,
            decided.book,
            round_seed(book.round_id(decided.start), decided.book_root),
            book.organisation,
            {item.pool.pool_id: item.derate_ppm for item in pools},
            {item.pool.chip_class: item.precision for item in pools},
        )
        if isinstance(result, Failed):
            log.error("round failed", round=book.round_id(decided.start), reason=result.reason)
            await self._disclose(book, decided, result.reason)
            return
        documents = tuple(
            make_document(kind, body, owners=(book.organisation,))
            for kind, body in (
                ("BOOK", result.book),
                ("OUTCOME", result.outcome),
                ("ASSIGNMENT", result.assignment),
                ("POSTINGS", result.postings),
            )
        )
        digests = [item.sha256.hex() for item in documents]
        name, start = book.opened.book_id, UnixSeconds(decided.start)
        await self._submit(
            PublishCreditRound(
                header=self._signer.header(f"credit-result/{name}/{start}"),
                book_id=name,
                start=start,
                book_sha256=digests[0],
                outcome_sha256=digests[1],
                assignment_sha256=digests[2],
                postings_sha256=digests[3],
            ),
            *documents,
        )
        await self._disclose(book, decided, "")

    async def _disclose(self, book: CreditBook, decided: CreditRound, failed: str) -> None:
        name, start = book.opened.book_id, UnixSeconds(decided.start)
        await self._submit(
            DiscloseCreditRound(
                header=self._signer.header(f"credit-round/{name}/{start}"),
                book_id=name,
                start=start,
                failed=failed,
            )
        )

    async def _expire(self, organisation: str, team_id: str) -> bool:
        now = UnixSeconds(self._clock.now_us() // MICROSECONDS)
        postings = expiry_postings(self._sequencer.state, organisation, team_id, now)
        if postings is None:
            return False
        document = make_document("POSTINGS", codec.encode(postings))
        digest = document.sha256.hex()
        await self._submit(
            ExpireCredits(
                header=self._signer.header(f"{postings.postings_id}/{digest[:16]}"),
                organisation=organisation,
                team_id=team_id,
                postings_sha256=digest,
            ),
            document,
        )
        return True

    async def _submit(self, command: Command, *documents: Document) -> None:
        await self._signer.submit(self._sequencer, command, *documents)
