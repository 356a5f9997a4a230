"""Where everything that a bill rests on stands in the log: prices, awards, readings, postings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange.commands import (
    Command,
    IssueStatement,
    NotifyAward,
    PublishPrices,
    PublishResult,
    SubmitReadings,
)
from iso_exchange.money_commands import DecideDispute, DisputeHour, PublishSpot
from settlement.spot.result import SpotResult
from settlement.types import MeterBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBatch:
    """A meter batch with its entry."""

    entry_index: int
    batch: MeterBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSpot:
    """A spot result with its entry."""

    entry_index: int
    result: SpotResult


@dataclass(slots=True, kw_only=True)
class Trace:
    """Entries by what they are about.

    Attributes:
        leaves: Leaf hash by entry.
        results: Entry of an auction's result.
        prices: Entry of its published prices.
        awards: Entry of a participant's award notice, by auction and participant.
        batches: All batches of a pool's metering interval, in order: the last one holds.
        spot: Spot results of an auction.
        statements: Entry by statement.
        disputes: Entries of a contract's disputes and their decisions.
    """

    leaves: dict[int, bytes] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=dict)
    awards: dict[tuple[str, str], int] = field(default_factory=dict)
    batches: dict[tuple[str, UnixSeconds], list[ReadBatch]] = field(
        default_factory=lambda: defaultdict(list)
    )
    spot: dict[str, list[PublishedSpot]] = field(default_factory=lambda: defaultdict(list))
    statements: dict[str, int] = field(default_factory=dict)
    disputes: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _disputed: dict[str, str] = field(default_factory=dict)

    def keep(
        self, index: int, leaf_hash: bytes, command: Command, documents: Mapping[str, bytes]
    ) -> None:
        """Note an accepted entry."""
        self.leaves[index] = leaf_hash
        match command:
            case PublishResult():
                self.results[command.auction_id] = index
            case PublishPrices():
                self.prices[command.auction_id] = index
            case NotifyAward():
                self.awards[command.auction_id, command.participant_id] = index
            case SubmitReadings():
                key = (command.batch.pool_id, command.batch.interval.start)
                self.batches[key].append(ReadBatch(entry_index=index, batch=command.batch))
            case PublishSpot():
                result = codec.decode(documents[command.spot_sha256], SpotResult)
                self.spot[command.auction_id].append(
                    PublishedSpot(entry_index=index, result=result)
                )
            case IssueStatement():
                self.statements[command.statement_id] = index
            case DisputeHour():
                self._disputed[command.dispute_id] = command.contract_id
                self.disputes[command.contract_id].append(index)
            case DecideDispute():
                self.disputes[self._disputed[command.dispute_id]].append(index)
            case _:
                return
