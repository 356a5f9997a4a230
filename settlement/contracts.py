"""From an auction's outcome to what is settled: contracts, spare hours and make-whole plans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

from clearing.errors import InvariantError
from clearing.outcome import Award, Outcome, PoolPrice, Side
from clearing.types import (
    BlockBid,
    Book,
    Cover,
    Nomination,
    Offer,
    Pool,
    ServiceClass,
    Site,
    StepBid,
    WorkBid,
)
from clearing.units import (
    PPM,
    Chips,
    ChipSeconds,
    MicroUsdPerChipHour,
    Ppm,
    Seconds,
    chip_seconds,
    divide_up,
    split_largest_remainder,
)
from settlement.assignment import (
    Assignment,
    BackupCharge,
    FundingPlan,
    IntervalPrice,
    MakeWholePlan,
)
from settlement.errors import SettlementError, SettlementErrorCode
from settlement.ledger import accounts
from settlement.linking import links_of, over_link
from settlement.matching import Lot, pair
from settlement.types import Contract, ContractHour, Legs, SpareHour


def assign(
    book: Book,
    outcome: Outcome,
    *,
    derates: Mapping[str, Ppm],
    precisions: Mapping[str, str],
    nomination_suppliers: Mapping[str, str],
    payers: Mapping[str, str] | None = None,
) -> Assignment:
    """Turn the awards of a verified outcome into contracts.

    The same book and outcome give the same assignment, in whatever order they were
    written down.

    Args:
        book: The book that was cleared.
        outcome: Its outcome, already verified.
        derates: Acceptance derate by pool_id, for every pool with contracts.
        precisions: Accounting precision by chip class, such as ``BF16``.
        nomination_suppliers: Registered supplier's participant by entitlement_id.
        payers: Who pays the bills of a grant, by its entitlement_id.

    Raises:
        SettlementError: what is not settled yet (``LINKS_NOT_SETTLED`` for chains of links,
            ``NEGATIVE_ENERGY_PRICE_NOT_SETTLED``), or an input is missing (``ORDER_UNKNOWN``,
            ``PRICE_MISSING``, ``DERATE_UNKNOWN``, ``PRECISION_UNKNOWN``, ``SUPPLIER_UNKNOWN``,
            ``AUCTION_MISMATCH``).
        InvariantError: a pool delivers more than it was sold.
    """
    if outcome.auction_id != book.spec.auction_id:
        raise SettlementError(
            SettlementErrorCode.AUCTION_MISMATCH,
            outcome.auction_id,
            f"the book is of {book.spec.auction_id}",
        )
    work = _Assigner(
        book=book,
        outcome=outcome,
        derates=derates,
        precisions=precisions,
        nomination_suppliers=nomination_suppliers,
        payers=payers or {},
    )
    return work.run()


Bid = StepBid | BlockBid | WorkBid

T = TypeVar("T")


class _Assigner:
    """Indexes of one book and outcome, and the parts of the assignment."""

    def __init__(
        self,
        *,
        book: Book,
        outcome: Outcome,
        derates: Mapping[str, Ppm],
        precisions: Mapping[str, str],
        nomination_suppliers: Mapping[str, str],
        payers: Mapping[str, str],
    ) -> None:
        self.spec = book.spec
        self.outcome = outcome
        self.derates = derates
        self.precisions = precisions
        self.nomination_suppliers = nomination_suppliers
        self.payers = payers
        self.sites: dict[str, Site] = {site.site_id: site for site in book.sites}
        self.pools: dict[str, Pool] = {pool.pool_id: pool for pool in book.pools}
        self.offers: dict[str, Offer] = {offer.order_id: offer for offer in book.offers}
        bids: tuple[Bid, ...] = (*book.step_bids, *book.block_bids, *book.work_bids)
        self.bids: dict[str, Bid] = {bid.order_id: bid for bid in bids}
        self.nominations = {item.order_id: item for item in book.nominations}
        self.prices: dict[tuple[str, int], PoolPrice] = {
            (price.pool_id, price.interval): price for price in outcome.prices
        }
        self.backup_prices = {
            (price.site_id, price.pool_id, price.interval): price.price
            for price in outcome.backup_prices
        }
        self.legs_cache: dict[
            tuple[str, int, ServiceClass, Cover, Seconds, bool, bool, str], Legs
        ] = {}
        self.links = links_of(book, outcome)
        self.spare: list[SpareHour] = []
        self.reserve: list[SpareHour] = []
        self.idle: list[SpareHour] = []
        self.contracts: list[Contract] = []

    def run(self) -> Assignment:
        """Assign pool by pool."""
        by_pool: dict[str, list[Award]] = defaultdict(list)
        for award in self.outcome.awards:
            by_pool[award.pool_id].append(award)
        for pool_id in self.links.order(sorted(by_pool)):
            self._pool(pool_id, by_pool[pool_id])
        contracts = tuple(sorted(self.contracts, key=lambda contract: contract.contract_id))
        if len({contract.contract_id for contract in contracts}) != len(contracts):
            raise InvariantError(f"contract identifiers of {self.spec.auction_id} repeat")
        return Assignment(
            auction_id=self.spec.auction_id,
            intervals=self.spec.intervals,
            node_cover_notice_s=self.spec.tariff.node_cover_notice_s,
            site_cover_notice_s=self.spec.tariff.site_cover_notice_s,
            contracts=contracts,
            spare_hours=tuple(sorted(self.spare, key=_spare_key)),
            reserve_hours=tuple(sorted(self.reserve, key=_spare_key)),
            idle_hours=tuple(sorted(self.idle, key=_spare_key)),
            prices=self._interval_prices(contracts),
            released_order_ids=tuple(
                sorted(offer.order_id for offer in self.offers.values() if offer.recallable)
            ),
            make_whole=self._make_whole(contracts),
        )

    def _pool(self, pool_id: str, awards: list[Award]) -> None:
        demands: list[Lot] = self.links.demands(pool_id)
        supplies: list[Lot] = self.links.supplies(pool_id)
        # A lot of the demand side is an order and, for SITE cover, one of its backups.
        bought: dict[str, tuple[str, str]] = {}
        for award in awards:
            left = _chips_of(award.first, award.chips)
            if award.side is Side.SUPPLY:
                offer = self._known(self.offers, award.order_id)
                supplies.append(Lot(order_id=award.order_id, left=left, released=offer.recallable))
                self._spare_hours(award)
            elif award.side is Side.DEMAND:
                bid = self._known(self.bids, award.order_id)
                for backup, part in _by_backup(award, left).items():
                    lot_id = f"{award.order_id}\0{backup}" if backup else award.order_id
                    bought[lot_id] = award.order_id, backup
                    demands.append(
                        Lot(
                            order_id=lot_id,
                            left=part,
                            gang=isinstance(bid, BlockBid),
                            released=bid.service_class is ServiceClass.INTERRUPTIBLE
                            and bid.notice_s <= self.spec.tariff.site_cover_notice_s,
                        )
                    )
            else:
                for backup, part in _by_backup(award, left).items():
                    self._nominated(award, part, backup)
        self._reserve_hours(pool_id, awards)
        pairing = pair(pool_id, demands, supplies)
        for (lot_id, supply_id), chips in pairing.flows.items():
            if self.links.carry(pool_id, lot_id, supply_id, chips):
                continue
            order_id, backup = bought[lot_id]
            self._contract(self.bids[order_id], supply_id, pool_id, chips, backup)
        for supply_id, chips in pairing.idle.items():
            offer_id, link_id, origin = self.links.split(supply_id)
            offer = self.offers[offer_id]
            for t, quantity in chips.items():
                price = self._price(origin or pool_id, t)
                if link_id and price.energy > self._price(pool_id, t).energy:
                    raise SettlementError(
                        SettlementErrorCode.LINKS_NOT_SETTLED,
                        link_id,
                        "it must carry supply that nobody buys, towards the lower price",
                    )
                earned = price.energy - (price.recall_discount if offer.recallable else 0)
                self.idle.append(self._hour_of(offer, t, quantity, earned))

    def _contract(
        self, bid: Bid, supply_id: str, pool_id: str, chips: Mapping[int, int], backup: str
    ) -> None:
        offer_id, link_id, origin = self.links.split(supply_id)
        offer = self.offers[offer_id]
        hours = []
        for t, quantity in chips.items():
            legs = self._legs(bid, pool_id, t, backup, released=offer.recallable)
            if link_id:
                legs = over_link(legs, link_id, self._price(origin, t).energy)
            interval = self.spec.intervals[t]
            hours.append(ContractHour(interval=interval, chips=Chips(quantity), legs=legs))
        self._add(
            order_id=bid.order_id,
            buyer_id=bid.participant_id,
            supplier_id=offer.participant_id,
            supplier_order_id=offer.order_id,
            pool_id=pool_id,
            service_class=bid.service_class,
            cover=bid.cover if bid.service_class is ServiceClass.FIRM else Cover.NONE,
            notice_s=bid.notice_s,
            hours=tuple(hours),
            backup=backup,
            link=(link_id, origin),
        )

    def _nominated(self, award: Award, chips: Mapping[int, int], backup: str) -> None:
        """A nomination's contract: energy is paid outside, the rest here (SETTLEMENT R7)."""
        nomination = self._known(self.nominations, award.order_id)
        supplier_id = self.nomination_suppliers.get(nomination.entitlement_id)
        if supplier_id is None:
            raise SettlementError(
                SettlementErrorCode.SUPPLIER_UNKNOWN,
                nomination.entitlement_id,
                "the entitlement has no registered supplier",
            )
        hours = []
        for t, quantity in sorted(chips.items()):
            price = self._price(award.pool_id, t)
            legs = Legs(
                energy=MicroUsdPerChipHour(0),
                power=price.power,
                cover=price.node_cover
                if award.cover is Cover.NODE
                else self._backup_price(award.pool_id, backup, t),
                discount=MicroUsdPerChipHour(0),
                surcharge=price.surcharge,
                fee=price.fee,
                contract=_registered_price(nomination, t),
            )
            hours.append(
                ContractHour(interval=self.spec.intervals[t], chips=Chips(quantity), legs=legs)
            )
        self._add(
            order_id=award.order_id,
            buyer_id=nomination.participant_id,
            supplier_id=supplier_id,
            supplier_order_id=nomination.entitlement_id,
            pool_id=award.pool_id,
            service_class=ServiceClass.BASE_LOAD,
            # What no backup stands by for is delivered without cover.
            cover=Cover.NONE if award.cover is Cover.SITE and not backup else award.cover,
            notice_s=Seconds(0),
            hours=tuple(hours),
            backup=backup,
        )

    def _add(
        self,
        *,
        order_id: str,
        buyer_id: str,
        supplier_id: str,
        supplier_order_id: str,
        pool_id: str,
        service_class: ServiceClass,
        cover: Cover,
        notice_s: Seconds,
        hours: tuple[ContractHour, ...],
        backup: str,
        link: tuple[str, str] = ("", ""),
    ) -> None:
        if not hours:
            return
        pool = self.pools[pool_id]
        if pool_id not in self.derates:
            raise SettlementError(
                SettlementErrorCode.DERATE_UNKNOWN, pool_id, "the pool has no acceptance derate"
            )
        if pool.chip_class not in self.precisions:
            raise SettlementError(
                SettlementErrorCode.PRECISION_UNKNOWN,
                pool.chip_class,
                "the chip class has no accounting precision",
            )
        self.contracts.append(
            Contract(
                contract_id=f"{self.spec.auction_id}/{order_id}/{pool_id}/{supplier_order_id}"
                + (f"/{backup}" if backup else "")
                + (f"/via-{link[0]}" if link[0] else ""),
                auction_id=self.spec.auction_id,
                order_id=order_id,
                buyer_id=buyer_id,
                supplier_id=supplier_id,
                supplier_order_id=supplier_order_id,
                pool_id=pool_id,
                site_id=pool.site_id,
                chip_class=pool.chip_class,
                service_class=service_class,
                cover=cover,
                notice_s=notice_s,
                hours=hours,
                precision=self.precisions[pool.chip_class],
                derate_ppm=self.derates[pool_id],
                stop_loss_ppm=self.spec.tariff.stop_loss_ppm,
                backup_pool_id=backup,
                link_id=link[0],
                supply_pool_id=link[1],
                payer_id=self.payers.get(supplier_order_id, ""),
            )
        )

    def _legs(self, bid: Bid, pool_id: str, t: int, backup: str, *, released: bool) -> Legs:
        """Prices of a bid's product; a released supplier bears the recall discount itself."""
        block = isinstance(bid, BlockBid)
        key = (pool_id, t, bid.service_class, bid.cover, bid.notice_s, released, block, backup)
        legs = self.legs_cache.get(key)
        if legs is not None:
            return legs
        price = self._price(pool_id, t)
        firm = bid.service_class is ServiceClass.FIRM
        cover = price.node_cover if _is_covered(bid) else self._backup_price(pool_id, backup, t)
        discount = 0
        if not firm and bid.notice_s <= self.spec.tariff.site_cover_notice_s:
            discount = 0 if released else price.recall_discount
        if not block and self._is_reclaimable(bid):
            discount += price.availability
        energy = price.energy - (price.recall_discount if released else 0)
        if energy < 0:
            raise SettlementError(
                SettlementErrorCode.NEGATIVE_ENERGY_PRICE_NOT_SETTLED,
                pool_id,
                f"supply earns {energy} micro-USD per chip-hour in interval {t}",
            )
        legs = Legs(
            energy=MicroUsdPerChipHour(energy),
            power=price.power,
            cover=MicroUsdPerChipHour(cover),
            discount=MicroUsdPerChipHour(discount),
            surcharge=price.surcharge,
            fee=price.fee,
            contract=MicroUsdPerChipHour(energy + price.power + cover - discount),
        )
        self.legs_cache[key] = legs
        return legs

    def _spare_hours(self, award: Award) -> None:
        offer = self.offers[award.order_id]
        for t, chips in enumerate(award.reserve, award.first):
            if chips > 0:
                price = self._price(award.pool_id, t)
                self.spare.append(self._hour_of(offer, t, chips, price.spare - price.power))
        for t, chips in enumerate(award.site_reserve, award.first):
            if chips > 0:
                price = self._price(award.pool_id, t)
                earned = price.site_spare - price.power
                self.spare.append(self._hour_of(offer, t, chips, earned, site=True))

    def _reserve_hours(self, pool_id: str, awards: list[Award]) -> None:
        """Cover money that is owed to buyers beside their contract price."""
        pool = self.pools[pool_id]
        # Chips by interval: covered firm load, and what stands by for it.
        covered: dict[int, int] = defaultdict(int)
        standing: dict[int, int] = defaultdict(int)
        nominated: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for award in awards:
            bid = self.bids.get(award.order_id)
            least: int = 0
            if isinstance(bid, BlockBid):
                node = pool.chips_per_node
                least = divide_up(divide_up(bid.chips * bid.min_fill_ppm, PPM), node) * node
            for t, chips in enumerate(award.chips, award.first):
                if award.side is Side.SUPPLY:
                    standing[t] += award.reserve[t - award.first]
                elif award.side is Side.BASE:
                    if award.cover is Cover.NODE and chips:
                        nominated[t].append((award.order_id, chips))
                elif bid is not None and self._is_reclaimable(bid):
                    standing[t] += max(0, chips - least)
                    if isinstance(bid, BlockBid) and chips > least:
                        price = self._price(pool_id, t).availability
                        self._owe(bid, pool, t, chips - least, price)
                elif bid is not None and _is_covered(bid):
                    covered[t] += chips
        for t, parts in nominated.items():
            total = sum(chips for _, chips in parts)
            paying = total
            if pool.node_spare_ppm:
                most = standing[t] * PPM // pool.node_spare_ppm - covered[t]
                paying = min(total, max(0, most))
            shares = split_largest_remainder(
                paying, [chips for _, chips in parts], [order_id for order_id, _ in parts]
            )
            for (order_id, served), share in zip(parts, shares, strict=True):
                price = self._price(pool_id, t).node_cover
                self._owe(self.nominations[order_id], pool, t, served - share, price)

    def _is_reclaimable(self, bid: Bid) -> bool:
        return (
            bid.service_class is ServiceClass.INTERRUPTIBLE
            and bid.notice_s <= self.spec.tariff.node_cover_notice_s
        )

    def _owe(self, order: Bid | Nomination, pool: Pool, t: int, chips: int, price: int) -> None:
        if chips > 0 and price > 0:
            self.reserve.append(
                SpareHour(
                    auction_id=self.spec.auction_id,
                    supplier_id=order.participant_id,
                    order_id=order.order_id,
                    pool_id=pool.pool_id,
                    site_id=pool.site_id,
                    interval=self.spec.intervals[t],
                    chips=Chips(chips),
                    price=MicroUsdPerChipHour(price),
                )
            )

    def _backup_price(self, pool_id: str, backup: str, t: int) -> MicroUsdPerChipHour:
        key = (self.pools[pool_id].site_id, backup, t)
        return self.backup_prices.get(key, MicroUsdPerChipHour(0))

    def _hour_of(
        self, offer: Offer, t: int, chips: int, price: int, *, site: bool = False
    ) -> SpareHour:
        return SpareHour(
            auction_id=self.spec.auction_id,
            supplier_id=offer.participant_id,
            order_id=offer.order_id,
            pool_id=offer.pool_id,
            site_id=self.pools[offer.pool_id].site_id,
            interval=self.spec.intervals[t],
            chips=Chips(chips),
            price=MicroUsdPerChipHour(price),
            site=site,
        )

    def _interval_prices(self, contracts: tuple[Contract, ...]) -> tuple[IntervalPrice, ...]:
        used = {
            (pool_id, hour.interval.start)
            for c in contracts
            for hour in c.hours
            for pool_id in (c.pool_id, c.supply_pool_id)
            if pool_id
        }
        for item in (*self.spare, *self.reserve, *self.idle):
            used.add((item.pool_id, item.interval.start))
        index_of = {interval.start: t for t, interval in enumerate(self.spec.intervals)}
        charged: dict[tuple[str, int], list[BackupCharge]] = defaultdict(list)
        for (site_id, backup, t), charge in sorted(self.backup_prices.items()):
            charged[site_id, t].append(BackupCharge(pool_id=backup, price=charge))
        prices = []
        for pool_id, start in sorted(used):
            price = self._price(pool_id, index_of[start])
            prices.append(
                IntervalPrice(
                    pool_id=pool_id,
                    interval=self.spec.intervals[price.interval],
                    energy=price.energy,
                    power=price.power,
                    cover=price.node_cover,
                    availability=price.availability,
                    recall_discount=price.recall_discount,
                    backups=tuple(charged[self.pools[pool_id].site_id, price.interval]),
                )
            )
        return tuple(prices)

    def _make_whole(self, contracts: tuple[Contract, ...]) -> tuple[MakeWholePlan, ...]:
        participants = {item.order_id: item.participant_id for item in self.outcome.orders}
        plans = []
        for item in self.outcome.make_whole:
            if item.amount <= 0:
                continue
            family = set(item.order_ids)
            own = [c for c in contracts if c.order_id in family or c.supplier_order_id in family]
            hours = [hour for contract in own for hour in contract.hours]
            family_id = min(item.order_ids, default="")
            shares = tuple(
                FundingPlan(
                    source=share.source,
                    account=self._funding_account(share.source, participants),
                    amount=share.amount,
                )
                for share in sorted(item.funding, key=lambda share: share.source)
                if share.amount > 0
            )
            if sum(share.amount for share in shares) != item.amount:
                raise InvariantError(f"funding of {family_id!r} is not {item.amount}")
            intervals = [hour.interval for hour in hours]
            if not intervals:
                intervals = [self.spec.intervals[-1 if family else 0]]
            plans.append(
                MakeWholePlan(
                    family_id=family_id,
                    payee=accounts.cash(self._known(participants, family_id))
                    if family
                    else accounts.POOL,
                    amount=item.amount,
                    shares=shares,
                    contract_ids=tuple(sorted(contract.contract_id for contract in own)),
                    awarded=ChipSeconds(
                        sum(chip_seconds(hour.chips, hour.interval.duration_s) for hour in hours)
                    ),
                    last=max(intervals, key=lambda interval: interval.start),
                )
            )
        return tuple(sorted(plans, key=lambda plan: plan.family_id))

    def _funding_account(self, source: str, participants: Mapping[str, str]) -> str:
        if source.startswith("rent:") and source not in participants:
            site_id = source.removeprefix("rent:")
            return accounts.rent(self._known(self.sites, site_id).site_id)
        return accounts.cash(self._known(participants, source))

    def _price(self, pool_id: str, t: int) -> PoolPrice:
        price = self.prices.get((pool_id, t))
        if price is None:
            raise SettlementError(
                SettlementErrorCode.PRICE_MISSING, pool_id, f"no price in interval {t}"
            )
        return price

    @staticmethod
    def _known(items: Mapping[str, T], order_id: str) -> T:
        item = items.get(order_id)
        if item is None:
            raise SettlementError(
                SettlementErrorCode.ORDER_UNKNOWN, order_id, "not in the book or its outcome"
            )
        return item


def _chips_of(first: int, chips: Sequence[int]) -> dict[int, int]:
    return {t: int(quantity) for t, quantity in enumerate(chips, first) if quantity > 0}


def _by_backup(award: Award, chips: dict[int, int]) -> dict[str, dict[int, int]]:
    """Chips by backup pool; under the empty name what has none."""
    parts: dict[str, dict[int, int]] = {}
    left = dict(chips)
    for backup in award.backups:
        parts[backup.pool_id] = _chips_of(award.first, backup.chips)
        for t, quantity in parts[backup.pool_id].items():
            left[t] -= quantity
    parts[""] = {t: quantity for t, quantity in left.items() if quantity > 0}
    return {name: part for name, part in parts.items() if part}


def _is_covered(bid: Bid) -> bool:
    return bid.service_class is ServiceClass.FIRM and bid.cover is Cover.NODE


def _registered_price(nomination: Nomination, t: int) -> MicroUsdPerChipHour:
    for segment in nomination.segments:
        if segment.first <= t < segment.stop:
            return segment.steps[0].price
    raise InvariantError(f"{nomination.order_id} was awarded outside its segments")


def _spare_key(hour: SpareHour) -> tuple[int, str, str, bool]:
    return (hour.interval.start, hour.pool_id, hour.order_id, hour.site)
