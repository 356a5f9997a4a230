"""The walk spares its checks the frequent commands, and none that a check looks at."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from iso_exchange.audit import allocation, money, results, seal, succession, walk
from iso_exchange.audit.credits import CreditAudit

CHECKS: tuple[tuple[Callable[..., object], frozenset[type]], ...] = (
    (results.ResultAudit.before, walk.UNJUDGED),
    (money.MoneyAudit.before, walk.UNJUDGED),
    (allocation.AllocationAudit.before, walk.UNJUDGED),
    (CreditAudit.before, walk.UNJUDGED),
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
