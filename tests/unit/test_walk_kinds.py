"""The walk spares its checks the frequent commands: none that a check looks at may be among them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from iso_exchange.audit import allocation, credits, money, results, seal, succession, walk

CHECKS: tuple[tuple[Callable[..., object], frozenset[type]], ...] = (
    (results.ResultAudit.before, walk.UNJUDGED),
    (money.MoneyAudit.before, walk.UNJUDGED),
    (allocation.AllocationAudit.before, walk.UNJUDGED),
    (credits.CreditAudit.before, walk.UNJUDGED),
    (results.ResultAudit.after, walk.UNKEPT),
    (succession.Succession.see, walk.UNNOTED),
    (seal.Seal.see, walk.UNNOTED),
)


@pytest.mark.parametrize(("check", "spared"), CHECKS, ids=lambda item: str(item)[:60])
def test_nothing_that_a_check_looks_at_is_spared(
    check: Callable[..., object], spared: frozenset[type]
) -> None:
    looked_at = set(re.findall(r"isinstance\(command, (\w+)\)", inspect.getsource(check)))
    looked_at |= set(re.findall(r"case (\w+)\(", inspect.getsource(check)))
    assert looked_at
    assert not looked_at & {kind.__name__ for kind in spared}
