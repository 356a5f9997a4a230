"""Sorted price-quantity lists: surplus at a price, exact or averaged over a band of prices.

A list of supply steps has the surplus ``sum q max(y - c, 0)`` at price ``y``. Demand is the same
list
with the sign of its limits turned, evaluated at ``-y``. The smoothed surplus is the mean of the
exact one over
``[y - h, y + h]``: convex, with a continuous slope, never below the exact one.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from clearing.market import Integers
from clearing.program import Floats
from clearing.search.coordinate.compiled import compiled, inner

TAIL: Final = 25.0
"""Steps farther from the price than so many temperatures are full or empty."""


class Curves(NamedTuple):
    """Lists of steps, each sorted by price.

    Attributes:
        start: Ragged starts.  # (lists + 1,)
        price, chips: Per step.
        amount, money: Chips and chips times price of the steps before, one more entry per list:
            list ``i`` has its own at ``start[i] + i``.
    """

    start: Integers
    price: Floats
    chips: Floats
    amount: Floats
    money: Floats


def sort_curves(lists: int, row: Integers, price: Floats, chips: Floats) -> Curves:
    """Curves of steps given in any order; ``row`` names the list of each."""
    order = np.lexsort((price, row))
    start = np.zeros(lists + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=lists), out=start[1:])
    curves = Curves(
        start=start,
        price=price[order],
        chips=chips[order],
        amount=np.zeros(row.size + lists),
        money=np.zeros(row.size + lists),
    )
    _add_up(curves)
    return curves


@compiled
def _add_up(curves: Curves) -> None:
    for row in range(curves.start.size - 1):
        amount = 0.0
        money = 0.0
        for step in range(curves.start[row], curves.start[row + 1]):
            amount += curves.chips[step]
            money += curves.chips[step] * curves.price[step]
            curves.amount[step + row + 1] = amount
            curves.money[step + row + 1] = money


@inner
def steps_below(curves: Curves, row: int, price: float) -> int:
    """First step of a list whose price is above ``price``."""
    low = curves.start[row]
    high = curves.start[row + 1]
    while low < high:
        middle = (low + high) // 2
        if curves.price[middle] <= price:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def surplus_at(curves: Curves, row: int, price: float) -> float:
    """Exact surplus of a list at a price."""
    at = steps_below(curves, row, price) + row
    return price * curves.amount[at] - curves.money[at]


@inner
def smooth_surplus(
    curves: Curves, row: int, price: float, soft: float
) -> tuple[float, float, float]:
    """Surplus with every step's own softened over ``soft``, its first and second derivative."""
    reach = TAIL * soft
    step = steps_below(curves, row, price - reach)
    quantity = curves.amount[step + row]
    value = price * quantity - curves.money[step + row]
    slope = 0.0
    stop = curves.start[row + 1]
    while step < stop:
        over = price - curves.price[step]
        if over < -reach:
            break
        chips = curves.chips[step]
        grown = math.exp(-abs(over) / soft)
        part = 1.0 / (1.0 + grown)
        value += chips * (max(0.0, over) + soft * math.log(1.0 + grown))
        slope += chips * part * (1.0 - part) / soft
        quantity += chips * part if over > 0.0 else chips * (1.0 - part)
        step += 1
    return value, quantity, slope
