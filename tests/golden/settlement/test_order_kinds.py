"""Worked examples of every order kind, cleared and then settled in full: cash to the micro-USD."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clearing.auction import clear
from clearing.types import Book
from settlement.ledger import accounts
from settlement.ledger.accounts import AccountKind
from settlement.limits import highest_limits, linked_families
from tests.golden.clearing import examples
from tests.golden.clearing.books import SEED, usd
from tests.unit.settlement.builders import World
from tests.unit.settlement.outcomes import assigned


def settled(given: Book) -> World:
    """Cleared by the engine, delivered in full, every hour closed."""
    world = World(assigned(given, clear(given, SEED)), linked_families(given))
    for held in given.spec.intervals:
        world.close(held=held)
    limits = {name: int(limit) for name, limit in highest_limits(given).items()}
    assert world.broken(limits) == []
    assert world.books.open_holds() == ()
    return world


def cash(world: World) -> dict[str, int]:
    """Micro-USD of every participant that paid or received anything."""
    parsed = ((accounts.parse(item.account), item) for item in world.books.balances())
    return {
        account.parts[0].removeprefix("of "): item.posted
        for account, item in parsed
        if account.kind is AccountKind.CASH and item.asset == "USD" and item.posted
    }


CASES: list[tuple[Callable[[], Book], dict[str, str]]] = [
    # Start-up of 4 at a price that equals the marginal cost: those who gain pay it back.
    (
        examples.start_up,
        {"b1": "-26.526316", "b2": "-9.631579", "S1": "23.157895", "S2": "13"},
    ),
    # Base load whose backup forces a start pays for it.
    (examples.base_starts_supply, {"n": "-10", "S": "10"}),
    # Parent and child at 3: the parent loses 2, the child gains 12, nobody pays them.
    (examples.linked, {"lab": "-48", "S": "48"}),
    (examples.growing_lab, {"lab": "-48000", "S": "48000"}),
    # Four chips of the other class at 5; the rest of the market at 2.
    (examples.one_class_or_the_other, {"lab": "-20", "SB": "20", "c": "-12", "SA": "12"}),
    # Four chips in hours 1 and 2 at 2 and 3; two in hour 0 at 4.
    (examples.shiftable, {"g": "-20", "b": "-8", "S": "28"}),
    # Four chip-hours at 1, two at 2.
    (examples.work_by_deadline, {"w": "-8", "S": "8"}),
    # Two hours at 2 and 1, and the loss of 10 from the one order that gains.
    (examples.shortest_run, {"b": "-18", "c": "-3", "G": "21"}),
    # A supply block: five chips at 3, then five at nothing, two of which nobody takes.
    (examples.supply_block, {"b": "-15", "S": "15"}),
    # Six chips at 1 with a backup at 2; two sold beside the six that stand by.
    (examples.gang_with_backup, {"g": "-18", "b": "-8", "SC": "6", "SA": "20"}),
    (examples.site_loss, {"F": "-48", "I": "-9", "J": "-12", "SA": "30", "SB": "39"}),
    (examples.cover_shortage, {"n": "-24", "I": "-5", "SB": "29"}),
]


@pytest.mark.parametrize(("make", "expected"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_cash_of_a_worked_example(make: Callable[[], Book], expected: dict[str, str]) -> None:
    assert cash(settled(make())) == {name: usd(amount) for name, amount in expected.items()}


def test_a_profile_is_delivered_and_paid_in_its_own_hours() -> None:
    given = examples.profile()
    found = clear(given, SEED)
    world = settled(given)
    hours = [
        (given.spec.intervals.index(hour.interval), hour.chips)
        for item in world.assignment.contracts
        if item.order_id == "g"
        for hour in item.hours
    ]
    assert hours == [(0, 2), (2, 4)]
    last = next(price.energy for price in found.prices if price.interval == 2)
    assert cash(world)["g"] == -(2 * usd("3") + 4 * last)
    assert cash(world)["b"] == -usd("18")
