"""One seed, one history: clients, clock, network and crashes against a model of every balance.

A failing seed is run again with ``world(seed, steps, folder)``; the same seed gives the same log.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from tests.simulation import model
from tests.simulation.world import check_end, run

STEPS = 2_000


@pytest.mark.parametrize("seed", [1])
def test_a_world_agrees_with_its_models(tmp_path: Path, seed: int) -> None:
    world = run(seed, STEPS, tmp_path)
    assert world.day is not None
    assert world.counts["starts"] > 10, world.counts
    assert world.counts["receipts"] > 200, world.counts
    assert world.counts["receipts repeated"] > 50, world.counts
    assert world.counts["refused: EXPOSURE_ABOVE_COLLATERAL"] > 10, world.counts
    check_end(world)


def test_a_seed_reproduces_its_history(tmp_path: Path) -> None:
    first, second = (run(3, 200, tmp_path / name) for name in ("one", "two"))
    assert first.counts == second.counts
    assert first.memory._state == second.memory._state
    assert run(4, 200, tmp_path / "three").memory._state != first.memory._state


def test_a_wrong_balance_is_found(tmp_path: Path) -> None:
    """The model can say no: a deposit is booked for a micro-dollar more than was meant."""
    accept = model.Model.accept

    def accept_wrongly(self: model.Model, intent: model.Intent) -> None:
        accept(self, intent)
        self.deposits["lab-1"] += 1

    with patch.object(model.Model, "accept", accept_wrongly), pytest.raises(AssertionError):
        run(5, 200, tmp_path)
