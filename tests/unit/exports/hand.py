"""Small ledgers by hand: one contract, one site, and what happened to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from clearing.types import Interval
from clearing.units import ChipSeconds, MicroUsd, MicroUsdPerChipHour, UnixSeconds
from settlement.exports.extract import (
    CommunityTotal,
    Extract,
    IssuedStatement,
    Movement,
    Party,
    SettledHour,
    SiteFacts,
)
from settlement.ledger import accounts
from settlement.ledger.books import Applied
from settlement.postings.deposits import payout
from settlement.statements import statement
from settlement.types import Contract, Phase, Transfer, TransferCode
from tests.unit.settlement.builders import (
    AUCTION,
    DOLLAR,
    HOUR,
    World,
    assignment,
    contract,
    legs,
    metered,
    price,
)

DAY = Interval(
    start=UnixSeconds(HOUR.start // 86_400 * 86_400),
    end=UnixSeconds(HOUR.start // 86_400 * 86_400 + 86_400),
)
SETTLED = UnixSeconds(HOUR.end + 600)
"""When the hour was settled and the statements were issued."""


def transfer(
    name: str,
    debit: str,
    credit: str,
    amount: int,
    *,
    phase: Phase = Phase.POSTED,
    code: TransferCode = TransferCode.RESIDUAL,
    asset: str = "USD",
    pending: str = "",
    hour: int = 0,
    corrects: str = "",
) -> Transfer:
    return Transfer(
        transfer_id=name,
        asset=asset,
        debit=debit,
        credit=credit,
        amount=amount,
        phase=phase,
        code=code,
        pending_id=pending,
        interval_start=UnixSeconds(hour),
        corrects=corrects,
    )


def movements(
    applied: Iterable[Applied], *, entry: int = 10, time: int = SETTLED
) -> tuple[Movement, ...]:
    return tuple(
        Movement(
            entry_index=entry,
            position=position,
            time=UnixSeconds(time),
            transfer=item.transfer,
            applied=item.applied,
        )
        for position, item in enumerate(applied)
    )


def settled_world() -> tuple[World, Contract]:
    """8 chips at 3.40 for an hour: 1,800 chip-seconds failed, 2,400 were not read."""
    firm = contract("bid", 8, legs(3 * DOLLAR, power=400_000))
    world = World(assignment(firm, prices=(price(3 * DOLLAR, power=400_000),)))
    world.close(metered(firm, failed={0: 1_800}, gap=2_400))
    return world, firm


def extract_of(
    found: tuple[Movement, ...],
    *,
    contracts: tuple[Contract, ...] = (),
    hours: tuple[SettledHour, ...] = (),
    statements: tuple[IssuedStatement, ...] = (),
    totals: tuple[CommunityTotal, ...] = (),
    end: int = SETTLED + 86_400,
) -> Extract:
    return Extract(
        origin="iso-exchange.example/hand",
        size=100,
        root="ab" * 32,
        end=UnixSeconds(end),
        sealed_from=-1,
        movements=found,
        statements=statements,
        hours=hours,
        totals=totals,
        prices=(),
        contracts={item.contract_id: item for item in contracts},
        periods={AUCTION: DAY},
        parties={
            name: Party(participant_id=name, display_name=display)
            for name, display in (
                ("F", "Lab F"),
                ("S1", "Supplier One"),
                ("town", "Town of Site A"),
                ("operator", "Compute Exchange"),
            )
        },
        sites={
            "site-a": SiteFacts(
                site_id="site-a",
                community_id="town",
                region="us-south",
                country="US",
                surcharge=MicroUsdPerChipHour(500_000),
            )
        },
    )


def settled_extract(*, paid: bool = True) -> Extract:
    """The settled world with its statement of the buyer and of the community's payout.

    The community earned 0.50 x 24,600 / 3,600 = 3.416667; 3.41 was paid out.
    """
    world, firm = settled_world()
    moved = movements(world.applied)
    issued = IssuedStatement(
        entry_index=11,
        time=SETTLED,
        auction_id=AUCTION,
        statement=statement(
            party_id="F",
            account=accounts.cash("F"),
            asset="USD",
            period=DAY,
            opening=MicroUsd(0),
            applied=[
                item
                for item in moved
                if accounts.cash("F") in {item.transfer.debit, item.transfer.credit}
                and item.transfer.asset == "USD"
            ],
            payout=MicroUsd(0),
        ),
    )
    if paid:
        town = accounts.community("site-a")
        name = f"statement/{town}/USD/{DAY.start}-{DAY.end}"
        world.transfer(payout(town, MicroUsd(3_410_000), name))
        moved += movements(world.applied[-1:], entry=12)
    return extract_of(
        moved,
        contracts=(firm,),
        hours=tuple(
            SettledHour(entry_index=10, delivered=item.delivered) for item in world.metered
        ),
        statements=(issued,),
        totals=(
            CommunityTotal(
                entry_index=13,
                time=SETTLED,
                auction_id=AUCTION,
                site_id="site-a",
                community_id="town",
                period=DAY,
                delivered=ChipSeconds(24_600),
                surcharge=MicroUsd(3_416_667),
            ),
        ),
    )


def without_end(extract: Extract, end: int) -> Extract:
    """The same ledger, read at another time."""
    return replace(extract, end=UnixSeconds(end))
