"""Spot results on their way into the log: from files, or from whoever cleared them.

A file holds one ``SpotResult`` as canonical JSON. What was published once, or can no longer be
(its hour is settled), is left alone; what contradicts the positions is told once and skipped,
so that one bad file never holds up the settler.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from clearing import codec
from iso_exchange.money_commands import PublishSpot
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.sequencer import Sequencer
from iso_exchange.sequencer.state import State
from iso_exchange.signer import ServiceSigner, make_document
from settlement.errors import SettlementError
from settlement.postings.spot_holds import spot_postings
from settlement.spot.result import SpotResult, check_result
from settlement.storage.store import Document

log = structlog.get_logger("spot")


async def publish_spot(
    sequencer: Sequencer, signer: ServiceSigner, result: SpotResult
) -> Rejected | None:
    """Sign and submit one spot result with its holds.

    Returns:
        Why it was refused, or None when it is in the log.

    Raises:
        SettlementError: ``SPOT_MOVE_INVALID``.
        KeyError: no such auction, or it has no contracts yet.
    """
    command, documents = spot_step(sequencer.state, signer, result)
    answer = await sequencer.submit(signer.submission(command, *documents))
    return answer if isinstance(answer, Rejected) else None


def spot_step(
    state: State, signer: ServiceSigner, result: SpotResult
) -> tuple[PublishSpot, tuple[Document, ...]]:
    """The command that publishes a spot result, with its documents.

    Raises:
        SettlementError: ``SPOT_MOVE_INVALID``.
        KeyError: no such auction, or it has no contracts yet.
    """
    auction = state.auctions[result.auction_id]
    if auction.assignment is None:
        raise KeyError(result.auction_id)
    check_result(result, auction.assignment.contracts)
    documents = (
        make_document("SPOT", codec.encode(result)),
        make_document("POSTINGS", codec.encode(spot_postings(auction.assignment, result))),
    )
    digests = [document.sha256.hex() for document in documents]
    command = PublishSpot(
        header=signer.header(f"spot/{result.auction_id}/{result.interval.start}/{digests[0]}"),
        auction_id=result.auction_id,
        interval=result.interval,
        spot_sha256=digests[0],
        postings_sha256=digests[1],
    )
    return command, documents


class SpotFiles:
    """A directory of spot results, each published once."""

    def __init__(self, directory: Path) -> None:
        """Keep the directory, which need not exist."""
        self._directory = directory
        self._seen: set[Path] = set()

    async def step(self, sequencer: Sequencer, signer: ServiceSigner) -> bool:
        """Publish every file that was not looked at yet; True when anything was published."""
        if not self._directory.is_dir():
            return False
        done = False
        for path in sorted(self._directory.glob("*.json")):
            if path in self._seen:
                continue
            self._seen.add(path)
            try:
                result = codec.decode(path.read_bytes(), SpotResult)
                refused = await publish_spot(sequencer, signer, result)
            except (ValueError, KeyError, StopIteration, SettlementError, OSError) as error:
                log.warning("spot result skipped", file=path.name, error=str(error))
                continue
            if refused is not None:
                log.warning(
                    "spot result refused",
                    file=path.name,
                    code=refused.code.value,
                    advice=refused.advice,
                )
                continue
            done = True
        return done
