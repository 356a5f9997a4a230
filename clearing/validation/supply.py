"""Guards on supply with a commitment, and on base load with SITE cover."""

from __future__ import annotations

from clearing.errors import BookError
from clearing.types import MAX_CHIPS, Commitment, Cover, Offer
from clearing.validation.limits import MAX_COST_MICRO_USD
from clearing.validation.sheet import Sheet


def check_commitments(sheet: Sheet) -> None:
    """Refuse commitments that no run could keep."""
    for offer in sheet.book.offers:
        if offer.commitment is not None:
            node = sheet.pools[offer.pool_id].chips_per_node
            _check_commitment(offer, offer.commitment, sheet.intervals, node)


def _check_commitment(offer: Offer, given: Commitment, intervals: int, node: int) -> None:
    most = MAX_COST_MICRO_USD
    least = min(sum(step.chips for step in segment.steps) for segment in offer.segments)
    guards = (
        (not offer.recallable, "Released base load has no commitment."),
        (0 <= given.start_up <= most, f"start_up is 0 to {most} micro-USD."),
        (0 <= given.no_load <= most, f"no_load is 0 to {most} micro-USD."),
        (
            1 <= given.min_run_intervals <= intervals,
            f"min_run_intervals is 1 to {intervals}, the length of the auction.",
        ),
        (
            0 <= given.min_chips <= MAX_CHIPS and given.min_chips % node == 0,
            f"min_chips is a multiple of {node} chips, the node size of its pool.",
        ),
        (
            given.min_chips <= least,
            f"min_chips is at most {least}, what its smallest segment offers.",
        ),
        (
            not given.whole or (given.min_run_intervals, given.min_chips) == (1, 0),
            "A whole one has min_run_intervals 1 and min_chips 0.",
        ),
    )
    for holds, advice in guards:
        if not holds:
            raise BookError("BAD_COMMITMENT", offer.order_id, "commitment", advice)


def check_backups(sheet: Sheet) -> None:
    """Refuse backup pools that could not take over, and SITE cover without any."""
    for nomination in sheet.book.nominations:
        name, backups = nomination.order_id, nomination.backup_pool_ids
        if nomination.cover is not Cover.SITE:
            if backups:
                advice = "Only SITE cover has backup pools."
                raise BookError("BAD_BACKUP", name, "backup_pool_ids", advice)
            continue
        pool = sheet.pools[nomination.pool_id]
        if len(set(backups)) != len(backups):
            raise BookError("BAD_BACKUP", name, "backup_pool_ids", "Name each pool once.")
        for backup in map(sheet.pools.__getitem__, backups):
            guards = (
                (backup.site_id != pool.site_id, "A backup pool is at another site."),
                (backup.chip_class == pool.chip_class, "A backup pool has the same chip class."),
                (backup.chips_per_node == pool.chips_per_node, "Node sizes must be the same."),
            )
            for holds, advice in guards:
                if not holds:
                    raise BookError("BAD_BACKUP", name, "backup_pool_ids", advice)


def check_backed(sheet: Sheet) -> None:
    """Refuse base load with SITE cover that names no backup pool."""
    for nomination in sheet.book.nominations:
        if nomination.cover is Cover.SITE and not nomination.backup_pool_ids:
            advice = "Name a pool of the same class and node size at another site."
            subject = nomination.order_id
            raise BookError("NO_COVER_POSSIBLE", subject, "backup_pool_ids", advice)
