"""A whole small market day in one process, without gRPC, for tests of everything behind it.

Memory store (or any other), sequencer, simulated clock, auctioneer, settler, publisher. What
participants send goes through signed envelopes and ``authority.authorise``, exactly as the
gateway does it. The day is a script of steps with fixed request ids: running it again on
the same store and clock repeats nothing and continues where the log ends.

    async with MarketDay(directory=tmp_path) as day:
        await day.run()                       # or open_market, trade, clear, deliver, settle
        day.sequencer.state, day.store, day.log_directory, day.vkey

Two suppliers with a pool each at a site of their own, three labs, an entitlement for base
load, step bids, gangs, an amended, a cancelled and a rejected order, two hourly
intervals, one meter gap (pool-b, second hour) and one shortfall (pool-a, first hour).
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from clearing import codec
from clearing.types import (
    Conversion,
    Cover,
    Eligibility,
    Interval,
    PricingRule,
    ServiceClass,
    Step,
    Tariff,
)
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    UnixSeconds,
    Watts,
)
from iso_exchange import convert
from iso_exchange.auctioneer.auctioneer import Auctioneer
from iso_exchange.authority import authorise
from iso_exchange.clock import MICROSECONDS, SimulatedClock
from iso_exchange.commands import (
    BidConditions,
    BlockBidTerms,
    CancelOrder,
    Command,
    CreateAuction,
    Header,
    Nominate,
    OfferTerms,
    OrderTerms,
    PublishChipTable,
    RecordDeposit,
    RegisterEntitlement,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    RegisterSite,
    Role,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    TimedSegment,
)
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.reference import read_default, read_default_bytes
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.leaves import Receipt
from iso_exchange.sequencer.refusals import Rejected
from iso_exchange.sequencer.sequencer import Sequencer, Submission
from iso_exchange.settler.settler import Settler
from iso_exchange.signer import EXCHANGE_ID
from settlement.ledger import envelope
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey
from settlement.storage.memory import MemoryStore
from settlement.storage.store import LedgerStore
from settlement.types import MeterBatch, Reading

ORIGIN: Final = "iso-exchange.example/market-day"
MORNING: Final = 1_800_000_000
"""When the day begins: a full hour."""
HOUR: Final = 3_600
CELL: Final = 300
GATE: Final = MORNING + HOUR
FIRST: Final = MORNING + 2 * HOUR
HOURS: Final = 2
AUCTION: Final = "day-1"
CHIP_CLASS: Final = "nvidia.h100-sxm5-80gb"
NODE: Final = 8
SURCHARGES: Final = {"site-a": 50_000, "site-b": 0}
"""Micro-USD per chip-hour; the second community asks for none."""
SHORTFALL: Final = ("pool-a", FIRST + 3 * CELL)
"""Pool and metering interval in which a node of one firm contract is down."""
GAP: Final = ("pool-b", FIRST + HOUR + 5 * CELL)
"""Pool and metering interval without a reading."""

Tamper = Callable[[Submission], Submission]


def key_of(name: str) -> SigningKey:
    """Signing key of a participant, meter or part of the exchange: the same in every run."""
    return SigningKey.from_seed(hashlib.sha256(f"market day {name}".encode()).digest())


def service_submission(command: Command, submission: Submission) -> Submission:
    """A submission of the exchange's services with another command, signed again.

    For tests that forge: the service key signs whatever it is given.
    """
    payload = codec.encode(command)
    return dataclasses.replace(
        submission,
        command=command,
        envelope=envelope.sign(
            ENTRY_KINDS[type(command)].payload_type, payload, [key_of(EXCHANGE_ID)]
        ),
        body_sha256=hashlib.sha256(payload).digest(),
    )


class TamperedSequencer(Sequencer):
    """Changes what the exchange's own services submit before it is accepted."""

    tamper: Tamper | None = None

    async def submit(self, submission: Submission) -> Receipt | Rejected:
        return await super().submit(self._changed(submission))

    async def submit_all(self, submissions: Sequence[Submission]) -> tuple[Receipt | Rejected, ...]:
        return await super().submit_all([self._changed(item) for item in submissions])

    def _changed(self, submission: Submission) -> Submission:
        if self.tamper is None or submission.command.header.signer_id != EXCHANGE_ID:
            return submission
        return self.tamper(submission)


class MarketDay:
    """One exchange and its script; start it with ``async with``."""

    def __init__(
        self,
        *,
        directory: Path,
        store: LedgerStore | None = None,
        clock: SimulatedClock | None = None,
        tamper: Tamper | None = None,
    ) -> None:
        """Wire the parts.

        Args:
            directory: The public log is written below it.
            store: A store with a log is continued.
            clock: Shared by the runs of one day; None starts in the morning.
            tamper: Changes submissions of the exchange's services, for tests that forge.
        """
        self.store: LedgerStore = store or MemoryStore()
        self.clock = clock or SimulatedClock(MORNING * MICROSECONDS)
        self.log_directory = directory / "log"
        self.secrets = ExchangeSecrets(
            log_key=key_of("log"), service_key=key_of(EXCHANGE_ID), derivation=b"d" * 32
        )
        self._salts = itertools.count()
        self.sequencer = TamperedSequencer(
            store=self.store,
            clock=self.clock,
            origin=ORIGIN,
            log_key=self.secrets.log_key,
            new_salt=self._salt,
            code_version="test",
        )
        self.sequencer.tamper = tamper
        self.auctioneer = Auctioneer(
            sequencer=self.sequencer, secrets=self.secrets, clock=self.clock, origin=ORIGIN
        )
        self.settler = Settler(
            sequencer=self.sequencer, secrets=self.secrets, clock=self.clock, origin=ORIGIN
        )
        self.publisher = Publisher(
            store=self.store,
            origin=ORIGIN,
            key=self.secrets.log_key,
            directory=self.log_directory,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def vkey(self) -> str:
        """Verifier key of the log."""
        return NoteKey(
            name=ORIGIN,
            algorithm=NoteAlgorithm.ED25519,
            public=self.secrets.log_key.public,
        ).to_vkey()

    async def __aenter__(self) -> Self:
        await self.sequencer.start()
        await self.publisher.start()
        self._task = asyncio.create_task(self.sequencer.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def run(self) -> None:
        """The whole day, from the first registration to a published log of statements."""
        await self.open_market()
        await self.trade()
        await self.clear()
        await self.deliver()
        await self.settle()

    async def open_market(self) -> None:
        """Register everybody and everything, deposit collateral, open the auction."""
        await self.send("operator", *registry(self.secrets))

    async def trade(self) -> None:
        """Base load, offers and bids."""
        for signer, command in orders():
            await self.send(signer, command)

    async def clear(self) -> None:
        """Close the gate, clear, publish."""
        await self.advance(GATE)
        await self.work()

    async def deliver(self) -> None:
        """Every meter reads every interval that has passed; hours are settled as they end."""
        for hour in range(FIRST, FIRST + HOURS * HOUR, HOUR):
            await self.advance(hour + HOUR)
            for meter_id in ("meter-a", "meter-b"):
                await self.send(meter_id, *self.readings(meter_id, hour))
            await self.work()

    async def settle(self) -> None:
        """Wait for readings that will not come, settle, state, pay out, publish."""
        await self.advance(FIRST + HOURS * HOUR + HOUR)
        await self.work()

    async def advance(self, to: int) -> None:
        """Move the clock to a time in seconds, never back."""
        self.clock.advance(to * MICROSECONDS)

    async def work(self) -> None:
        """Let the exchange's services do everything there is to do, and publish."""
        while await self.auctioneer.step() or await self.settler.step():
            pass
        await self.publisher.publish()

    async def send(self, signer: str, *commands: Command) -> None:
        """Sign, authorise and submit as the gateway does; every command must be accepted.

        Commands are sent one after the other, except readings, which go in one batch.
        """
        if commands and isinstance(commands[0], SubmitReadings):
            await self._accepted([self.submission(signer, command) for command in commands])
            return
        for command in commands:
            await self._accepted([self.submission(signer, command)])

    def submission(self, signer: str, command: Command) -> Submission:
        """A command signed by its signer (an entitlement also by its supplier), authorised."""
        signers = [key_of(signer)]
        if isinstance(command, RegisterEntitlement):
            signers.append(key_of(command.supplier_id))
        data = envelope.sign(
            ENTRY_KINDS[type(command)].payload_type, convert.body_of(command), signers
        )
        authorised = authorise(self.sequencer.state, data)
        assert not isinstance(authorised, Rejected), authorised
        assert authorised.command == command
        return Submission(
            command=authorised.command, envelope=data, body_sha256=authorised.body_sha256
        )

    def readings(self, meter_id: str, hour: int) -> tuple[SubmitReadings, ...]:
        """Readings of one delivery hour: everything healthy but the gap and the shortfall."""
        return tuple(
            SubmitReadings(
                header=header(meter_id, f"read/{start}"),
                batch=MeterBatch(
                    meter_id=meter_id,
                    pool_id=pool_id,
                    interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + CELL)),
                    sequence=(start - FIRST) // CELL + 1,
                    readings=tuple(self._rows(pool_id, hour, start)),
                ),
            )
            for pool_id in (meter_id.replace("meter", "pool"),)
            for start in range(hour, hour + HOUR, CELL)
            if (pool_id, start) != GAP
        )

    def _rows(self, pool_id: str, hour: int, start: int) -> Iterator[Reading]:
        down = (pool_id, start) == SHORTFALL
        for contract in sorted(
            self.sequencer.state.contracts.values(), key=lambda item: item.contract_id
        ):
            position = next((h for h in contract.hours if h.interval.start == hour), None)
            if contract.pool_id != pool_id or position is None:
                continue
            for node in range(position.chips // NODE):
                healthy = NODE * CELL
                if down and contract.service_class is ServiceClass.FIRM:
                    healthy, down = 0, False
                yield Reading(
                    contract_id=contract.contract_id,
                    node_id=f"{contract.order_id}-{node}",
                    healthy=ChipSeconds(healthy),
                )

    async def _accepted(self, submissions: Sequence[Submission]) -> None:
        for answer in await self.sequencer.submit_all(submissions):
            assert isinstance(answer, Receipt), answer

    def _salt(self, length: int) -> bytes:
        # The size of the log tells the runs of one day apart.
        name = f"{self.sequencer.size} {next(self._salts)}"
        return hashlib.sha256(name.encode()).digest()[:length]


def header(signer: str, request_id: str) -> Header:
    """Header with a fixed creation time, so that sending again sends the same bytes."""
    return Header(
        origin=ORIGIN, signer_id=signer, request_id=request_id, create_time=UnixSeconds(MORNING)
    )


def registry(secrets: ExchangeSecrets) -> Iterator[Command]:
    """Everything the operator signs before the auction opens, and the auction."""
    people: tuple[tuple[str, tuple[Role, ...]], ...] = (
        ("operator", (Role.OPERATOR,)),
        (EXCHANGE_ID, (Role.EXCHANGE,)),
        ("auditor", (Role.AUDITOR,)),
        ("sup-a", (Role.SUPPLIER,)),
        ("sup-b", (Role.SUPPLIER,)),
        ("lab-1", (Role.BUYER,)),
        ("lab-2", (Role.BUYER,)),
        ("lab-3", (Role.BUYER,)),
        ("town-a", (Role.COMMUNITY,)),
        ("town-b", (Role.COMMUNITY,)),
    )
    for name, roles in people:
        yield RegisterParticipant(
            header=header("operator", f"participant/{name}"),
            participant_id=name,
            display_name=name,
            roles=roles,
            public_key=key_of(name).public,
            country="US",
        )
    yield PublishChipTable(
        header=header("operator", "chip-table"),
        version=read_default().version,
        document=read_default_bytes(),
    )
    for letter in ("a", "b"):
        yield from _place(letter)
    for name, _ in people[3:8]:
        yield RecordDeposit(
            header=header("operator", f"deposit/{name}"),
            participant_id=name,
            amount=MicroUsd(100_000_000_000),
            bank_reference=f"wire-{name}",
        )
    yield CreateAuction(
        header=header("operator", f"auction/{AUCTION}"),
        auction_id=AUCTION,
        product="DAY_AHEAD",
        close_time=UnixSeconds(GATE),
        first_interval_start=UnixSeconds(FIRST),
        interval_seconds=Seconds(HOUR),
        interval_count=HOURS,
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100_000_000),
        tick=MicroUsdPerChipHour(1_000),
        operator_fee=MicroUsdPerChipHour(20_000),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_commitment=secrets.seed_commitment(AUCTION),
        tariff=Tariff(),
    )


def _place(letter: str) -> Iterator[Command]:
    yield RegisterSite(
        header=header("operator", f"site/{letter}"),
        site_id=f"site-{letter}",
        community_id=f"town-{letter}",
        surcharge=MicroUsdPerChipHour(SURCHARGES[f"site-{letter}"]),
        power_limit=Watts(200_000) if letter == "a" else None,
        region="us-south",
        country="US",
        data_residency=("US",),
    )
    yield RegisterPool(
        header=header("operator", f"pool/{letter}"),
        pool_id=f"pool-{letter}",
        site_id=f"site-{letter}",
        supplier_ids=(f"sup-{letter}",),
        chip_class=CHIP_CLASS,
        chips_per_node=Chips(NODE),
        capacity=Chips(64),
        chip_power=Watts(1_000),
        node_spare_ppm=Ppm(10_000),
        fabric="INFINIBAND_NDR",
    )
    yield RegisterMeter(
        header=header("operator", f"meter/{letter}"),
        meter_id=f"meter-{letter}",
        pool_id=f"pool-{letter}",
        public_key=key_of(f"meter-{letter}").public,
    )


def orders() -> Iterator[tuple[str, Command]]:
    """Everything that participants sign before gate closure, with its signer."""
    yield (
        "lab-1",
        RegisterEntitlement(
            header=header("lab-1", "entitlement/base-1"),
            entitlement_id="base-1",
            holder_id="lab-1",
            supplier_id="sup-a",
            pool_id="pool-a",
            period=Interval(start=UnixSeconds(FIRST), end=UnixSeconds(FIRST + HOURS * HOUR)),
            chips=Chips(16),
            contract_price=MicroUsdPerChipHour(1_500_000),
            cover=Cover.NODE,
        ),
    )
    yield (
        "lab-1",
        Nominate(
            header=header("lab-1", "nominate/base-1"),
            nomination_id="nom-1",
            entitlement_id="base-1",
            auction_id=AUCTION,
            segments=(_segment((0, 8)),),
        ),
    )
    yield order(
        "sup-a", "offer-a", OfferTerms(pool_id="pool-a", segments=(_segment((1_000_000, 40)),))
    )
    yield order(
        "sup-b",
        "offer-b",
        OfferTerms(pool_id="pool-b", segments=(_segment((1_200_000, 24), (1_800_000, 32)),)),
    )
    firm = _conditions(ServiceClass.FIRM, Cover.NODE)
    spare = _conditions(ServiceClass.INTERRUPTIBLE, Cover.NONE)
    yield order(
        "lab-1",
        "step-1",
        StepBidTerms(conditions=firm, segments=(_segment((2_600_000, 16), (1_900_000, 16)),)),
    )
    early = StepBidTerms(conditions=spare, segments=(_segment((1_500_000, 24)),))
    yield order("lab-2", "step-2", early)
    late = StepBidTerms(conditions=spare, segments=(_segment((1_700_000, 24)),))
    yield order("lab-2", "step-2", late, revision=2)
    yield order("lab-2", "mistake", late)
    yield (
        "lab-2",
        CancelOrder(header=header("lab-2", "cancel/mistake"), order_id="mistake"),
    )
    yield order("lab-3", "gang-1", _gang(chips=16, hours=HOURS, price=2_400_000))
    yield order("lab-3", "gang-2", _gang(chips=16, hours=1, price=2_200_000))
    yield order("lab-3", "gang-low", _gang(chips=64, hours=HOURS, price=1_100_000))


def order(
    signer: str, order_id: str, terms: OrderTerms, *, revision: int = 1
) -> tuple[str, SubmitOrder]:
    """One order with its signer."""
    return (
        signer,
        SubmitOrder(
            header=header(signer, f"order/{order_id}/{revision}"),
            order_id=order_id,
            auction_id=AUCTION,
            participant_id=signer,
            revision=revision,
            terms=terms,
        ),
    )


def _segment(*steps: tuple[int, int]) -> TimedSegment:
    return TimedSegment(
        start=UnixSeconds(FIRST),
        end=UnixSeconds(FIRST + HOURS * HOUR),
        steps=tuple(
            Step(price=MicroUsdPerChipHour(price), chips=Chips(chips)) for price, chips in steps
        ),
    )


def _conditions(service_class: ServiceClass, cover: Cover) -> BidConditions:
    return BidConditions(
        where=Eligibility(chip_classes=(CHIP_CLASS,), regions=("us-south",)),
        service_class=service_class,
        cover=cover,
        notice_s=Seconds(300 if service_class is ServiceClass.INTERRUPTIBLE else 0),
        conversions=(Conversion(chip_class=CHIP_CLASS, factor_ppm=Ppm(1_000_000)),),
    )


def _gang(*, chips: int, hours: int, price: int) -> BlockBidTerms:
    return BlockBidTerms(
        conditions=_conditions(ServiceClass.FIRM, Cover.NODE),
        earliest_start=UnixSeconds(FIRST),
        latest_start=UnixSeconds(FIRST),
        duration_s=Seconds(hours * HOUR),
        chips=Chips(chips),
        limit_price=MicroUsdPerChipHour(price),
        min_fill_ppm=Ppm(1_000_000),
    )
