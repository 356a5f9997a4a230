"""Small settled worlds for tests: contracts, prices and readings by hand."""

from __future__ import annotations

from dataclasses import replace

from clearing.types import Cover, Interval, ServiceClass
from clearing.units import (
    Chips,
    ChipSeconds,
    MicroUsd,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    Tflop,
    UnixSeconds,
    chip_seconds,
)
from settlement.assignment import (
    Assignment,
    BackupCharge,
    FundingPlan,
    IntervalPrice,
    MakeWholePlan,
)
from settlement.invariants import Finding, Settled, check_all
from settlement.ledger import accounts
from settlement.ledger.books import Applied, Books, Rejected
from settlement.metering.billable import FailedInterval, MeteredHour, metering_intervals
from settlement.postings import award_postings, contract_hours, hour_postings
from settlement.spot.result import SpotResult
from settlement.types import (
    Contract,
    ContractHour,
    DeliveredHour,
    Legs,
    Postings,
    SpareHour,
    Transfer,
)

AUCTION = "da-1"
SURCHARGE = 500_000
FEE = 20_000
DOLLAR = 1_000_000


def interval(index: int = 0, duration_s: int = 3600) -> Interval:
    start = 1_700_000_000 // 3600 * 3600 + index * duration_s
    return Interval(start=UnixSeconds(start), end=UnixSeconds(start + duration_s))


HOUR = interval()


def legs(
    energy: int,
    *,
    power: int = 0,
    cover: int = 0,
    discount: int = 0,
    surcharge: int = SURCHARGE,
    fee: int = FEE,
    contract: int | None = None,
) -> Legs:
    price = energy + power + cover - discount if contract is None else contract
    return Legs(
        energy=MicroUsdPerChipHour(energy),
        power=MicroUsdPerChipHour(power),
        cover=MicroUsdPerChipHour(cover),
        discount=MicroUsdPerChipHour(discount),
        surcharge=MicroUsdPerChipHour(surcharge),
        fee=MicroUsdPerChipHour(fee),
        contract=MicroUsdPerChipHour(price),
    )


def contract(
    order_id: str,
    chips: int,
    prices: Legs,
    *,
    buyer: str = "F",
    supplier: str = "S1",
    pool: str = "pool-a",
    site: str = "site-a",
    service_class: ServiceClass = ServiceClass.FIRM,
    cover: Cover = Cover.NONE,
    hours: tuple[Interval, ...] = (HOUR,),
    stop_loss_ppm: int = 1_000_000,
    backup: str = "",
) -> Contract:
    return Contract(
        contract_id=f"{AUCTION}/{order_id}/{pool}/offer-{supplier}" + (backup and f"/{backup}"),
        auction_id=AUCTION,
        order_id=order_id,
        buyer_id=buyer,
        supplier_id=supplier,
        supplier_order_id=f"offer-{supplier}",
        pool_id=pool,
        site_id=site,
        chip_class="nvidia.h100-sxm5-80gb",
        service_class=service_class,
        cover=cover,
        notice_s=Seconds(300) if service_class is ServiceClass.INTERRUPTIBLE else Seconds(0),
        hours=tuple(ContractHour(interval=held, chips=Chips(chips), legs=prices) for held in hours),
        precision="BF16",
        derate_ppm=Ppm(1_000_000),
        stop_loss_ppm=Ppm(stop_loss_ppm),
        backup_pool_id=backup,
    )


def price(
    energy: int,
    *,
    power: int = 0,
    cover: int = 0,
    availability: int = 0,
    recall_discount: int = 0,
    pool: str = "pool-a",
    held: Interval = HOUR,
    provisional: bool = False,
    backups: dict[str, int] | None = None,
) -> IntervalPrice:
    return IntervalPrice(
        pool_id=pool,
        interval=held,
        energy=MicroUsdPerChipHour(energy),
        power=MicroUsdPerChipHour(power),
        cover=MicroUsdPerChipHour(cover),
        availability=MicroUsdPerChipHour(availability),
        recall_discount=MicroUsdPerChipHour(recall_discount),
        provisional=provisional,
        backups=tuple(
            BackupCharge(pool_id=name, price=MicroUsdPerChipHour(charge))
            for name, charge in sorted((backups or {}).items())
        ),
    )


def standby(
    order_id: str,
    participant: str,
    chips: int,
    earns: int,
    *,
    pool: str = "pool-a",
    site: bool = False,
) -> SpareHour:
    return SpareHour(
        auction_id=AUCTION,
        supplier_id=participant,
        order_id=order_id,
        pool_id=pool,
        site_id="site-a",
        interval=HOUR,
        chips=Chips(chips),
        price=MicroUsdPerChipHour(earns),
        site=site,
    )


def assignment(
    *contracts: Contract,
    prices: tuple[IntervalPrice, ...],
    spare: tuple[SpareHour, ...] = (),
    reserve: tuple[SpareHour, ...] = (),
    idle: tuple[SpareHour, ...] = (),
    intervals: tuple[Interval, ...] = (HOUR,),
    make_whole: tuple[MakeWholePlan, ...] = (),
    released: tuple[str, ...] = (),
) -> Assignment:
    return Assignment(
        auction_id=AUCTION,
        intervals=intervals,
        node_cover_notice_s=Seconds(300),
        site_cover_notice_s=Seconds(1_800),
        contracts=tuple(sorted(contracts, key=lambda item: item.contract_id)),
        spare_hours=spare,
        reserve_hours=reserve,
        idle_hours=idle,
        prices=prices,
        released_order_ids=released,
        make_whole=make_whole,
    )


def plan(
    family_id: str, payee: str, amount: int, shares: dict[str, int], *contracts: Contract
) -> MakeWholePlan:
    """A make-whole plan; shares by ``rent:<site>`` or participant."""
    hours = [hour for item in contracts for hour in item.hours]
    return MakeWholePlan(
        family_id=family_id,
        payee=accounts.cash(payee),
        amount=MicroUsd(amount),
        shares=tuple(
            FundingPlan(
                source=source,
                account=source if source.startswith("rent:") else accounts.cash(source),
                amount=MicroUsd(share),
            )
            for source, share in sorted(shares.items())
        ),
        contract_ids=tuple(sorted(item.contract_id for item in contracts)),
        awarded=ChipSeconds(
            sum(chip_seconds(hour.chips, hour.interval.duration_s) for hour in hours)
        ),
        last=max((hour.interval for hour in hours), key=lambda held: held.start, default=HOUR),
    )


def metered(
    item: Contract,
    held: Interval = HOUR,
    *,
    failed: dict[int, int] | None = None,
    gap: int = 0,
    tflops: int = 0,
) -> MeteredHour:
    """A metered hour; ``failed`` is chip-seconds by index of the metering interval."""
    hour = next(hour for hour in item.hours if hour.interval == held)
    position = chip_seconds(hour.chips, held.duration_s)
    cells = metering_intervals(held)
    failures = tuple(
        FailedInterval(interval=cells[index], failed=ChipSeconds(quantity))
        for index, quantity in sorted((failed or {}).items())
        if quantity
    )
    lost = sum(failure.failed for failure in failures)
    delivered = position - lost - gap
    return MeteredHour(
        delivered=DeliveredHour(
            contract_id=item.contract_id,
            interval=held,
            position=position,
            delivered=ChipSeconds(delivered),
            failed=ChipSeconds(lost),
            gap=ChipSeconds(gap),
            compute=Tflop(delivered * tflops),
        ),
        failures=failures,
        findings=(),
    )


class World:
    """Books in which one auction is awarded and settled."""

    def __init__(self, settled: Assignment, families: dict[str, str] | None = None) -> None:
        self.assignment = settled
        self.families = families or {}
        self.books = Books()
        self.applied: list[Applied] = []
        self.metered: list[MeteredHour] = []
        self.closed: list[Interval] = []
        self.results: list[SpotResult] = []
        self.corrected: list[tuple[Postings, Postings]] = []
        self.documents: list[Postings] = []
        self.post(award_postings(settled, {}))

    def post(self, postings: Postings) -> None:
        result = self.books.apply_all(postings)
        assert not isinstance(result, Rejected), result
        self.books.check()
        self.documents.append(postings)
        self.applied.extend(result)

    def transfer(self, transfer: Transfer) -> None:
        result = self.books.apply(transfer)
        assert not isinstance(result, Rejected), result
        self.applied.append(result)

    def close(
        self,
        *readings: MeteredHour,
        held: Interval = HOUR,
        spot: tuple[IntervalPrice, ...] = (),
    ) -> Postings:
        """Close an hour; contracts without a reading were delivered in full."""
        given = {item.delivered.contract_id: item for item in readings}
        hours = [
            given.get(item.contract_id) or metered(item, held)
            for item, _ in contract_hours(self.assignment, held)
        ]
        postings = hour_postings(
            self.assignment,
            held,
            hours,
            pool_balance=self.books.balance(accounts.POOL).posted,
            spot=spot,
            earlier=[item.delivered for item in self.metered],
        )
        self.post(postings)
        self.metered.extend(hours)
        self.closed.append(held)
        return postings

    def cash(self, participant: str) -> int:
        return self.books.balance(accounts.cash(participant)).posted

    def posted(self, account: str, asset: str = "USD") -> int:
        return self.books.balance(account, asset).posted

    def findings(self, limits: dict[str, int] | None = None) -> tuple[Finding, ...]:
        settled = Settled(
            assignment=self.assignment,
            closed=tuple(self.closed),
            metered=tuple(self.metered),
            limits={name: MicroUsdPerChipHour(limit) for name, limit in (limits or {}).items()},
            families=self.families,
            results=tuple(self.results),
            corrected=tuple(self.corrected),
        )
        return check_all((settled,), self.applied)

    def broken(self, limits: dict[str, int] | None = None) -> list[Finding]:
        return [finding for finding in self.findings(limits) if not finding.ok]


def with_hours(item: Contract, *hours: ContractHour) -> Contract:
    return replace(item, hours=hours)
