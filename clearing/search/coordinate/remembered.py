"""Multipliers that one auction of a session leaves to the next."""

from __future__ import annotations

import numpy as np

from clearing.market import Market
from clearing.memory import Memory
from clearing.program import Floats
from clearing.search.coordinate.problem import Problem
from clearing.types import AuctionSpec


def keep(memory: Memory, market: Market, spec: AuctionSpec, problem: Problem, x: Floats) -> None:
    """Keep a minimiser for the next auction."""
    memory.keep(market.grid, spec.intervals, *_by_subject(problem, x))


def _by_subject(problem: Problem, x: Floats) -> tuple[Floats, Floats]:
    """Multipliers of pools (three kinds) and of sites with a power limit, by interval."""
    places = problem.places
    return (
        x[: places.at_slot].reshape(3, places.pools, places.intervals),
        x[places.at_power : places.at_work].reshape(-1, places.intervals),
    )


def recalled(memory: Memory, market: Market, spec: AuctionSpec, problem: Problem) -> Floats | None:
    """Multipliers to begin with, where the memory has them."""
    found = memory.recall(market.grid, spec.intervals)
    if found is None:
        return None
    places = problem.places
    x = np.zeros(places.size)
    x[: places.at_slot], x[places.at_power : places.at_work] = (part.ravel() for part in found)
    x = np.maximum(places.floor, x)
    x[~places.open] = 0.0
    return x
