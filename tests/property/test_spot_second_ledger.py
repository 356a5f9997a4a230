"""``docs/verify_ledger.py`` keeps the accounts of random spot markets as the state machine does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from iso_exchange import commands as c
from iso_exchange.convert.bodies import payload_of
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.effects import Accepted
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.state import AuctionState
from tests.integration.bundles import vkey_of
from tests.integration.market_day import key_of
from tests.property.test_spot_runs import RUNS, Market, made, settle, trade
from tests.torture.forgery import INDEPENDENT
from tests.unit.sequencer.spot_world import SPOT, STEP, close, market_of, publish
from tests.unit.sequencer.world import FIRST, ORIGIN, World

SEEDS = 5


class Documents:
    """What a bundle is to the walk: documents by digest."""

    def __init__(self) -> None:
        self.place = ""
        self.bodies: dict[str, bytes] = {}

    def read(self, _: str) -> bytes:
        return b""

    def document(self, digest: str) -> bytes:
        return self.bodies[digest]


class Twin:
    """The second verifier's walk beside a world: it sees each accepted command as logged."""

    def __init__(self) -> None:
        self.documents, self.seed = Documents(), ""
        listing = {"origin": ORIGIN, "vkey": vkey_of(key_of("log")), "kind": "auditor"}
        self.walk = INDEPENDENT.Walk(
            self.documents, {**listing, "sealed_from": -1, "size": 1 << 30}
        )

    def see(self, world: World, command: c.Command, documents: Mapping[bytes, bytes]) -> None:
        _, payload = payload_of(command)
        self.documents.bodies |= {digest.hex(): body for digest, body in documents.items()}
        is_json = payload[:1] == b"{"
        body: Any = json.loads(payload) if is_json else INDEPENDENT.protobuf(payload)
        if isinstance(command, c.OpenSpotMarket):
            self.walk.seeds.pop(SPOT, None)  # the world opens it again, with more pools
        if isinstance(command, c.PublishResult):
            book = self.documents.bodies[command.book_sha256]
            self.seed = json.loads(self.documents.bodies[command.outcome_sha256])["seed"]
            opening = b"iso-exchange/commitment/v1\n" + bytes.fromhex(command.book_salt) + book
            self.walk.commitments[command.auction_id] = hashlib.sha256(opening).hexdigest()
        if isinstance(command, c.PublishPrices):
            self.documents.bodies[command.prices_sha256] = INDEPENDENT.canonical(
                {"tie_seed": self.seed}
            )
        index = world.index - 1
        self.walk.time_us = world.now * 1_000_000
        handler = getattr(self.walk, f"on_{ENTRY_KINDS[type(command)].name.lower()}", None)
        if handler is not None:
            handler(body, index, hashlib.sha256(str(index).encode()).digest())

    def check(self, world: World) -> None:
        books, walk = world.state.books, self.walk
        assert {*walk.accounts.open} == {hold.transfer_id for hold in books.open_holds()}
        standing = {*market_of(world).order_ids}
        assert {name for name, order in walk.orders.items() if order[0] == SPOT} == standing
        kept = {
            (item.account, item.asset): (item.posted, item.pending_debit)
            for item in books.balances()
            if item.posted or item.pending_debit
        }
        keys = {*walk.accounts.posted, *walk.accounts.held}
        found = {key: (walk.accounts.posted[key], walk.accounts.held[key]) for key in keys}
        assert {key: cells for key, cells in found.items() if any(cells)} == kept


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_market_in_both_ledgers(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    twin, apply = Twin(), World.apply

    def watched(
        world: World,
        command: c.Command,
        documents: Mapping[bytes, bytes] | None = None,
        values: Mapping[bytes, object] | None = None,
    ) -> Accepted | Rejected:
        answer = apply(world, command, documents, values)
        if isinstance(answer, Accepted):
            twin.see(world, command, documents or {})
        return answer

    monkeypatch.setattr(World, "apply", watched)
    market: Market = made(seed)
    world = market.world
    runs = []
    for place in range(RUNS):
        world.now = FIRST + place * STEP - 100
        trade(market, place)
        run = close(world, FIRST + place * STEP)
        twin.check(world)
        publish(world, run)
        runs.append(run)
    for run in runs:
        if run.state is AuctionState.PUBLISHED:
            settle(market, run)
    twin.check(world)
    world.must(
        c.CloseSpotMarket(header=world.header("operator"), market_id=SPOT, reason="the test")
    )
    twin.check(world)
    assert twin.walk.counts["book roots"] == RUNS
    assert twin.walk.counts["transfers"] == len(world.moved)
