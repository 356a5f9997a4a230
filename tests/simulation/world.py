"""One seed drives clients, clock, network and crashes of a whole exchange.

Clients send signed requests over a network that loses, delays, repeats and reorders them and
their answers; the process dies before or after any storage call and starts again on what is
stored; the clock moves and is set back. After the trading the gate closes and the day is cleared,
delivered and settled through the same crashes.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from structlog.testing import capture_logs

from clearing.types import Cover, ServiceClass
from clearing.units import MicroUsd
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.verify import verify
from iso_exchange.authority import authorise
from iso_exchange.clock import MICROSECONDS, SimulatedClock
from iso_exchange.commands import CancelAllOrders, CancelOrder, RecordDeposit, StepBidTerms
from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.sequencer import StoppedError, Submission
from settlement.storage.memory import MemoryStore
from settlement.storage.store import StoreError
from tests.integration import market_day
from tests.integration.bundles import write_bundle
from tests.integration.market_day import AUCTION, GATE, MORNING, MarketDay, header
from tests.simulation import virtual_loop
from tests.simulation.model import Bid, Cancel, CancelAll, Deposit, Intent, Model
from tests.simulation.test_market_day import BrokenStore
from tests.torture.forgery import INDEPENDENT
from tests.torture.load import LABS, sealed

SUPPLY = ("offer-a", "offer-b")
CALLS_TO_CRASH = 120
"""A process dies after about as many storage calls."""
STARTS_MAX = 60


@dataclass(slots=True)
class Request:
    """What a client sends until it is answered."""

    data: bytes
    intent: Intent
    answer: Receipt | Rejected | None = None


class JumpingClock(SimulatedClock):
    """A clock that is now and then set back, an hour at most."""

    back_us = 0

    def now_us(self) -> int:
        return super().now_us() - self.back_us


@dataclass(slots=True)
class World:
    """Everything but the exchange itself, which is thrown away at each crash."""

    seed: int
    directory: Path
    chance: random.Random = field(init=False)
    memory: MemoryStore = field(default_factory=MemoryStore)
    clock: JumpingClock = field(default_factory=lambda: JumpingClock(MORNING * MICROSECONDS))
    model: Model = field(default_factory=Model)
    requests: list[Request] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    told: int = 0
    """Entries of the log that the model was told of."""
    meant: dict[bytes, Intent] = field(default_factory=dict)
    day: MarketDay | None = None
    live: list[Bid] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Seed what is random."""
        self.chance = random.Random(f"world {self.seed}")

    async def alive(self, work: Callable[[MarketDay], object]) -> None:
        """Do something to the end, through as many lives of the process as it takes."""
        for _ in range(STARTS_MAX):
            store = BrokenStore(
                self.memory,
                self.chance.randrange(1, CALLS_TO_CRASH),
                after=bool(self.chance.randrange(2)),
            )
            self.day = MarketDay(directory=self.directory, store=store, clock=self.clock)
            try:
                async with self.day:
                    self.counts["starts"] += 1
                    await work(self.day)  # type: ignore[misc]
            except (StoreError, StoppedError):
                self.counts[f"crashes in {store.broken_call}"] += 1
                self.listen()
                continue
            self.listen()
            return
        message = "the exchange does not come to an end"
        raise AssertionError(message)

    async def trade(self, steps: int) -> None:
        """Open the market and let clients do as many things."""
        await self.alive(lambda day: day.open_market())
        done = 0

        async def some(day: MarketDay) -> None:
            nonlocal done
            async with asyncio.TaskGroup() as group:
                while done < steps:
                    done += 1
                    await self.step(day, group)
                    self.check(day)

        async def lives(day: MarketDay) -> None:
            try:
                await some(day)
            except* (AssertionError, StoreError, StoppedError) as group:
                raise group.exceptions[0] from None

        await self.alive(lives)
        await self.alive(self.answer_all)

    async def step(self, day: MarketDay, group: asyncio.TaskGroup) -> None:
        """One thing that somebody does, or that happens."""
        kind = self.chance.choices(
            ["send", "again", "wait", "publish", "clock"], [50, 20, 20, 5, 5]
        )[0]
        self.counts[f"steps: {kind}"] += 1
        if kind == "send":
            self.new_request()
            group.create_task(self.deliver(day, self.requests[-1]))
        elif kind == "again" and self.requests:
            # Also what was answered long ago.
            group.create_task(self.deliver(day, self.chance.choice(self.requests)))
        elif kind == "wait":
            await asyncio.sleep(self.chance.uniform(0, 0.02))
        elif kind == "publish":
            await day.publisher.publish()
        elif kind == "clock":
            self.clock.back_us = self.chance.choice([0, 0, 3_600]) * MICROSECONDS
            now = self.clock.now_us() + self.clock.back_us
            self.clock.advance(min(now + MICROSECONDS, GATE * MICROSECONDS - 1))

    def new_request(self) -> None:
        """Something a client wants; not always something it may have."""
        number = len(self.requests)
        lab = self.chance.choice(LABS)
        intent: Intent
        kind = self.chance.choices(
            ["deposit", "bid", "amend", "cancel", "all"], [20, 40, 20, 28, 2]
        )[0]
        if kind == "deposit":
            amount = self.chance.randrange(1, 10**8)
            intent = Deposit(lab, amount)
            command = RecordDeposit(
                header=header("operator", f"sim/{number}"),
                participant_id=lab,
                amount=MicroUsd(amount),
                bank_reference=f"sim-{number}",
            )
            self.ask("operator", command, intent)
        elif kind == "all" and number % 7 == 0:
            command_all = CancelAllOrders(
                header=header("operator", f"sim/{number}"), participant_id=lab, reason="simulated"
            )
            self.ask("operator", command_all, CancelAll(lab))
        elif kind == "cancel" and self.live:
            bid = self.chance.choice(self.live)
            who = bid.who if self.chance.random() < 0.9 else lab
            cancel = CancelOrder(header=header(who, f"sim/{number}"), order_id=bid.order)
            self.ask(who, cancel, Cancel(who, bid.order))
        else:
            old = self.chance.choice(self.live) if kind == "amend" and self.live else None
            self.bid(number, lab, old)

    def bid(self, number: int, lab: str, old: Bid | None) -> None:
        """A new bid, or the next revision of one; now and then far beyond what its lab has."""
        large = self.chance.random() < 0.1
        bid = Bid(
            old.who if old else lab,
            old.order if old else f"sim-{number}",
            old.revision + 1 if old else 1,
            1_000 * self.chance.randrange(1, 3_000),
            8 * (self.chance.randrange(1, 9) if not large else 10**5),
        )
        terms = StepBidTerms(
            conditions=market_day._conditions(ServiceClass.INTERRUPTIBLE, Cover.NONE),
            segments=(market_day._segment((bid.price, bid.chips)),),
        )
        _, order = market_day.order(bid.who, bid.order, terms, revision=bid.revision)
        self.live = [*[item for item in self.live if item.order != bid.order][-40:], bid]
        self.ask(bid.who, order, bid)

    def ask(self, signer: str, command: object, intent: Intent) -> None:
        """Remember a request and what its client means by it."""
        data = sealed(signer, command)  # type: ignore[arg-type]
        self.meant[data] = intent
        self.requests.append(Request(data, intent))

    async def deliver(self, day: MarketDay, request: Request) -> None:
        """Over the network: late, lost, or twice; the answer too."""
        await asyncio.sleep(self.chance.expovariate(200))
        for _ in range(self.chance.choices([0, 1, 2], [10, 80, 10])[0]):
            answer = await self.submit(day, request.data)
            if self.chance.random() < 0.9:
                self.take(request, answer)

    async def submit(self, day: MarketDay, data: bytes) -> Receipt | Rejected:
        """As the gateway does it."""
        authorised = authorise(day.sequencer.state, data)
        if isinstance(authorised, Rejected):
            return authorised
        return await day.sequencer.submit(
            Submission(
                command=authorised.command, envelope=data, body_sha256=authorised.body_sha256
            )
        )

    def take(self, request: Request, answer: Receipt | Rejected) -> None:
        """An answer arrives: a receipt never changes any more."""
        if isinstance(request.answer, Receipt):
            assert answer == request.answer, f"{request.intent} was answered differently"
            self.counts["receipts repeated"] += 1
        elif isinstance(answer, Rejected):
            self.counts[f"refused: {answer.code.value}"] += 1
        else:
            self.counts["receipts"] += 1
        request.answer = answer

    async def answer_all(self, day: MarketDay) -> None:
        """In the end the network works, and everybody sends again what has no receipt.

        Also what was refused: another try of the same may have been accepted, its answer lost.
        """
        for request in self.requests:
            if not isinstance(request.answer, Receipt):
                self.take(request, await self.submit(day, request.data))
        self.check(day)

    def listen(self) -> None:
        """Tell the model what the log holds."""
        for entry in self.memory._entries[self.told :]:
            intent = self.meant.get(entry.envelope)
            if intent is not None:
                self.model.accept(intent)
            elif entry.kind == "DEPOSIT":  # of the market's opening
                who = entry.owners[0]
                self.model.accept(Deposit(who, 100_000_000_000))
        self.told = len(self.memory._entries)

    def check(self, day: MarketDay) -> None:
        """The stored books are the model's, and every receipt is in the log."""
        self.listen()
        kept = {
            account: (item.posted, item.pending_debit, item.pending_credit)
            for (asset, account), item in self.memory._balances.items()
            if item.posted or item.pending_debit or item.pending_credit
        }
        assert kept == self.model.balances(AUCTION)
        self.counts["checks of every balance"] += 1

    def check_receipts(self) -> None:
        """Each accepted request stands once, where its receipt says; others do not stand."""
        places: dict[bytes, list[int]] = {}
        for entry in self.memory._entries:
            places.setdefault(entry.envelope, []).append(entry.index)
        for request in self.requests:
            if isinstance(request.answer, Receipt):
                assert places[request.data] == [request.answer.entry_index]
            else:
                assert request.data not in places, f"{request.intent} was refused and accepted"

    async def settle(self) -> None:
        """Supply, gate closure, clearing, delivery, statements: the script of the day."""
        self.clock.back_us = 0

        async def offers(day: MarketDay) -> None:
            for signer, command in market_day.orders():
                if getattr(command, "order_id", "") in SUPPLY:
                    await day.send(signer, command)

        for part in (
            offers,
            lambda day: day.clear(),
            lambda day: day.deliver(),
            lambda day: day.settle(),
        ):
            await self.alive(part)


async def live(world: World, steps: int) -> None:
    await world.trade(steps)
    world.check_receipts()
    await world.settle()
    assert world.day is not None
    world.day.store = world.memory  # nothing breaks any more
    await write_bundle(world.day, world.directory / "bundle", BundleKind.AUDITOR)


def run(seed: int, steps: int, directory: Path) -> World:
    """A whole world; its bundle is below the directory."""
    world = World(seed=seed, directory=directory)
    # Crashes here are the process's; no power is cut. What a crash prints is not read.
    with patch("os.fsync"), capture_logs():
        virtual_loop.run(live(world, steps))
    return world


def balances(directory: Path, vkey: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Every account at the end of a bundle, by the independent verifier."""
    bundle = INDEPENDENT.Bundle(directory)
    listing = bundle.listing()
    note = bundle.read("log/checkpoint")
    _, size, root = INDEPENDENT.read_checkpoint(note, vkey)
    walk = INDEPENDENT.Walk(bundle, listing)
    walk.run(bundle.leaves(size, root))
    keys = {*walk.accounts.posted, *walk.accounts.held}
    found = {key: (walk.accounts.posted[key], walk.accounts.held[key]) for key in keys}
    return {key: cells for key, cells in found.items() if any(cells)}


def check_end(world: World) -> None:
    """Both verifiers accept the bundle, and every balance is what the independent one adds up."""
    assert world.day is not None
    directory, vkey = world.directory / "bundle", world.day.vkey
    report = verify(directory, vkey)
    assert report.ok, [(step.name, step.place, step.detail) for step in report.failed]
    kept = {
        (item.account, item.asset): (item.posted, item.pending_debit)
        for item in world.day.sequencer.state.books.balances()
        if item.posted or item.pending_debit
    }
    assert balances(directory, vkey) == kept


def torture(rounds: int, seed: int) -> Counter[str]:
    """Worlds of a thousand steps, one for every fifty rounds.

    Raises:
        AssertionError: a world and its model differ.
    """
    counts: Counter[str] = Counter()
    for number in range(max(1, rounds // 50)):
        with tempfile.TemporaryDirectory() as name:
            try:
                world = run(seed * 1_000 + number, 1_000, Path(name))
                check_end(world)
            except AssertionError as error:
                error.add_note(f"world of seed {seed * 1_000 + number}")
                raise
            counts.update(world.counts)
            counts["worlds"] += 1
    return counts
