"""What a verification answers: named checks, each with the number and the first of its findings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

FINDINGS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One named check.

    Attributes:
        name: Stable, ``SCREAMING_SNAKE_CASE``; part of the public interface.
        ok: Nothing was found.
        count: Number of findings.
        detail: The first findings, for people; empty when there are none.
    """

    name: str
    ok: bool
    count: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Answer of ``verify``.

    Attributes:
        ok: Every check ran and found nothing.
        checks: In the order in which they ran. A document whose shape is wrong is not
            checked further, so a report that is not ok may be shorter.
    """

    ok: bool
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that found something."""
        return tuple(check for check in self.checks if not check.ok)


def check_of(name: str, findings: Iterable[str]) -> Check:
    """Run a check that yields one sentence per finding."""
    shown: list[str] = []
    count = 0
    for finding in findings:
        if count < FINDINGS_SHOWN:
            shown.append(finding)
        count += 1
    return Check(name=name, ok=count == 0, count=count, detail="; ".join(shown))
