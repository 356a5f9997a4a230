"""The spot layer of one hour: deviations, reclaims, recalls, calls, failures (SETTLEMENT R3-R7).

Every pool and metering interval has a pot of its own within the hour's pot account: payers
and receivers of ``settlement.spot.pot``. What a contract pays or receives over the hour's
intervals becomes one transfer, so that a statement line is an hour, like all others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clearing.types import Cover, Interval
from clearing.units import (
    SECONDS_PER_HOUR,
    ChipSeconds,
    MicroUsdPerChipHour,
    UnixSeconds,
    energy_charge,
    split_largest_remainder,
)
from settlement.assignment import Assignment, IntervalPrice
from settlement.ledger import accounts
from settlement.metering.billable import metering_intervals
from settlement.postings import reasons, terms
from settlement.postings.parts import Delivery, Found, Part, of_suppliers
from settlement.spot.pot import Payer, Receiver, empty_pot
from settlement.spot.result import Purchase, Recall, SpotResult
from settlement.types import Contract, ContractHour, TransferCode

PriceAt = Callable[[str, Interval], IntervalPrice]
"""Spot price of a pool in a metering interval."""

_Key = tuple[str, UnixSeconds]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotPart:
    """A contract that came into being at spot, over the hour's metering intervals.

    Attributes:
        part: Its contract with one ContractHour per metering interval; ``part.hour`` is the
            first. ``part.metered`` is over the delivery interval.
    """

    part: Part

    @property
    def contract(self) -> Contract:
        """The contract."""
        return self.part.contract

    def at(self, start: UnixSeconds) -> ContractHour | None:
        """Its position in a metering interval."""
        for hour in self.contract.hours:
            if hour.interval.start == start:
                return hour
        return None


@dataclass(slots=True, kw_only=True)
class Entry:
    """One party's spot money of one kind over the hour.

    Attributes:
        amount: Micro-USD; positive when the account receives.
    """

    account: str
    code: TransferCode
    contract_id: str = ""
    amount: int = 0
    quantity: int = 0
    prices: set[MicroUsdPerChipHour] = field(default_factory=set)
    provisional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotMoney:
    """Everything that spot moves in one hour.

    Attributes:
        deliveries: Failure money by contract.
        entries: Other money by transfer name, sorted.
        found: Per pot, sorted by pool and interval.
    """

    deliveries: dict[str, Delivery]
    entries: tuple[tuple[str, Entry], ...]
    found: tuple[Found, ...]


def settle_spot(
    assignment: Assignment,
    interval: Interval,
    parts: Sequence[Part],
    spot_parts: Sequence[SpotPart],
    results: Sequence[SpotResult],
    *,
    price_at: PriceAt,
    earnings: Mapping[str, dict[str, int]],
    pool_balance: int,
) -> SpotMoney:
    """Settle all pots of one hour.

    Args:
        parts: The auction's contract-hours, sorted by contract.
        spot_parts: Contracts of spot, sorted by contract.
        results: Of the interval, ascending.
        earnings: By chip class, then supplier: auction money of the hour, which R6 step 4 may
            fall back on. Reduced by what it gives up.
        pool_balance: What ``pool`` can give, >= 0.
    """
    work = _Spot(
        assignment=assignment,
        interval=interval,
        parts=parts,
        spot_parts=spot_parts,
        price_at=price_at,
    )
    for result in results:
        work.take(result)
    for part in parts:
        work.take_failures(part, {cell.start: part.hour for cell in work.cells.values()})
    for spot in spot_parts:
        work.take_failures(spot.part, {h.interval.start: h for h in spot.contract.hours})
    return work.empty(earnings, pool_balance)


@dataclass(slots=True, kw_only=True)
class _Pot:
    payers: list[tuple[Payer, Callable[[int], None]]] = field(default_factory=list)
    receivers: list[tuple[Receiver, Callable[[int], None]]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class _Spot:
    assignment: Assignment
    interval: Interval
    parts: Sequence[Part]
    spot_parts: Sequence[SpotPart]
    price_at: PriceAt
    pots: dict[_Key, _Pot] = field(default_factory=lambda: defaultdict(_Pot))
    deliveries: dict[str, Delivery] = field(default_factory=lambda: defaultdict(Delivery))
    entries: dict[str, Entry] = field(default_factory=dict)
    derated: dict[tuple[str, UnixSeconds], int] = field(default_factory=lambda: defaultdict(int))
    cells: dict[UnixSeconds, Interval] = field(init=False)
    by_id: dict[str, Part] = field(init=False)
    sold: dict[str, dict[str, int]] = field(init=False)
    restarted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Indexes."""
        self.cells = {cell.start: cell for cell in metering_intervals(self.interval)}
        self.by_id = {part.contract.contract_id: part for part in self.parts}
        self.sold = of_suppliers(self.parts)

    def take(self, result: SpotResult) -> None:
        """Moves of one interval."""
        cell = result.interval
        reclaimed = self._reclaims(result)
        for withdrawal in result.withdrawals:
            part = self.by_id[withdrawal.contract_id]
            price = self.price_at(part.contract.pool_id, cell)
            product = terms.spot_product_price(self.assignment, part.contract, price)
            self._receive(
                part.contract.pool_id,
                cell,
                self._entry(
                    f"withdrawal/{self._key(withdrawal.contract_id)}",
                    accounts.cash(part.contract.buyer_id),
                    TransferCode.WITHDRAWAL,
                    withdrawal.contract_id,
                ),
                f"withdrawal/{withdrawal.contract_id}",
                MicroUsdPerChipHour(max(0, product)),
                withdrawal.quantity,
                price,
                steps_in=True,
            )
        for derate in result.derates:
            self.derated[derate.contract_id, cell.start] += derate.quantity
        for purchase in result.purchases:
            self._purchase(purchase, cell)
        for recall in result.recalls:
            self._recall(recall, cell, reclaimed)
        self._supply(result)
        for link in result.links:
            entry = self._entry(
                f"link-derate/{self.assignment.auction_id}/{link.link_id}/{self.interval.start}",
                accounts.link(link.link_id),
                TransferCode.LINK_RENT,
            )
            near = self.price_at(link.from_pool_id, cell)
            far = self.price_at(link.to_pool_id, cell)
            name = f"link/{link.link_id}"
            self._receive(
                link.from_pool_id, cell, entry, name, near.energy, link.quantity, near, refund=True
            )
            self._pay(link.to_pool_id, cell, entry, name, far.energy, link.quantity, far)

    def take_failures(self, part: Part, hours: Mapping[UnixSeconds, ContractHour]) -> None:
        """What a contract's supplier failed: unserved, served by others, or derated."""
        contract = part.contract
        failed: dict[_Key, int] = defaultdict(int)
        for item in part.metered.failures:
            start = item.interval.start
            lost = min(item.failed, self.derated[contract.contract_id, start])
            failed[contract.pool_id, start] += item.failed - lost
            self._unserved(contract, hours[start], item.interval, item.failed, lost)
        for served in part.metered.served:
            failed[served.pool_id, served.interval.start] += served.served
            if served.order_id:
                price = self.price_at(served.pool_id, served.interval)
                entry = self._entry(
                    f"call/{self.assignment.auction_id}/{served.pool_id}"
                    f"/{self.interval.start}/{served.order_id}",
                    accounts.cash(served.supplier_id),
                    TransferCode.CALL,
                )
                name = f"call/{served.order_id}/{contract.contract_id}"
                self._receive(
                    served.pool_id,
                    served.interval,
                    entry,
                    name,
                    price.energy,
                    served.served,
                    price,
                    steps_in=True,
                )
        for (pool_id, start), quantity in sorted(failed.items()):
            if quantity:
                self._failure(contract, hours[start], pool_id, self.cells[start], quantity)

    def empty(self, earnings: Mapping[str, dict[str, int]], pool_balance: int) -> SpotMoney:
        """Empty every pot, by pool and interval."""
        classes = {part.contract.pool_id: part.contract.chip_class for part in self.parts}
        classes |= {spot.contract.pool_id: spot.contract.chip_class for spot in self.spot_parts}
        found = []
        for (pool_id, start), pot in sorted(self.pots.items()):
            earned = earnings.get(classes.get(pool_id, ""), {})
            result = empty_pot(
                [payer for payer, _ in pot.payers],
                [receiver for receiver, _ in pot.receivers],
                pool_balance=pool_balance,
                earnings=earned,
                failing=pot.failing,
            )
            pool_balance += result.to_pool
            for supplier_id, amount in result.from_suppliers.items():
                earned[supplier_id] -= amount
            for (_, sink), amount in zip(pot.payers, result.paid, strict=True):
                sink(amount)
            for (_, sink), amount in zip(pot.receivers, result.received, strict=True):
                sink(amount)
            found.append(
                Found(
                    key=f"{pool_id}/{start}",
                    to_pool=result.to_pool,
                    from_suppliers=result.from_suppliers,
                )
            )
        return SpotMoney(
            deliveries=dict(self.deliveries),
            entries=tuple(sorted(self.entries.items())),
            found=tuple(found),
        )

    def _reclaims(self, result: SpotResult) -> dict[str, int]:
        """Reclaimed buyers' receipts (R4); returns the highest contract price by pool."""
        highest: dict[str, int] = {}
        for reclaim in result.reclaims:
            part = self.by_id[reclaim.contract_id]
            contract, pool_id = part.contract, part.contract.pool_id
            price = self.price_at(pool_id, result.interval)
            least = max(0, part.hour.legs.contract)
            product = terms.spot_product_price(self.assignment, contract, price)
            floor = least * reclaim.quantity
            if contract.contract_id not in self.restarted:
                floor += reclaim.restart_credit * SECONDS_PER_HOUR
                self.restarted.add(contract.contract_id)
            highest[pool_id] = max(highest.get(pool_id, 0), least)
            self._receive(
                pool_id,
                result.interval,
                self._entry(
                    f"reclaim/{self._key(contract.contract_id)}",
                    accounts.cash(contract.buyer_id),
                    TransferCode.RECLAIM,
                    contract.contract_id,
                ),
                f"reclaim/{contract.contract_id}",
                MicroUsdPerChipHour(max(least, product)),
                reclaim.quantity,
                price,
                floor=floor,
            )
        return highest

    def _purchase(self, purchase: Purchase, cell: Interval) -> None:
        contract = purchase.contract
        (hour,) = contract.hours
        price = terms.leg_price(hour.legs)
        at = self.price_at(contract.pool_id, cell)
        entry = self._entry(
            f"purchase/{self._key(contract.contract_id)}",
            accounts.cash(contract.buyer_id),
            TransferCode.SPOT_PURCHASE,
            contract.contract_id,
        )
        name = f"spike/{contract.contract_id}"
        quantity = terms.position(hour)
        if price < 0:
            # A discount above the price: the buyer is paid, out of what others pay in.
            self._receive(
                contract.pool_id,
                cell,
                entry,
                name,
                MicroUsdPerChipHour(-price),
                quantity,
                at,
                refund=True,
            )
            return
        self._pay(
            contract.pool_id, cell, entry, name, price, quantity, at, limit=int(purchase.limit)
        )

    def _recall(self, recall: Recall, cell: Interval, highest: Mapping[str, int]) -> None:
        contract = recall.contract
        (hour,) = contract.hours
        price = self.price_at(contract.pool_id, cell)
        beside = price.power
        if contract.cover is Cover.NODE:
            beside = MicroUsdPerChipHour(beside + price.cover)
        elif contract.cover is Cover.SITE:
            beside = MicroUsdPerChipHour(beside + price.backup(contract.backup_pool_id))
        energy = max(0, price.energy - price.recall_discount)
        self._pay(
            contract.pool_id,
            cell,
            self._entry(
                f"recall/{self._key(contract.contract_id)}",
                accounts.cash(contract.buyer_id),
                TransferCode.RECALL,
                contract.contract_id,
            ),
            f"recall/{recall.order_id}/{contract.contract_id}",
            MicroUsdPerChipHour(energy + beside),
            terms.position(hour),
            price,
            limit=max(energy, highest.get(contract.pool_id, 0)) + beside,
        )

    def _supply(self, result: SpotResult) -> None:
        """Suppliers that sell more, or buy back."""
        for move in result.supply:
            price = self.price_at(move.pool_id, result.interval)
            energy = int(price.energy)
            if move.order_id in self.assignment.released_order_ids:
                energy -= price.recall_discount
            sale = move.quantity > 0
            code = TransferCode.SPOT_SALE if sale else TransferCode.BUY_BACK
            noun = "spot-sale" if sale else "buy-back"
            entry = self._entry(
                f"{noun}/{self.assignment.auction_id}/{move.pool_id}"
                f"/{self.interval.start}/{move.order_id}",
                accounts.cash(move.participant_id),
                code,
            )
            name = f"{noun}/{move.order_id}"
            at = MicroUsdPerChipHour(max(0, energy))
            where = (move.pool_id, result.interval)
            if sale:
                self._receive(*where, entry, name, at, move.quantity, price, steps_in=True)
            else:
                self._pay(*where, entry, name, at, ChipSeconds(-move.quantity), price)

    def _unserved(
        self, contract: Contract, hour: ContractHour, cell: Interval, quantity: int, lost: int
    ) -> None:
        """A buyer that nobody served; what was derated is paid by the pool's suppliers (R14)."""
        price = self.price_at(contract.pool_id, cell)
        refund = max(0, hour.legs.contract)
        product = MicroUsdPerChipHour(
            max(refund, terms.spot_product_price(self.assignment, contract, price))
        )
        delivery = self.deliveries[contract.contract_id]
        delivery.product_prices.add(product)
        delivery.provisional |= price.provisional
        pot = self.pots[contract.pool_id, cell.start]

        def credit(amount: int) -> None:
            delivery.credited += amount

        pot.receivers.append(
            (
                Receiver(
                    key=f"{accounts.cash(contract.buyer_id)}/unserved/{contract.contract_id}",
                    due=product * quantity,
                    floor=refund * quantity,
                ),
                credit,
            )
        )
        if not lost:
            return
        due = int(energy_charge(product, ChipSeconds(lost)))
        suppliers = self.sold.get(contract.pool_id) or {contract.supplier_id: 1}
        names = sorted(suppliers)
        shares = split_largest_remainder(due, [suppliers[name] for name in names], names)
        for name, share in zip(names, shares, strict=True):
            entry = self._entry(
                f"derate/{self._key(contract.contract_id)}/{name}",
                accounts.cash(name),
                TransferCode.DERATE,
                contract.contract_id,
            )
            payer = Payer(key=f"derate/{contract.contract_id}/{name}", amount=share, quantity=lost)
            pot.payers.append((payer, _paying(entry)))

    def _failure(
        self,
        contract: Contract,
        hour: ContractHour,
        pool_id: str,
        cell: Interval,
        quantity: int,
    ) -> None:
        """A supplier pays min(max(pi_c, pi_s), D) for what it failed (R5).

        pi_s is that of the pool in which it was replaced.
        """
        price = self.price_at(pool_id, cell)
        limit = terms.stop_loss_price(contract, hour.legs)
        wanted = max(
            terms.supply_price(contract, hour.legs),
            terms.spot_supply_price(self.assignment, contract, price),
        )
        charged = MicroUsdPerChipHour(min(wanted, limit))
        lost = ChipSeconds(quantity)
        amount = int(energy_charge(charged, lost))
        delivery = self.deliveries[contract.contract_id]
        delivery.failed += quantity
        delivery.supply_prices.add(charged)
        delivery.provisional |= price.provisional
        pot = self.pots[pool_id, cell.start]
        pot.failing.add(contract.supplier_id)

        def pay(paid: int) -> None:
            delivery.paid += paid

        pot.payers.append(
            (
                Payer(
                    key=f"failure/{contract.contract_id}",
                    amount=amount,
                    quantity=quantity,
                    room=int(energy_charge(limit, lost)) - amount,
                    withheld=int(energy_charge(wanted, lost)) - amount,
                ),
                pay,
            )
        )

    def _entry(self, name: str, account: str, code: TransferCode, contract_id: str = "") -> Entry:
        entry = self.entries.get(name)
        if entry is None:
            entry = self.entries[name] = Entry(account=account, code=code, contract_id=contract_id)
        return entry

    def _pay(
        self,
        pool_id: str,
        cell: Interval,
        entry: Entry,
        name: str,
        price: MicroUsdPerChipHour,
        quantity: ChipSeconds,
        at: IntervalPrice,
        *,
        limit: int = 0,
    ) -> None:
        amount = int(energy_charge(price, quantity))
        most = int(energy_charge(MicroUsdPerChipHour(max(limit, price)), quantity))
        self._note(entry, price, quantity, at)
        payer = Payer(key=name, amount=amount, quantity=quantity, room=most - amount)
        self.pots[pool_id, cell.start].payers.append((payer, _paying(entry)))

    def _receive(
        self,
        pool_id: str,
        cell: Interval,
        entry: Entry,
        name: str,
        price: MicroUsdPerChipHour,
        quantity: ChipSeconds,
        at: IntervalPrice,
        *,
        floor: int = 0,
        steps_in: bool = False,
        refund: bool = False,
    ) -> None:
        due = max(floor, price * quantity)
        self._note(entry, price, quantity, at)
        receiver = Receiver(
            key=f"{entry.account}/{name}",
            due=due,
            floor=due if refund else floor,
            steps_in=steps_in,
        )
        self.pots[pool_id, cell.start].receivers.append((receiver, _receiving(entry)))

    @staticmethod
    def _note(
        entry: Entry, price: MicroUsdPerChipHour, quantity: ChipSeconds, at: IntervalPrice
    ) -> None:
        entry.quantity += quantity
        entry.prices.add(price)
        entry.provisional |= at.provisional

    def _key(self, contract_id: str) -> str:
        return f"{contract_id}/{self.interval.start}"


def reason_of(entry: Entry) -> str:
    """Reason code of an entry: a provisional price is told, so that it is found again."""
    return reasons.SPOT_PRICE_PROVISIONAL if entry.provisional else ""


def _paying(entry: Entry) -> Callable[[int], None]:
    def sink(amount: int) -> None:
        entry.amount -= amount

    return sink


def _receiving(entry: Entry) -> Callable[[int], None]:
    def sink(amount: int) -> None:
        entry.amount += amount

    return sink
