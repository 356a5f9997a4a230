"""Where the openings of a bundle end, and whether an auction explains that they do.

Orders are sealed until the prices of their auction are published, so a bundle made before
opens nothing from the first of them on. A bundle could say so of any entry; the log's public
entries tell whether it may.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from iso_exchange.audit.bundle import BUNDLE_NAME, NOT_SEALED, BundleKind
from iso_exchange.audit.report import Record, Step
from iso_exchange.commands import (
    CloseRun,
    CloseSpotMarket,
    Command,
    CreateAuction,
    OpenSpotMarket,
    PublishPrices,
)
from iso_exchange.credit_commands import (
    CloseCreditRound,
    CloseCredits,
    DiscloseCreditRound,
    OpenCredits,
)
from iso_exchange.disclosure import credits_name

NAMES_SHOWN_MAX: Final = 3

SEALED_STEPS: Final = (
    Step.SIGNATURES,
    Step.COMMITMENTS,
    Step.DOCUMENTS,
    Step.REPLAY,
    Step.BOOKS,
    Step.CERTIFICATES,
    Step.RESULTS,
    Step.CONTRACTS,
    Step.HOURS,
    Step.BALANCES,
    Step.STATEMENTS,
    Step.COMMUNITIES,
)
"""Steps that cannot be completed where something is sealed."""


@dataclass(slots=True, kw_only=True)
class Seal:
    """The first sealed entry of a bundle, held against the public entries of its log.

    Attributes:
        first: Its index as the bundle says, ``NOT_SEALED`` for none.
        reached: Whether the walk is at or beyond it.
    """

    record: Record
    kind: BundleKind
    first: int
    reached: bool = False
    # Auctions with a public specification before the seal, and those with public prices.
    _before: list[str] = field(default_factory=list)
    _published: set[str] = field(default_factory=set)
    # Gates of runs without prices yet, and up to where the orders of each market are open.
    _gates: dict[str, int] = field(default_factory=dict)
    _opened: dict[str, int] = field(default_factory=dict)

    def enter(self, index: int, *, is_commitment: bool) -> None:
        """The walk comes to an entry (no batch header)."""
        if index != self.first or self.kind is BundleKind.PUBLIC:
            return
        self.reached = True
        if not is_commitment:
            self._fail(f"entry {index} is public, nothing of it can be sealed")

    def see(self, command: Command, index: int) -> None:
        """A readable entry, sealed or not.

        Args:
            command: What it says.
            index: Its place in the log.
        """
        if isinstance(command, CloseRun):
            self._gates[f"{command.market_id}/{command.start}"] = index
        elif isinstance(command, CloseSpotMarket):
            self._opened[command.market_id] = index
        elif isinstance(command, OpenSpotMarket) and not self.reached:
            self._opened[command.market_id] = NOT_SEALED
        elif isinstance(command, PublishPrices) and command.auction_id in self._gates:
            # Orders of a market before the gate of a published run are open.
            market_id = command.auction_id.rpartition("/")[0]
            gate = self._gates.pop(command.auction_id)
            self._opened[market_id] = max(self._opened.get(market_id, NOT_SEALED), gate)
        elif isinstance(command, OpenCredits) and not self.reached:
            self._opened[credits_name(command.book_id)] = NOT_SEALED
        elif isinstance(command, CloseCredits):
            self._opened[credits_name(command.book_id)] = index
        elif isinstance(command, CloseCreditRound):
            self._gates[f"{credits_name(command.book_id)}/{command.start}"] = index
        elif isinstance(command, DiscloseCreditRound):
            name = credits_name(command.book_id)
            gate = self._gates.pop(f"{name}/{command.start}", NOT_SEALED)
            self._opened[name] = max(self._opened.get(name, NOT_SEALED), gate)
        if isinstance(command, CreateAuction) and not self.reached:
            self._before.append(command.auction_id)
        elif isinstance(command, PublishPrices):
            self._published.add(command.auction_id)

    def finish(self, entries: int) -> None:
        """End of the log: is there an auction that may have sealed entries?

        Args:
            entries: Leaves that were read.
        """
        if self.first == NOT_SEALED:
            return
        if self.kind is BundleKind.PUBLIC:
            self._fail("a public bundle opens nothing, so it seals nothing")
            return
        if not self.reached:
            self._fail(f"entry {self.first} is no entry of the {entries} in the log")
            return
        waiting = [name for name in self._before if name not in self._published]
        waiting.extend(name for name, gate in self._opened.items() if gate < self.first)
        if not waiting:
            detail = f"every auction before entry {self.first} has published prices"
            self._fail(f"{detail}: its orders must be opened")
            return
        names = ", ".join(waiting[:NAMES_SHOWN_MAX])
        more = len(waiting) - NAMES_SHOWN_MAX
        whose = f"{names} and {more} more" if more > 0 else names
        for step in SEALED_STEPS:
            self.record.skip(
                step, f"entries from {self.first} on are sealed until publication ({whose})"
            )

    def _fail(self, detail: str) -> None:
        self.record.fail(Step.COMMITMENTS, BUNDLE_NAME, f"sealed_from {self.first}: {detail}")
