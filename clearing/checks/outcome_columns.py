"""An outcome as columns: every field read once, before anything is judged.

No name has to resolve (an unknown one becomes -1) and no length has to fit, so an outcome
of any content can be put into columns; ``clearing.checks.shape`` judges them, and
everything else builds on what it let pass. The type of each field is taken for granted:
``clearing.codec`` decodes nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.checks.book_columns import BookColumns
from clearing.checks.exact import Bools, Ints, column
from clearing.checks.reading import attribute, identities, joined, truths
from clearing.outcome import Award, Outcome, RowDual

PRICE_PARTS: Final = (
    "energy",
    "power",
    "node_cover",
    "spare",
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
    "site_spare",
)

ROWS: Final = (
    "BALANCE",
    "NODE_COVER",
    "PACKING",
    "RECALLABLE",
    "RECLAIMABLE",
    "SITE_COVER",
    "SITE_POWER",
    "WHOLE_COVER",
)
"""Rows that a dual may name, sorted as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardColumns:
    """Awards; chips, reserves and backups as they stand, end to end.

    Attributes:
        order: Number of the order, -1 for an unknown one; ``pool`` likewise.
        side, service_class, cover: Identities of the members.
        lengths: Entries of ``chips``; the others of their columns.
        backup_award: Award of each backup; ``backup_lengths`` entries of each.
    """

    order: Ints
    pool: Ints
    participants: list[str]
    side: Ints
    service_class: Ints
    cover: Ints
    first: Ints
    lengths: Ints
    chips: Ints
    reserve_lengths: Ints
    reserve: Ints
    site_lengths: Ints
    site_reserve: Ints
    backup_award: Ints
    backup_pool: Ints
    backup_lengths: Ints
    backup_chips: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceColumns:
    """Prices: ``parts`` holds each of ``PRICE_PARTS``, one entry per price."""

    pool: Ints
    interval: Ints
    parts: dict[str, Ints]
    indicative: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerColumns:
    """Answers to orders; ``fill`` and ``reason`` are identities of members.

    Attributes:
        order: Number of the order, -1 for an unknown one.
    """

    ids: list[str]
    order: Ints
    participants: list[str]
    fill: Ints
    reason: Ints
    surplus: Ints
    shortfall: Ints
    foregone: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class DualColumns:
    """Duals of one leaf, or of the root.

    Attributes:
        row: Position in ``ROWS``, -1 for an unknown one.
        subject: Pool, or site for SITE_POWER; -1 for an unknown one.
        lost: Lost site of SITE_COVER; -1 for none, -2 for an unknown one.
        order: Number of the order of PACKING; likewise.
    """

    row: Ints
    subject: Ints
    lost: Ints
    order: Ints
    interval: Ints
    value: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPriceColumns:
    """Prices of backups; -1 for an unknown site or pool."""

    site: Ints
    pool: Ints
    interval: Ints
    price: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeColumns:
    """An outcome in columns.

    Attributes:
        run_order: Number of the order, -1 for an unknown one.
        flow_link: Position of the link, -1 for an unknown one.
        duals: Of the certificate, and then of each leaf.
    """

    outcome: Outcome
    awards: AwardColumns
    prices: PriceColumns
    answers: AnswerColumns
    backup_prices: BackupPriceColumns
    run_order: Ints
    run_first: Ints
    run_stop: Ints
    flow_link: Ints
    flow_lengths: Ints
    flow_chips: Ints
    duals: list[DualColumns]


def read_outcome(columns: BookColumns, outcome: Outcome) -> OutcomeColumns:
    """Put an outcome into columns, in the numbers of its book."""
    grid = columns.grid
    links = {name: at for at, name in enumerate(columns.links.link_ids)}
    runs, flows = outcome.runs, outcome.flows
    leaves = outcome.certificate.leaves
    flow_chips, flow_lengths = joined(flows, "chips")
    return OutcomeColumns(
        outcome=outcome,
        awards=_awards(columns, outcome.awards),
        prices=PriceColumns(
            pool=column([grid.pools.get(price.pool_id, -1) for price in outcome.prices]),
            interval=attribute(outcome.prices, "interval"),
            parts={name: attribute(outcome.prices, name) for name in PRICE_PARTS},
            indicative=truths(outcome.prices, "indicative"),
        ),
        answers=AnswerColumns(
            ids=[answer.order_id for answer in outcome.orders],
            order=column([columns.index.get(answer.order_id, -1) for answer in outcome.orders]),
            participants=[answer.participant_id for answer in outcome.orders],
            fill=identities(outcome.orders, "fill"),
            reason=identities(outcome.orders, "reason"),
            surplus=attribute(outcome.orders, "surplus"),
            shortfall=attribute(outcome.orders, "shortfall"),
            foregone=attribute(outcome.orders, "foregone"),
        ),
        backup_prices=BackupPriceColumns(
            site=column([grid.sites.get(price.site_id, -1) for price in outcome.backup_prices]),
            pool=column([grid.pools.get(price.pool_id, -1) for price in outcome.backup_prices]),
            interval=attribute(outcome.backup_prices, "interval"),
            price=attribute(outcome.backup_prices, "price"),
        ),
        run_order=column([columns.index.get(run.order_id, -1) for run in runs]),
        run_first=attribute(runs, "first"),
        run_stop=attribute(runs, "stop"),
        flow_link=column([links.get(flow.link_id, -1) for flow in flows]),
        flow_lengths=flow_lengths,
        flow_chips=column(flow_chips),
        duals=[
            _duals(columns, rows)
            for rows in (outcome.certificate.duals, *(leaf.duals for leaf in leaves))
        ],
    )


def _awards(columns: BookColumns, awards: Sequence[Award]) -> AwardColumns:
    index, pools = columns.index, columns.grid.pools
    chips, lengths = joined(awards, "chips")
    reserve, reserve_lengths = joined(awards, "reserve")
    site_reserve, site_lengths = joined(awards, "site_reserve")
    backups, backup_counts = joined(awards, "backups")
    backup_chips, backup_lengths = joined(backups, "chips")
    return AwardColumns(
        order=column([index.get(award.order_id, -1) for award in awards]),
        pool=column([pools.get(award.pool_id, -1) for award in awards]),
        participants=[award.participant_id for award in awards],
        side=identities(awards, "side"),
        service_class=identities(awards, "service_class"),
        cover=identities(awards, "cover"),
        first=attribute(awards, "first"),
        lengths=lengths,
        chips=column(chips),
        reserve_lengths=reserve_lengths,
        reserve=column(reserve),
        site_lengths=site_lengths,
        site_reserve=column(site_reserve),
        backup_award=np.repeat(np.arange(len(awards)), backup_counts),
        backup_pool=column([pools.get(one.pool_id, -1) for one in backups]),
        backup_lengths=backup_lengths,
        backup_chips=column(backup_chips),
    )


def _duals(columns: BookColumns, rows: Sequence[RowDual]) -> DualColumns:
    sites, pools = columns.grid.sites, columns.grid.pools
    codes = {name: at for at, name in enumerate(ROWS)}
    return DualColumns(
        row=column([codes.get(dual.row, -1) for dual in rows]),
        subject=column(
            [(sites if dual.row == "SITE_POWER" else pools).get(dual.subject, -1) for dual in rows]
        ),
        lost=column([sites.get(dual.lost_site, -2) if dual.lost_site else -1 for dual in rows]),
        order=column(
            [columns.index.get(dual.order_id, -2) if dual.order_id else -1 for dual in rows]
        ),
        interval=attribute(rows, "interval"),
        value=attribute(rows, "value"),
    )
