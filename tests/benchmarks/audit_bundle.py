"""An auditor's bundle of many entries, made through the real state machine.

The market day of the integration tests, then round after round of an auction of one hour: labs
bid, change and withdraw, the gate closes, the engine clears, the meters of ten pools read, the
hour is settled, stated and paid; deposits arrive all along. Every entry but the batch headers
carries a signature of its own, also those of the exchange's services; a quarter are participants'.

A bundle of a size is made once and kept below the temporary directory: making a million entries
takes minutes.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final
from unittest.mock import patch

from clearing.types import Cover, Interval, PricingRule, ServiceClass, Step, Tariff
from clearing.units import Chips, MicroUsd, MicroUsdPerChipHour, Ppm, Seconds, UnixSeconds, Watts
from iso_exchange import convert
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.commands import (
    CancelOrder,
    Command,
    CreateAuction,
    OfferTerms,
    RecordDeposit,
    RegisterMeter,
    RegisterParticipant,
    RegisterPool,
    Role,
    StepBidTerms,
    SubmitOrder,
    SubmitReadings,
    TimedSegment,
)
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.sequencer import Submission
from settlement.ledger import envelope
from settlement.types import MeterBatch
from tests.integration.bundles import write_bundle
from tests.integration.market_day import (
    CELL,
    CHIP_CLASS,
    FIRST,
    HOUR,
    HOURS,
    NODE,
    MarketDay,
    _conditions,
    header,
    key_of,
)

FORMAT: Final = 3
"""Part of the name of a kept bundle: another generator makes another one."""
LABS: Final = 60
ROUND_ENTRIES: Final = 25_000
SUBMITTED_AT_ONCE: Final = 400
POOLS: Final = "abcdefghij"
"""The first two are the market day's, the others stand at the second site."""
ORDER_SHARE: Final = 0.12
AMEND_SHARE: Final = 0.08
CANCEL_SHARE: Final = 0.05
SIGNED_SHARE: Final = ORDER_SHARE + AMEND_SHARE + CANCEL_SHARE
"""Of a round's entries by labs; the rest are deposits, and what follows from the round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A bundle on the disk.

    Attributes:
        kinds: Entries of each kind, as text.
    """

    directory: Path
    vkey: str
    kinds: str


def kept_bundle(entries: int) -> Kept:
    """The bundle with at least so many entries; made when there is none yet."""
    place = Path(tempfile.gettempdir()) / f"iso-audit-bundle-{FORMAT}-{entries}"
    done = place / "made"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        gc.disable()  # half of the time would go into looking for cycles among a million orders
        try:
            with patch("os.fsync"):
                vkey, kinds = asyncio.run(_make(place, entries))
        finally:
            gc.enable()
        done.write_text(f"{vkey}\n{kinds}\n")
    vkey, kinds = done.read_text().splitlines()
    return Kept(directory=place / "auditor", vkey=vkey, kinds=kinds)


async def _make(place: Path, entries: int) -> tuple[str, str]:
    kinds: Counter[str] = Counter()
    async with MarketDay(directory=place) as day:
        day.sequencer.follow(lambda found: kinds.update(entry.kind for entry in found))
        await day.run()
        await _send(day, "operator", [*_people(), *_places()])
        number = 0
        while day.sequencer.size < entries:
            wanted = min(ROUND_ENTRIES, entries - day.sequencer.size)
            await _round(day, number, wanted)
            number += 1
        await write_bundle(day, place / "auditor", BundleKind.AUDITOR)
    shutil.rmtree(day.log_directory)
    return day.vkey, ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())


def _people() -> Iterator[Command]:
    for lab in range(LABS):
        name = f"buyer-{lab}"
        yield RegisterParticipant(
            header=header("operator", f"participant/{name}"),
            participant_id=name,
            display_name=name,
            roles=(Role.BUYER,),
            public_key=key_of(name).public,
            country="US",
        )
        yield _deposit(name, f"first-{lab}", 10**14)


def _places() -> Iterator[Command]:
    for letter in POOLS[2:]:
        yield RegisterPool(
            header=header("operator", f"pool/{letter}"),
            pool_id=f"pool-{letter}",
            site_id="site-b",
            supplier_ids=("sup-b",),
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


def _deposit(name: str, reference: str, amount: int = 1_000_000) -> RecordDeposit:
    return RecordDeposit(
        header=header("operator", f"deposit/{reference}"),
        participant_id=name,
        amount=MicroUsd(amount),
        bank_reference=reference,
    )


async def _round(day: MarketDay, number: int, entries: int) -> None:
    """One auction of one hour, from its creation to its statements."""
    gate = FIRST + (HOURS + 4 * number + 2) * HOUR
    hour = gate + HOUR
    name = f"round-{number}"
    await _send(day, "operator", [_auction(day, name, gate, hour)])
    for letter in POOLS:
        supplier = "sup-a" if letter == "a" else "sup-b"
        segment = _segment(hour, (1_000_000 + number, 16), (1_500_000 + number, 24))
        terms = OfferTerms(pool_id=f"pool-{letter}", segments=(segment,))
        await _send(day, supplier, [_order(supplier, name, f"{name}-{letter}", terms)])
    await _trade(day, name, hour, entries)
    await day.advance(gate)
    await day.work()
    await day.advance(hour + HOUR)
    for letter in POOLS:
        readings = [_signed(f"meter-{letter}", item) for item in _readings(day, letter, hour)]
        await day._accepted(readings)
    await day.work()
    await day.advance(hour + 2 * HOUR)
    await day.work()


async def _trade(day: MarketDay, auction: str, hour: int, entries: int) -> None:
    """Bids that come, change and go, and deposits, in a seeded order."""
    draw = Random(auction)
    revisions: dict[str, int] = {}
    owner: dict[str, str] = {}
    standing: list[str] = []
    batch: list[Submission] = []
    for number in range(entries):
        chance = draw.random()
        lab = f"buyer-{draw.randrange(LABS)}"
        place = draw.randrange(len(standing)) if standing else 0
        if chance < ORDER_SHARE or (not standing and chance < SIGNED_SHARE):
            name = f"{auction}-{number}"
            revisions[name], owner[name] = 1, lab
            standing.append(name)
            batch.append(_signed(lab, _order(lab, auction, name, _bid(draw, hour))))
        elif chance < ORDER_SHARE + AMEND_SHARE:
            name = standing[place]
            lab = owner[name]
            revisions[name] += 1
            terms = _bid(draw, hour)
            batch.append(_signed(lab, _order(lab, auction, name, terms, revisions[name])))
        elif chance < SIGNED_SHARE:
            name = standing[place]
            standing[place] = standing[-1]
            standing.pop()
            cancel = CancelOrder(header=header(owner[name], f"cancel/{name}"), order_id=name)
            batch.append(_signed(owner[name], cancel))
        else:
            batch.append(_signed("operator", _deposit(lab, f"{auction}-{number}")))
        if len(batch) >= SUBMITTED_AT_ONCE:
            await day._accepted(batch)
            batch = []
    await day._accepted(batch)


def _bid(draw: Random, hour: int) -> StepBidTerms:
    """Mostly below the offers: a crowd of bids in two small pools."""
    firm = draw.random() < 0.5
    conditions = (
        _conditions(ServiceClass.FIRM, Cover.NODE)
        if firm
        else _conditions(ServiceClass.INTERRUPTIBLE, Cover.NONE)
    )
    high = draw.randrange(200, 2_400) * 1_000
    steps = ((high, NODE), (max(1_000, high - 150_000), NODE * draw.randrange(1, 3)))
    return StepBidTerms(conditions=conditions, segments=(_segment(hour, *steps),))


def _readings(day: MarketDay, letter: str, hour: int) -> Iterator[SubmitReadings]:
    for start in range(hour, hour + HOUR, CELL):
        yield SubmitReadings(
            header=header(f"meter-{letter}", f"read/{start}"),
            batch=MeterBatch(
                meter_id=f"meter-{letter}",
                pool_id=f"pool-{letter}",
                interval=Interval(start=UnixSeconds(start), end=UnixSeconds(start + CELL)),
                sequence=(start - FIRST) // CELL + 1,
                readings=tuple(day._rows(f"pool-{letter}", hour, start)),
            ),
        )


def _segment(hour: int, *steps: tuple[int, int]) -> TimedSegment:
    return TimedSegment(
        start=UnixSeconds(hour),
        end=UnixSeconds(hour + HOUR),
        steps=tuple(
            Step(price=MicroUsdPerChipHour(price // 1_000 * 1_000), chips=Chips(chips))
            for price, chips in steps
        ),
    )


def _order(
    signer: str, auction: str, name: str, terms: StepBidTerms | OfferTerms, revision: int = 1
) -> SubmitOrder:
    return SubmitOrder(
        header=header(signer, f"order/{name}/{revision}"),
        order_id=name,
        auction_id=auction,
        participant_id=signer,
        revision=revision,
        terms=terms,
    )


def _auction(day: MarketDay, name: str, gate: int, hour: int) -> CreateAuction:
    return CreateAuction(
        header=header("operator", f"auction/{name}"),
        auction_id=name,
        product="DAY_AHEAD",
        close_time=UnixSeconds(gate),
        first_interval_start=UnixSeconds(hour),
        interval_seconds=Seconds(HOUR),
        interval_count=1,
        price_floor=MicroUsdPerChipHour(0),
        price_cap=MicroUsdPerChipHour(100_000_000),
        tick=MicroUsdPerChipHour(1_000),
        operator_fee=MicroUsdPerChipHour(20_000),
        pricing_rule=PricingRule.MAKE_WHOLE,
        tie_credit=MicroUsdPerChipHour(100),
        seed_commitment=day.secrets.seed_commitment(name),
        tariff=Tariff(),
    )


_KEY = functools.cache(key_of)


def _signed(signer: str, command: Command) -> Submission:
    """As ``MarketDay.submission``, without reading back what was just written."""
    payload = convert.body_of(command)
    return Submission(
        command=command,
        envelope=envelope.sign(ENTRY_KINDS[type(command)].payload_type, payload, [_KEY(signer)]),
        body_sha256=hashlib.sha256(payload).digest(),
    )


async def _send(day: MarketDay, signer: str, commands: list[Command]) -> None:
    await day._accepted([_signed(signer, command) for command in commands])
