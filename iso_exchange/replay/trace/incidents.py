"""Incidents of a replay: which kinds, when, and what became of them.

Nodes and sites fail by the plan of ``faults``; here they are reported to the exchange as outages,
by their supplier, of a lost site by the operator. The other kinds are what parties and machines
do: a supplier or a meter that falls silent, the exchange's process killed in the middle of a
clearing, its database restarted, a participant that floods. ``troubled`` plays them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from clearing.types import Interval
from iso_exchange.commands import ReportOutage
from iso_exchange.dispatch_commands import node_name
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.trace.drive import INTERVAL_S
from iso_exchange.replay.trace.faults import OUTAGE_LENGTH_S, REPAIR_S, Faults
from iso_exchange.replay.trace.layout import Layout, PoolPlan
from iso_exchange.replay.trace.setup import SUPPLIERS, Calendar

OPERATOR_ID: Final = "operator"
SILENCE_S: Final = 3_600
FLOOD_ORDERS: Final = 2_000
"""Orders that a flood sends for one gate."""

HOUR_S: Final = 3_600


class Kind(Enum):
    """What goes wrong."""

    NODE = "node"
    """Nodes fail, are reported, and are repaired."""
    SITE = "site"
    """A site is lost for two hours, at the hour of most demand."""
    SILENT_SUPPLIER = "silent-supplier"
    """A supplier says nothing for an hour: what fails meanwhile is sold, metered, credited."""
    SILENT_METER = "silent-meter"
    """A pool's meter sends nothing for an hour: the intervals are gaps."""
    AUCTIONEER = "auctioneer"
    """The exchange's process is killed (SIGKILL) between a gate and its result."""
    DATABASE = "database"
    """PostgreSQL shuts down at once under the running exchange."""
    FLOOD = "flood"
    """A participant sends thousands of orders before each gate of half an hour."""


LENGTHS: Final[Mapping[Kind, int]] = {
    Kind.SITE: OUTAGE_LENGTH_S,
    Kind.SILENT_SUPPLIER: SILENCE_S,
    Kind.SILENT_METER: SILENCE_S,
    Kind.AUCTIONEER: INTERVAL_S,
    Kind.DATABASE: INTERVAL_S,
    Kind.FLOOD: SILENCE_S // 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident.

    Attributes:
        subject: Site, supplier, pool or participant concerned; empty for the exchange.
        start_s: First second of the trace, on an interval boundary.
        end_s: First second after it.
    """

    kind: Kind
    start_s: int
    end_s: int
    subject: str = ""

    def holds(self, start_s: int) -> bool:
        """Whether it is on in the interval that begins then."""
        return self.start_s <= start_s < self.end_s


@dataclass(slots=True, kw_only=True)
class Log:
    """What was seen of the incidents.

    Attributes:
        lines: For people, in order of time.
        outages: Identifiers of the outages that were reported.
        receipts: Of what was sent about incidents: who sent it, entry and leaf hash.
        flood: Answers to the flood, by what they were.
        unread: Pool-intervals that no meter read.
        kills: State of the run in which the exchange was killed, per kill.
        back_s: Wall seconds until the exchange answered again, per restart.
    """

    lines: list[str] = field(default_factory=list)
    outages: list[str] = field(default_factory=list)
    receipts: list[tuple[str, int, bytes]] = field(default_factory=list)
    flood: dict[str, int] = field(default_factory=dict)
    unread: int = 0
    kills: list[str] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)

    def count(self, answer: str) -> None:
        """Count one answer to the flood."""
        self.flood[answer] = self.flood.get(answer, 0) + 1


def parse(text: str) -> frozenset[Kind]:
    """Kinds by name, with commas between them.

    Raises:
        DataError: ``UNKNOWN_FAULT``.
    """
    names = {kind.value: kind for kind in Kind}
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in names:
            raise DataError(
                "UNKNOWN_FAULT", "FAULTS", 0, f"{name} is none of {', '.join(sorted(names))}"
            )
    return frozenset(names[name] for name in wanted)


def plan(
    kinds: frozenset[Kind],
    layout: Layout,
    hourly: Mapping[str, Sequence[int]],
    window: tuple[int, int],
) -> tuple[Incident, ...]:
    """Incidents of a replay, one of each kind, spread over its window.

    Args:
        kinds: Nodes are left to ``faults``.
        hourly: Chip-seconds per hour by tenant, from the start of the trace on.
        window: First and last second of what is measured.
    """
    start_s, end_s = window
    peak = peak_hour(hourly, window)
    ordered = [kind for kind in Kind if kind in kinds and kind not in {Kind.NODE, Kind.SITE}]
    found = []
    if Kind.SITE in kinds:
        first = peak * HOUR_S
        found.append(
            Incident(
                kind=Kind.SITE,
                subject=layout.pools[-1].site_id,
                start_s=first,
                end_s=min(end_s, first + OUTAGE_LENGTH_S),
            )
        )
    for place, kind in enumerate(ordered, start=1):
        at = start_s + (end_s - start_s) * place // (len(ordered) + 1)
        first = at // INTERVAL_S * INTERVAL_S
        found.append(
            Incident(
                kind=kind,
                subject=_subject(kind, layout, sorted(hourly)),
                start_s=first,
                end_s=min(end_s, first + LENGTHS[kind]),
            )
        )
    return tuple(sorted(found, key=lambda incident: incident.start_s))


def _subject(kind: Kind, layout: Layout, tenants: Sequence[str]) -> str:
    first = layout.pools[0]
    match kind:
        case Kind.SILENT_SUPPLIER:
            return SUPPLIERS[first.site_id]
        case Kind.SILENT_METER:
            return first.pool_id
        case Kind.FLOOD:
            return tenants[0]
        case _:
            return ""


def peak_hour(hourly: Mapping[str, Sequence[int]], window: tuple[int, int]) -> int:
    """Hour of the trace with most demand in a window; the first of equals."""
    hours = range(window[0] // HOUR_S, max(window[0] // HOUR_S + 1, window[1] // HOUR_S))
    return max(
        hours,
        key=lambda hour: (
            sum(row[hour] for row in hourly.values() if hour < len(row)),
            -hour,
        ),
    )


def draw(
    kinds: frozenset[Kind],
    faults: Faults,
    layout: Layout,
    hourly: Mapping[str, Sequence[int]],
    window: tuple[int, int],
) -> tuple[Faults, tuple[Incident, ...]]:
    """What fails and what happens where only these kinds are asked for; see ``plan``.

    Args:
        faults: As they are drawn without being asked.
    """
    incidents = plan(kinds, layout, hourly, window)
    failures = faults.failures if Kind.NODE in kinds else ()
    none = Faults(failures=failures, site_id="", outage_start_s=0, outage_end_s=0)
    return with_site(none, incidents), incidents


def with_site(faults: Faults, incidents: Iterable[Incident]) -> Faults:
    """The plan of faults in which the sites of the incidents are lost."""
    for incident in incidents:
        if incident.kind is Kind.SITE:
            faults = replace(
                faults,
                site_id=incident.subject,
                outage_start_s=incident.start_s,
                outage_end_s=incident.end_s,
            )
    return faults


def reports(
    calendar: Calendar, layout: Layout, faults: Faults, start_s: int
) -> Iterator[tuple[str, ReportOutage]]:
    """Who reports which outages that first matter in the interval that begins then.

    A node that failed in the interval before is reported with its repair time; the last nodes of
    the row are the ones that are down, as meters see it. Pools of a lost site are reported whole.
    """
    for pool in layout.pools:
        known = _down(faults, pool, start_s)
        for at_s, rank, slot in known:
            if start_s - INTERVAL_S <= at_s < start_s:
                supplier_id = SUPPLIERS[pool.site_id]
                yield (
                    supplier_id,
                    _outage(
                        calendar,
                        supplier_id,
                        f"out-{pool.pool_id}-{at_s}-{rank}",
                        pool,
                        (start_s, (at_s + REPAIR_S) // INTERVAL_S * INTERVAL_S + INTERVAL_S),
                        (node_name(pool.nodes - 1 - slot),),
                    ),
                )
        lost = pool.site_id == faults.site_id and faults.site_down(start_s)
        if lost and not faults.site_down(start_s - INTERVAL_S):
            yield (
                OPERATOR_ID,
                _outage(
                    calendar,
                    OPERATOR_ID,
                    f"lost-{pool.pool_id}-{start_s}",
                    pool,
                    (start_s, faults.outage_end_s),
                    (),
                ),
            )


def _down(faults: Faults, pool: PoolPlan, start_s: int) -> list[tuple[int, int, int]]:
    """Failed nodes of a pool: when, rank, and place from the end of the row, lowest free first."""
    found: list[tuple[int, int, int]] = []
    for failure in faults.failures:
        if failure.pool_id != pool.pool_id or failure.at_s >= start_s:
            continue
        found = [item for item in found if item[0] + REPAIR_S >= failure.at_s]
        if any(rank == failure.rank for _, rank, _ in found):
            continue  # it is down already
        taken = {slot for _, _, slot in found}
        slot = next(slot for slot in range(pool.nodes) if slot not in taken)
        found.append((failure.at_s, failure.rank, slot))
    return found


def _outage(
    calendar: Calendar,
    signer_id: str,
    outage_id: str,
    pool: PoolPlan,
    span: tuple[int, int],
    nodes: tuple[str, ...],
) -> ReportOutage:
    return ReportOutage(
        header=calendar.header(signer_id, outage_id, span[0]),
        outage_id=outage_id,
        pool_id=pool.pool_id,
        interval=Interval(start=calendar.at(span[0]), end=calendar.at(span[1])),
        nodes=nodes,
        reason="the nodes are down" if nodes else "the site is lost",
    )
