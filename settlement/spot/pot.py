"""One spot pot: who pays, who receives, and where missing money is found (SETTLEMENT R6).

A pot is what moved in one pool and metering interval. Payers' legs are rounded once each
and receivers share what came in by largest remainder (R1). What floors and stop-loss leave
missing is found in this order:

1. the causes, by chip-seconds, each inside its limit;
2. premiums above contract price, pro rata, at most by what the stop-loss withheld;
3. ``pool``;
4. other suppliers' earnings of that hour and class, pro rata;
5. the rest of the premiums;
6. what stepped in, pro rata;
7. the failing suppliers' other earnings of that hour and class: a refund goes before them;
8. the refunds themselves, so that an hour without any money left is settled all the same.

A surplus goes to ``pool``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from clearing.errors import InvariantError
from clearing.units import SECONDS_PER_HOUR, divide_half_even
from settlement.postings.failure import split_capped


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Who pays into the pot.

    Attributes:
        key: ``failure/..``, ``recall/..``, ``spike/..`` or another kind; unique, orders ties.
        amount: Its leg, micro-USD >= 0.
        quantity: Chip-seconds: its weight as a cause.
        room: Micro-USD that it may be asked for besides; 0 for who caused nothing.
        withheld: Micro-USD that the stop-loss kept from its leg.
    """

    key: str
    amount: int
    quantity: int
    room: int = 0
    withheld: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Who receives from the pot.

    Attributes:
        key: Unique; orders ties. Begins with the account, so that ties go by account.
        due: Micro-USD per chip-hour times chip-seconds, >= 0: exact.
        floor: Part of ``due`` that is a refund and never a premium.
        steps_in: Whether it earns rather than being refunded.
    """

    key: str
    due: int
    floor: int
    steps_in: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Emptied:
    """A pot that was emptied.

    Attributes:
        paid: By payer, in their order.
        received: By receiver, in their order.
        to_pool: Surplus to ``pool``; what it gives when negative.
        from_suppliers: What other suppliers give up, by participant.
        short: What refunds lack after every step; 0 with uniform prices.
    """

    paid: tuple[int, ...]
    received: tuple[int, ...]
    to_pool: int
    from_suppliers: dict[str, int]
    short: int


def empty_pot(
    payers: Sequence[Payer],
    receivers: Sequence[Receiver],
    *,
    pool_balance: int,
    earnings: Mapping[str, int],
    failing: Collection[str] = frozenset(),
) -> Emptied:
    """Settle one pot.

    Args:
        payers: Any order; equal remainders go by key.
        receivers: Any order.
        pool_balance: What ``pool`` can give, >= 0.
        earnings: What suppliers earned in that hour and class and have not given up yet, by
            participant.
        failing: Participants that failed here: the last to be asked beyond their stop-loss.
    """
    dues = [item.due for item in receivers]
    paid = [item.amount for item in payers]
    missing = divide_half_even(sum(dues), SECONDS_PER_HOUR) - sum(paid)
    added = split_capped(
        max(0, missing),
        [item.quantity for item in payers],
        [item.room for item in payers],
        [item.key for item in payers],
    )
    paid = [amount + more for amount, more in zip(paid, added, strict=True)]
    missing -= sum(added)
    keys = [item.key for item in receivers]
    premiums = [
        0 if item.steps_in else max(0, item.due - item.floor) // SECONDS_PER_HOUR
        for item in receivers
    ]
    first = min(max(0, missing), sum(item.withheld for item in payers))
    missing -= _cut(dues, premiums, keys, first)
    from_pool = min(max(0, missing), pool_balance)
    missing -= from_pool
    shares = _from_earnings(
        max(0, missing), {n: amount for n, amount in earnings.items() if n not in failing}
    )
    missing -= sum(shares.values())
    missing -= _cut(dues, premiums, keys, max(0, missing))
    missing -= _cut_kind(dues, receivers, max(0, missing), steps_in=True)
    last = _from_earnings(
        max(0, missing), {n: amount for n, amount in earnings.items() if n in failing}
    )
    missing -= sum(last.values())
    shares |= last
    short = max(0, missing)
    missing -= _cut_kind(dues, receivers, short, steps_in=False)
    if missing > 0:
        raise InvariantError(f"a pot of {keys} lacks {missing}")
    total = sum(paid) + from_pool + sum(shares.values())
    received, residual = _share(dues, keys, total)
    return Emptied(
        paid=tuple(paid),
        received=tuple(received),
        to_pool=residual - from_pool,
        from_suppliers=shares,
        short=short,
    )


def _from_earnings(amount: int, earnings: Mapping[str, int]) -> dict[str, int]:
    """Pro rata to what suppliers earned, nobody more than that."""
    names = sorted(name for name in earnings if earnings[name] > 0)
    caps = [earnings[name] for name in names]
    shares = split_capped(amount, caps, caps, names)
    return {name: share for name, share in zip(names, shares, strict=True) if share}


def _cut_kind(
    dues: list[int], receivers: Sequence[Receiver], amount: int, *, steps_in: bool
) -> int:
    """Take micro-USD off what is left of the dues of one kind, pro rata."""
    rest = [
        -(-due // SECONDS_PER_HOUR) if item.steps_in is steps_in else 0
        for item, due in zip(receivers, dues, strict=True)
    ]
    return _cut(dues, rest, [item.key for item in receivers], amount)


def _cut(dues: list[int], caps: list[int], keys: list[str], amount: int) -> int:
    """Take micro-USD off dues and their caps, pro rata; returns what was taken."""
    cuts = split_capped(amount, caps, caps, keys)
    for index, cut in enumerate(cuts):
        dues[index] = max(0, dues[index] - cut * SECONDS_PER_HOUR)
        caps[index] -= cut
    return sum(cuts)


def _share(dues: Sequence[int], keys: Sequence[str], total: int) -> tuple[list[int], int]:
    """Empty ``total`` over exact dues and what is left of it, by largest remainder (R1).

    Ties go by key; the residual counts as account ``pool``.
    """
    parts = [due // SECONDS_PER_HOUR for due in dues]
    rests = [due % SECONDS_PER_HOUR for due in dues]
    residual_due = total * SECONDS_PER_HOUR - sum(dues)
    residual = residual_due // SECONDS_PER_HOUR if residual_due > 0 else 0
    spread = total - sum(parts) - residual
    order = sorted(
        [(-rest, key, index) for index, (rest, key) in enumerate(zip(rests, keys, strict=True))]
        + ([(-(residual_due % SECONDS_PER_HOUR), "pool", -1)] if residual_due > 0 else [])
    )
    for _, _, index in order[: max(0, spread)]:
        if index < 0:
            residual += 1
        else:
            parts[index] += 1
    # Cuts end at zero, so that a fraction of a due may be left of which nothing came in.
    for _, _, index in reversed(order):
        if spread < 0 <= index and parts[index] > 0:
            parts[index] -= 1
            spread += 1
    if sum(parts) + residual != total:
        raise InvariantError(f"{total} is shared as {sum(parts)} and {residual}")
    return parts, residual
