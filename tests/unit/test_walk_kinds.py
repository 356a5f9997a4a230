"""The walk calls a check only for the commands it says that it looks at: it must say them all."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from iso_exchange.audit import money, results, seal, succession

CHECKS: tuple[tuple[Callable[..., object], object], ...] = (
    (results.ResultAudit.before, results.JUDGED),
    (results.ResultAudit.after, results.KEPT),
    (money.MoneyAudit.before, money.BOOKED),
    (succession.Succession.see, succession.SUCCEEDING),
)


@pytest.mark.parametrize(("check", "kinds"), CHECKS, ids=lambda item: getattr(item, "__name__", ""))
def test_every_command_that_a_check_looks_at_reaches_it(
    check: Callable[..., object], kinds: tuple[type, ...]
) -> None:
    looked_at = set(re.findall(r"isinstance\(command, (\w+)\)", inspect.getsource(check)))
    assert looked_at
    assert looked_at == {kind.__name__ for kind in kinds}


def test_the_seal_sees_what_it_takes_note_of() -> None:
    source = inspect.getsource(seal.Seal)
    looked_at = set(re.findall(r"isinstance\(command, (\w+)\)", source))
    assert looked_at == {kind.__name__ for kind in seal.SEALING}
