"""The laws of SETTLEMENT D as named checks over what was settled.

They recompute from contracts, readings and transfers, and share with the postings only
the prices that the rules define (``settlement.postings.terms``). Used by the tests, the
sequencer's self-check and the auditor. Numbers in the names are those of SETTLEMENT D.
Corrections count with what they correct: the laws hold of original and corrections together,
which is law 11 where the readings given are the latest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from clearing.types import Interval
from clearing.units import (
    SECONDS_PER_HOUR,
    ChipSeconds,
    MicroUsdPerChipHour,
    divide_up,
    energy_charge,
)
from settlement.assignment import Assignment, MakeWholePlan
from settlement.errors import SettlementError
from settlement.ledger import accounts
from settlement.metering.billable import MeteredHour
from settlement.postings import reasons, terms
from settlement.postings.auction_layer import standby_transfer_id
from settlement.postings.correction import movements
from settlement.postings.hour import contract_hours
from settlement.postings.make_whole import earned_make_whole, unpaid_for
from settlement.postings.spot_posting import spot_contracts_of
from settlement.spot.result import SpotResult, check_result, within
from settlement.statements import Moved
from settlement.types import (
    USD,
    Contract,
    ContractHour,
    DeliveredHour,
    Phase,
    Postings,
    Transfer,
    TransferCode,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one check.

    Attributes:
        name: ``<number>_<law>``, stable.
        detail: First contradiction found, empty when ok.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What is known of one auction's settlement.

    Attributes:
        closed: Delivery intervals whose hour postings were applied.
        metered: The metered hours they were made from.
        limits: Highest all-in limit per chip-hour by order (``highest_limits``); orders
            left out are not checked against a limit.
        families: First order of its family by order (``linked_families``): their bills are
            judged together. An order that is left out stands for itself.
        results: Spot results of the auction.
        corrected: Hours that were corrected: first postings, and those worked out again from
            the latest readings.
    """

    assignment: Assignment
    closed: tuple[Interval, ...]
    metered: tuple[MeteredHour, ...]
    limits: Mapping[str, MicroUsdPerChipHour]
    families: Mapping[str, str] = field(default_factory=dict)
    results: tuple[SpotResult, ...] = ()
    corrected: tuple[tuple[Postings, Postings], ...] = ()


def check_all(settled: Sequence[Settled], applied: Iterable[Moved]) -> tuple[Finding, ...]:
    """Run every check.

    Args:
        settled: All auctions whose postings are among the transfers.
        applied: All transfers of the ledger, in order.

    Returns:
        One finding per law, in the order of ``CHECKS``.
    """
    view = _view(settled, applied)
    findings = []
    for name, check in CHECKS:
        detail = next(iter(check(view)), "")
        findings.append(Finding(name=name, ok=not detail, detail=detail))
    return tuple(findings)


@dataclass(slots=True, kw_only=True)
class _View:
    """Indexes over the transfers.

    Attributes:
        inside: Of ``moved``, all but US dollars from the bank to a participant: they touch no
            account that a law below is about.
        by_hour: Micro-USD (or TFLOP) moved by (contract, hour start, code).
        amounts: Micro-USD (or TFLOP) moved by transfer_id.
        corrected: What corrections add to a transfer, by transfer_id.
    """

    settled: Sequence[Settled]
    moved: list[Moved]
    inside: list[Moved] = field(default_factory=list)
    balances: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    by_hour: dict[tuple[str, int, TransferCode], int] = field(
        default_factory=lambda: defaultdict(int)
    )
    corrected: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    amounts: dict[str, int] = field(default_factory=dict)
    holds: dict[str, Transfer] = field(default_factory=dict)
    resolved: dict[str, list[Moved]] = field(default_factory=lambda: defaultdict(list))

    def hours(self) -> Iterator[tuple[Settled, Contract, ContractHour, DeliveredHour]]:
        """Contract-hours of closed intervals with their readings."""
        for item in self.settled:
            read = {(m.delivered.contract_id, m.delivered.interval.start): m for m in item.metered}
            for interval in item.closed:
                for contract, hour in contract_hours(item.assignment, interval):
                    found = read.get((contract.contract_id, interval.start))
                    if found is not None:
                        yield item, contract, hour, found.delivered

    def spot_hours(self) -> Iterator[tuple[Settled, Contract, Interval, DeliveredHour]]:
        """Contracts of spot in closed intervals, with their readings."""
        for item in self.settled:
            read = {(m.delivered.contract_id, m.delivered.interval.start): m for m in item.metered}
            for interval in item.closed:
                for contract in spot_contracts_of(within(item.results, interval)):
                    found = read.get((contract.contract_id, interval.start))
                    if found is not None:
                        yield item, contract, interval, found.delivered

    def of(self, contract: Contract, hour: ContractHour | Interval, *codes: TransferCode) -> int:
        """Amount moved for a contract-hour under some codes."""
        start = hour.start if isinstance(hour, Interval) else hour.interval.start
        return sum(self.by_hour.get((contract.contract_id, start, code), 0) for code in codes)


def _view(settled: Sequence[Settled], applied: Iterable[Moved]) -> _View:
    view = _View(settled=settled, moved=list(applied))
    for item in view.moved:
        transfer = item.transfer
        if (
            transfer.debit != accounts.BANK
            or transfer.asset != USD
            or not transfer.credit.startswith("p:")
        ):
            view.inside.append(item)
        if transfer.phase is Phase.PENDING:
            view.holds[transfer.transfer_id] = transfer
            continue
        if transfer.pending_id:
            view.resolved[transfer.pending_id].append(item)
        view.balances[transfer.asset, transfer.debit] -= item.applied
        view.balances[transfer.asset, transfer.credit] += item.applied
        if item.applied:
            view.amounts[transfer.transfer_id] = item.applied
            key = (transfer.contract_id, transfer.interval_start, transfer.code)
            sign = -1 if transfer.reason == reasons.CORRECTION_REVERSAL else 1
            view.by_hour[key] += sign * item.applied
            if transfer.corrects:
                view.corrected[transfer.corrects] += sign * item.applied
    return view


def _assets_sum_to_zero(view: _View) -> Iterator[str]:
    """Every asset sums to zero, and a resolution stays in its hold's asset and accounts."""
    totals: dict[str, int] = defaultdict(int)
    for (asset, _), amount in view.balances.items():
        totals[asset] += amount
    yield from (f"{asset} sums to {total}" for asset, total in totals.items() if total)
    for item in view.moved:
        transfer = item.transfer
        hold = view.holds.get(transfer.pending_id)
        if transfer.debit == transfer.credit or item.applied < 0:
            yield f"{transfer.transfer_id} moves {item.applied} within {transfer.debit}"
        if hold is not None and (hold.asset, hold.debit, hold.credit) != (
            transfer.asset,
            transfer.debit,
            transfer.credit,
        ):
            yield f"{transfer.transfer_id} resolves {hold.transfer_id} elsewhere"


def _pots_are_empty(view: _View) -> Iterator[str]:
    """Pots and covers of closed intervals are zero; ``pool`` was never negative."""
    closed = {
        (item.assignment.auction_id, interval.start)
        for item in view.settled
        for interval in item.closed
    }
    for (asset, account), amount in view.balances.items():
        if amount and accounts.is_pot(account):
            parts = accounts.parse(account).parts
            if (parts[0], int(parts[-1])) in closed:
                yield f"{account} is left with {amount} {asset}"
    pool = 0
    for item in view.inside:
        transfer = item.transfer
        if transfer.phase is not Phase.PENDING and transfer.asset == USD:
            pool += item.applied * (
                (transfer.credit == accounts.POOL) - (transfer.debit == accounts.POOL)
            )
            if pool < 0:
                yield f"{transfer.transfer_id} leaves the pool at {pool}"
                return


def _holds_resolve_once(view: _View) -> Iterator[str]:
    """A hold is posted or voided at most once, within its amount; in closed hours exactly once."""
    for name, items in view.resolved.items():
        hold = view.holds.get(name)
        if hold is None:
            yield f"{items[0].transfer.transfer_id} resolves {name}, which was never held"
        elif len(items) > 1:
            yield f"{name} is resolved {len(items)} times"
        elif not 0 <= items[0].applied <= hold.amount:
            yield f"{name} is posted at {items[0].applied} of {hold.amount}"
    for _, contract, hour, _ in view.hours():
        for make in (terms.leg_hold, terms.surcharge_hold, terms.fee_hold, terms.stop_loss_hold):
            expected = make(contract, hour)
            if expected is None:
                continue
            if view.holds.get(expected.transfer_id) != expected:
                yield f"{expected.transfer_id} is not held as the contract says"
            elif expected.transfer_id not in view.resolved:
                yield f"{expected.transfer_id} is still open"


def _undelivered_is_refunded(view: _View) -> Iterator[str]:
    """A buyer receives at least its contract price for what was not delivered."""
    for _, contract, hour, read in view.hours():
        price = MicroUsdPerChipHour(max(0, hour.legs.contract))
        least = energy_charge(price, read.failed)
        got = view.of(contract, hour, TransferCode.FAILURE_CREDIT)
        # Rounded once per metering interval.
        if got < least - _cells(hour):
            yield f"{terms.hour_key(contract, hour)} is credited {got}, at least {least} is due"
        least = energy_charge(price, read.reclaimed)
        got = view.of(contract, hour, TransferCode.RECLAIM)
        if got < least - (_cells(hour) if read.reclaimed else 0):
            yield f"{terms.hour_key(contract, hour)} is paid {got} for a reclaim of {least}"
        refund = energy_charge(price, read.gap)
        got = view.of(contract, hour, TransferCode.GAP_REFUND)
        if got != refund:
            yield f"{terms.hour_key(contract, hour)} is refunded {got}, not {refund}"


def _failures_within_limits(view: _View) -> Iterator[str]:
    """A failing supplier pays between pi_c and D per failed chip-second.

    Less only where its site declared a derate: that is bought back by all its suppliers.
    """
    derated: dict[tuple[str, int], int] = defaultdict(int)
    for item in view.settled:
        for interval in item.closed:
            for result in within(item.results, interval):
                for move in result.derates:
                    derated[move.contract_id, interval.start] += move.quantity
    for _, contract, hour, read in view.hours():
        paid = view.of(contract, hour, TransferCode.FAILURE)
        lost = read.failed + sum(part.quantity for part in read.served)
        certain = ChipSeconds(max(0, lost - derated[contract.contract_id, hour.interval.start]))
        least = energy_charge(terms.supply_price(contract, hour.legs), certain)
        most = energy_charge(terms.stop_loss_price(contract, hour.legs), ChipSeconds(lost))
        slack = 2 * _cells(hour) if lost else 0
        if not least - slack <= paid <= most + slack:
            yield f"{terms.hour_key(contract, hour)} pays {paid}, not {least} to {most}"


def _bills_within_limits(view: _View) -> Iterator[str]:
    """A family's bill is at most limit x chip-seconds over its orders, and one micro-USD per leg.

    Over the closed hours of whole orders: the limit of a block holds over its run, not in
    each hour. Linked orders are judged together, as one may make up for another.
    """
    # Bill, price x chip-seconds that the limits allow, tolerance.
    bills: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    still_open = _open_families(view.settled)
    for item, contract, hour, _ in view.hours():
        limit = item.limits.get(contract.order_id)
        key = _family(item, contract.order_id)
        if limit is None or key in still_open:
            continue
        bill = bills[key]
        sign = 1 if terms.leg_amount(hour) >= 0 else -1
        bill[0] += sign * view.of(contract, hour, TransferCode.AUCTION_LEG)
        bill[0] += view.of(contract, hour, TransferCode.SURCHARGE, TransferCode.FEE)
        bill[0] -= view.of(
            contract,
            hour,
            TransferCode.FAILURE_CREDIT,
            TransferCode.GAP_REFUND,
            TransferCode.RECLAIM,
            TransferCode.WITHDRAWAL,
        )
        bill[1] += limit * terms.position(hour)
        bill[2] += 5 + _cells(hour)
    for item in view.settled:
        for held in item.assignment.reserve_hours:
            key = _family(item, held.order_id)
            if key in bills:
                bills[key][0] -= view.amounts.get(standby_transfer_id(held, reserve=True), 0)
        for plan in item.assignment.make_whole:
            own = {
                _family(item, contract.order_id)
                for contract in item.assignment.contracts
                if contract.contract_id in plan.contract_ids
                and accounts.cash(contract.buyer_id) == plan.payee
            }
            for key in sorted(own & bills.keys())[:1]:
                posted, kept = _made_whole(view, item, plan)
                bills[key][0] -= posted + kept
    yield from _purchases_within_limits(view)
    for key, (billed, allowed, tolerance) in bills.items():
        most = divide_up(allowed, SECONDS_PER_HOUR) + tolerance
        if billed > most:
            yield f"{key[1]} is billed {billed}, its limit allows {most}"


def _purchases_within_limits(view: _View) -> Iterator[str]:
    """A spot purchase pays at most its bid, interval by interval."""
    limits: dict[tuple[str, int], int] = defaultdict(int)
    for item in view.settled:
        for interval in item.closed:
            for result in within(item.results, interval):
                for purchase in result.purchases:
                    (hour,) = purchase.contract.hours
                    most = max(purchase.limit, terms.leg_price(hour.legs))
                    limits[purchase.contract.contract_id, interval.start] += max(
                        0, energy_charge(MicroUsdPerChipHour(most), terms.position(hour))
                    )
    for key, most_of_hour in limits.items():
        paid = view.by_hour.get((*key, TransferCode.SPOT_PURCHASE), 0)
        if paid > most_of_hour and not _is_paid_out(view, *key):
            yield f"{key[0]} pays {paid} at spot, its bid allows {most_of_hour}"


def _is_paid_out(view: _View, contract_id: str, start: int) -> bool:
    """Whether a purchase was paid rather than paying: its discount exceeds its price."""
    return any(
        item.transfer.code is TransferCode.SPOT_PURCHASE
        and (item.transfer.contract_id, item.transfer.interval_start) == (contract_id, start)
        and accounts.is_pot(item.transfer.debit)
        for item in view.moved
    )


def _community_and_operator(view: _View) -> Iterator[str]:
    """Communities and operator receive surcharge and fee on delivered chip-seconds, no more."""
    due: dict[str, int] = defaultdict(int)
    elsewhere = {
        (item.assignment.auction_id, move.site_id): move.surcharge
        for item in view.settled
        for result in item.results
        for move in result.replacements
    }
    rows = [(contract, hour.legs, read) for _, contract, hour, read in view.hours()]
    rows += [(c, c.hours[0].legs, read) for _, c, _, read in view.spot_hours()]
    for contract, legs, read in rows:
        away: dict[str, int] = defaultdict(int)
        for part in read.served:
            if part.site_id != contract.site_id:
                away[part.site_id] += part.quantity
        home = ChipSeconds(read.delivered - sum(away.values()))
        due[accounts.community(contract.site_id)] += energy_charge(legs.surcharge, home)
        for site_id, quantity in away.items():
            price = elsewhere[contract.auction_id, site_id]
            due[accounts.community(site_id)] += energy_charge(price, ChipSeconds(quantity))
        due[accounts.OPERATOR_FEE] += energy_charge(legs.fee, read.delivered)
    got: dict[str, int] = defaultdict(int)
    for item in view.inside:
        transfer = item.transfer
        back = transfer.reason == reasons.CORRECTION_REVERSAL
        name = transfer.debit if back else transfer.credit
        if transfer.phase is not Phase.PENDING and (
            name == accounts.OPERATOR_FEE or name.startswith("community:")
        ):
            got[name] += -item.applied if back else item.applied
    for name in sorted(due.keys() | got.keys()):
        if due[name] != got[name]:
            yield f"{name} received {got[name]}, not {due[name]}"


def _positions_add_up(view: _View) -> Iterator[str]:
    """Per contract-interval the parts add up to the position, and every one is metered."""
    seen = set()
    for _, contract, hour, read in view.hours():
        seen.add((contract.contract_id, hour.interval.start))
        parts = (read.delivered, read.failed, read.gap, read.reclaimed, read.withdrawn)
        if sum(parts) != terms.position(hour) or min(parts) < 0:
            yield f"{terms.hour_key(contract, hour)} reads {sum(parts)} of {terms.position(hour)}"
    for _, contract, interval, read in view.spot_hours():
        position = sum(terms.position(hour) for hour in contract.hours)
        if read.delivered + read.failed + read.gap != position:
            yield f"{contract.contract_id}/{interval.start} does not add up to {position}"
    for item in view.settled:
        for interval in item.closed:
            for contract, hour in contract_hours(item.assignment, interval):
                if (contract.contract_id, interval.start) not in seen:
                    yield f"{terms.hour_key(contract, hour)} is closed without a reading"


def _moves_balance(view: _View) -> Iterator[str]:
    """Per pool-interval: nobody is served by chips that nobody gave up."""
    for item in view.settled:
        for result in item.results:
            try:
                check_result(result, item.assignment.contracts)
            except SettlementError as error:
                yield f"{item.assignment.auction_id}/{result.interval.start}: {error}"
        for interval in item.closed:
            reclaimed: dict[str, int] = defaultdict(int)
            for result in within(item.results, interval):
                for move in result.reclaims:
                    reclaimed[move.contract_id] += move.quantity
            for read in item.metered:
                if read.delivered.interval != interval:
                    continue
                said = reclaimed[read.delivered.contract_id]
                if read.delivered.reclaimed != said:
                    yield f"{read.delivered.contract_id}/{interval.start} reclaims not {said}"


def _make_whole_is_earned(view: _View) -> Iterator[str]:
    """Earned make-whole = what its funders posted; self-funded shares move nothing."""
    for item in view.settled:
        read = {
            (m.delivered.contract_id, int(m.delivered.interval.start)): m.delivered.delivered
            for m in item.metered
        }
        for plan in item.assignment.make_whole:
            if plan.last not in item.closed:
                continue
            total = sum(
                read.get((c.contract_id, hour.interval.start), 0)
                for c in item.assignment.contracts
                if c.contract_id in plan.contract_ids
                for hour in c.hours
            )
            unpaid = unpaid_for(item.assignment, plan, read)
            earned = earned_make_whole(plan, ChipSeconds(total), unpaid)
            posted, own = _made_whole(view, item, plan)
            least = earned if not own else max(0, earned - own)
            if not least <= posted <= earned:
                yield f"{plan.family_id} earned {earned} and was paid {posted}"


def _made_whole(view: _View, item: Settled, plan: MakeWholePlan) -> tuple[int, int]:
    """What funders posted of a make-whole payment, and what its payee funds itself."""
    posted = own = 0
    for share in plan.shares:
        hold = terms.make_whole_hold(item.assignment.auction_id, plan, share)
        if hold is None:
            own += share.amount
            continue
        for moved in view.resolved.get(hold.transfer_id, ()):
            posted += moved.applied
            posted += view.corrected.get(moved.transfer.transfer_id, 0)
    return posted, own


def _corrections_add_up(view: _View) -> Iterator[str]:
    """Original + corrections = recomputation, per payer, payee and cause."""
    for item in view.settled:
        for first, document in item.corrected:
            ids = {transfer.transfer_id for transfer in (*first.transfers, *document.transfers)}
            posted = [
                replace(moved.transfer, amount=moved.applied)
                for moved in view.moved
                if moved.transfer.transfer_id in ids
                or moved.transfer.transfer_id.startswith(f"correction/{document.postings_id}/")
            ]
            was = movements((replace(document, transfers=tuple(posted)),))
            now = movements((document,))
            for key in sorted(was.keys() | now.keys()):
                got = was[key].amount if key in was else 0
                due = now[key].amount if key in now else 0
                if got != due:
                    yield f"{document.postings_id} {key.code} {key.debit} {got}, not {due}"


def _cover_out_is_cover_in(view: _View) -> Iterator[str]:
    """Cover accounts pay out what came in: what covered load is charged, and help of ``pool``."""
    flows: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    charged: dict[str, int] = defaultdict(int)
    for item in view.inside:
        transfer = item.transfer
        if transfer.phase is Phase.PENDING:
            continue
        if transfer.credit.startswith("cover:"):
            flows[transfer.credit][0] += item.applied
            if transfer.code is TransferCode.COVER:
                charged[transfer.credit] += item.applied
        if transfer.debit.startswith("cover:"):
            flows[transfer.debit][1] += item.applied
    for name, (paid_in, paid_out) in flows.items():
        if paid_in != paid_out:
            yield f"{name} took in {paid_in} and paid out {paid_out}"
    due: dict[str, int] = defaultdict(int)
    payers: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for _, contract, hour, _ in view.hours():
        pool_id = contract.backup_pool_id or contract.pool_id
        name = accounts.cover(contract.auction_id, pool_id, hour.interval.start)
        due[name] += hour.legs.cover * terms.position(hour)
        payers[name].add((contract.pool_id, contract.backup_pool_id))
    for name, amount in due.items():
        # Rounded once per pool and purpose that pays into the account.
        most = SECONDS_PER_HOUR * len(payers[name])
        if abs(SECONDS_PER_HOUR * charged[name] - amount) * 2 > most:
            yield f"{name} was charged {charged[name]}"


def _compute_once(view: _View) -> Iterator[str]:
    """Each contract-hour's compute is transferred once, from its supplier to its buyer."""
    expected: dict[tuple[str, int], int] = {}
    rows = [(contract, hour.interval.start, read) for _, contract, hour, read in view.hours()]
    rows += [(contract, held.start, read) for _, contract, held, read in view.spot_hours()]
    for contract, start, read in rows:
        others = sum(part.compute for part in read.served)
        own = read.compute - others if contract.supplier_id != contract.buyer_id else 0
        expected[contract.contract_id, int(start)] = own + sum(
            part.compute for part in read.served if part.supplier_id != contract.buyer_id
        )
    got: dict[tuple[str, int], int] = defaultdict(int)
    for item in view.moved:
        transfer = item.transfer
        if transfer.code is not TransferCode.COMPUTE:
            continue
        if not transfer.asset.startswith("TFLOP:"):
            yield f"{transfer.transfer_id} moves {transfer.asset}"
        sign = -1 if transfer.reason == reasons.CORRECTION_REVERSAL else 1
        got[transfer.contract_id, transfer.interval_start] += sign * item.applied
    for key in sorted(expected.keys() | got.keys()):
        if got.get(key, 0) != expected.get(key, 0):
            yield f"{key[0]}/{key[1]} moved {got.get(key, 0)} TFLOP, not {expected.get(key, 0)}"


CHECKS: Final[tuple[tuple[str, Callable[[_View], Iterator[str]]], ...]] = (
    ("1_assets_sum_to_zero", _assets_sum_to_zero),
    ("2_pots_are_empty", _pots_are_empty),
    ("3_holds_resolve_once", _holds_resolve_once),
    ("4_undelivered_is_refunded", _undelivered_is_refunded),
    ("5_failures_within_limits", _failures_within_limits),
    ("6_bills_within_limits", _bills_within_limits),
    ("7_community_and_operator", _community_and_operator),
    ("8_positions_add_up", _positions_add_up),
    ("9_moves_balance", _moves_balance),
    ("10_make_whole_is_earned", _make_whole_is_earned),
    ("11_corrections_add_up", _corrections_add_up),
    ("12_cover_out_is_cover_in", _cover_out_is_cover_in),
    ("13_compute_once", _compute_once),
)


def _open_families(settled: Sequence[Settled]) -> set[tuple[str, str]]:
    """Families with an hour that is not closed yet."""
    found: set[tuple[str, str]] = set()
    for item in settled:
        closed = {interval.start for interval in item.closed}
        for contract in item.assignment.contracts:
            if any(hour.interval.start not in closed for hour in contract.hours):
                found.add(_family(item, contract.order_id))
    return found


def _family(item: Settled, order_id: str) -> tuple[str, str]:
    """Whose bills an order's count with: auction and first order of the family."""
    return item.assignment.auction_id, item.families.get(order_id, order_id)


def _cells(hour: ContractHour) -> int:
    """Metering intervals of an hour: how often a failure may have been rounded."""
    return divide_up(hour.interval.duration_s, 300)
