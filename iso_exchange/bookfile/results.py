"""An outcome as flat tables, for people and for programs that do not know its document.

They say nothing that ``outcome.json`` does not; the verifier reads that one and checks that these
agree with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from clearing.codec import texts
from clearing.outcome import Award, Fill, Outcome, Reason, Side
from clearing.types import Cover, ServiceClass
from iso_exchange.bookfile.columns import (
    NAMED,
    TEXT,
    TEXTS,
    TRUTH,
    WHOLE,
    WIDE,
    Column,
    write_table,
)

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One table: its columns and its rows."""

    columns: tuple[Column, ...]
    rows: Rows

    def arrow(self) -> pa.Table:
        """As an Arrow table."""
        return write_table(self.columns, self._values())

    def lines(self) -> Iterator[str]:
        """As JSON Lines; integers beyond 2**53 - 1 are text."""
        names = ",".join(f'"{column.name}":%s' for column in self.columns)
        template = f"{{{names}}}"
        written = [texts(column) for column in self._values()]
        return map(template.__mod__, zip(*written, strict=True))

    def _values(self) -> list[Sequence[Any]]:
        return list(zip(*self.rows, strict=True)) or [()] * len(self.columns)


def _names(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, NAMED) for name in names)


def _wholes(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, WHOLE) for name in names)


_ORDER: Final = Column("order_id", TEXT)
_PRICES: Final = (
    "energy",
    "power",
    "node_cover",
    "spare",
    "site_spare",
    "availability",
    "recall_discount",
    "surcharge",
    "fee",
    "firm",
    "firm_uncovered",
    "interruptible",
    "interruptible_uncounted",
    "low",
    "high",
)
_ANSWER: Final = (
    _ORDER,
    *_names("participant_id"),
    Column("fill", NAMED, enum=Fill),
    Column("reason", NAMED, enum=Reason),
    Column("surplus", WIDE),
    *_wholes("shortfall"),
    Column("foregone", WIDE),
    Column("detail", TEXT),
)

COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "prices": (
        *_names("pool_id"),
        *_wholes("interval", *_PRICES),
        Column("indicative", TRUTH),
    ),
    "backup_prices": (*_names("site_id", "pool_id"), *_wholes("interval", "price")),
    "awards": (
        _ORDER,
        *_names("participant_id"),
        Column("side", NAMED, enum=Side),
        *_names("pool_id"),
        Column("service_class", NAMED, enum=ServiceClass),
        Column("cover", NAMED, enum=Cover),
        *_wholes("interval", "chips", "reserve", "site_reserve"),
    ),
    "backups": (_ORDER, *_names("pool_id", "backup_pool_id"), *_wholes("interval", "chips")),
    "orders": _ANSWER,
    "make_whole": (*_wholes("payment"), Column("order_ids", TEXTS), Column("amount", WIDE)),
    "make_whole_funding": (*_wholes("payment"), Column("source", TEXT), Column("amount", WIDE)),
    "runs": (_ORDER, *_wholes("first", "stop")),
    "flows": (Column("link_id", TEXT), *_wholes("interval", "chips")),
    "duals": (
        *_names("row", "subject", "lost_site", "order_id"),
        *_wholes("interval"),
        Column("value", WIDE),
    ),
}
"""Columns of each table, in their order."""


def sheets(outcome: Outcome) -> dict[str, Sheet]:
    """Every table of an outcome."""
    plain = {
        "prices": outcome.prices,
        "backup_prices": outcome.backup_prices,
        "orders": outcome.orders,
        "runs": outcome.runs,
        "duals": outcome.certificate.duals,
    }
    rows: dict[str, Rows] = {
        name: [tuple(getattr(item, column.name) for column in COLUMNS[name]) for item in items]
        for name, items in plain.items()
    }
    rows["awards"] = [row for award in outcome.awards for row in _award_rows(award)]
    rows["backups"] = [
        (award.order_id, award.pool_id, backup.pool_id, award.first + offset, chips)
        for award in outcome.awards
        for backup in award.backups
        for offset, chips in enumerate(backup.chips)
    ]
    payments = list(enumerate(outcome.make_whole))
    rows["make_whole"] = [(number, paid.order_ids, paid.amount) for number, paid in payments]
    rows["make_whole_funding"] = [
        (number, share.source, share.amount) for number, paid in payments for share in paid.funding
    ]
    rows["flows"] = [
        (flow.link_id, interval, chips)
        for flow in outcome.flows
        for interval, chips in enumerate(flow.chips)
    ]
    return {name: Sheet(columns=COLUMNS[name], rows=rows[name]) for name in COLUMNS}


def _award_rows(award: Award) -> Iterator[tuple[Any, ...]]:
    terms = (
        award.order_id,
        award.participant_id,
        award.side,
        award.pool_id,
        award.service_class,
        award.cover,
    )
    idle = award.site_reserve or (0,) * len(award.chips)
    for offset, held in enumerate(zip(award.chips, award.reserve, idle, strict=True)):
        yield (*terms, award.first + offset, *held)
