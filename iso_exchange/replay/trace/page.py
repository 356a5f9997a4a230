"""The report of a replay as one page to put on a slide: plots, reaches, who paid whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from html import escape
from typing import Final

from iso_exchange.replay.trace.figures import Figures, Reach, shown
from iso_exchange.replay.trace.layout import Layout
from iso_exchange.replay.trace.plots import Line, bars, heat_map, lines
from iso_exchange.replay.trace.silo import SiloResult

MICRO: Final = 1_000_000
GRID_COLOUR: Final = "#0b5c8a"
SILO_COLOUR: Final = "#b3541e"
BOUND_COLOUR: Final = "#5a6675"

_STYLE: Final = """
:root { --ink: #1b2430; --soft: #5a6675; --line: #d9dfe6; --tint: #f3f6f9; }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1.5rem; color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p.soft { color: var(--soft); margin: .2rem 0; font-size: .92rem; }
dl { display: grid; grid-template-columns: repeat(4, 1fr); gap: .8rem; margin: 1.4rem 0; }
dl div { background: var(--tint); border-radius: 6px; padding: .8rem 1rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: .1rem 0 0; font-size: 1.35rem; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-size: .82rem; } .met { color: #14693c; } .missed { color: #a3231f; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; }
svg .axis { fill: #5a6675; } svg .grid { stroke: #e6eaef; } svg .label { font-weight: 600; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What the ledger says, micro-USD.

    Attributes:
        paid: By buyer.
        earned: By supplier.
        communities: Surcharge by site.
        fee: The operator's.
        pool: Left in the stop-loss pool.
        verified: What the audit of the exported ledger printed, or empty when none was made.
    """

    paid: Mapping[str, int] = field(default_factory=dict)
    earned: Mapping[str, int] = field(default_factory=dict)
    communities: Mapping[str, int] = field(default_factory=dict)
    fee: int = 0
    pool: int = 0
    verified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Everything a report says.

    Attributes:
        title: Trace, regime and days.
        prices: Firm price by pool per interval, micro-USD per chip-hour; negative where none.
        notes: How it was set up, a sentence each.
    """

    title: str
    layout: Layout
    figures: Figures
    silo: SiloResult
    reaches: Sequence[Reach]
    prices: Mapping[str, Sequence[int]]
    money: Money
    notes: Sequence[str]


def page(summary: Summary) -> str:
    """The page; nothing in it is fetched from elsewhere."""
    return "\n".join(_parts(summary)) + "\n"


def _parts(summary: Summary) -> Iterator[str]:
    figures = summary.figures
    days = len(figures.hours) // 24
    yield '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield f"<title>{escape(summary.title)}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(summary.title)}</h1>"
    measured = f"{days} days measured after 48 hours of warm-up; load {shown(figures.load)}."
    yield f'<p class="soft">{measured}</p>'
    yield "<dl>"
    for name, value in (
        ("Allocation, mean", shown(figures.mean)),
        ("Worst hour outside outages", shown(figures.worst.allocation)),
        ("Same chips as silos", shown(summary.silo.allocation)),
        ("Nobody can beat", shown(figures.bound)),
    ):
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
    yield "</dl>"
    yield _table(
        ("To reach", "wanted", "got", ""),
        [
            (
                reach.name,
                reach.wanted,
                reach.got,
                '<span class="met">PASS</span>'
                if reach.met
                else '<span class="missed">MISS</span>',
            )
            for reach in summary.reaches
        ],
    )
    yield from _plots(summary)
    yield "<h2>Waiting for the first start</h2>"
    yield _table(
        ("Jobs", "number", "not started", "p50", "p99"),
        [
            (
                f"{'firm' if row.firm else 'interruptible'}, {_size(row.chips_min, row.chips_max)}",
                f"{row.jobs:,}",
                f"{row.unstarted:,}",
                duration(row.p50_s),
                duration(row.p99_s),
            )
            for row in figures.waiting
        ],
    )
    yield "<h2>Who paid whom</h2>"
    yield _money(summary.money)
    yield "<h2>How it was set up</h2>"
    yield from (f'<p class="soft">{escape(note)}</p>' for note in summary.notes)
    yield "</body></html>"


def _plots(summary: Summary) -> Iterator[str]:
    """Allocation and prices over time."""
    figures = summary.figures
    ticks = _days(figures)
    yield "<h2>Allocation over time</h2>"
    silo = [100 * share for share in summary.silo.hours]
    grid = [100 * float(hour.allocation) for hour in figures.hours]
    yield lines(
        [
            Line(name="grid", values=grid, colour=GRID_COLOUR),
            Line(name="silos", values=silo, colour=SILO_COLOUR),
            Line(
                name="bound (mean)",
                values=[100 * float(figures.bound)] * len(grid),
                colour=BOUND_COLOUR,
                dashed=True,
            ),
        ],
        low=0,
        high=100,
        unit=" %",
        ticks=ticks,
    )
    yield "<h2>Price of firm capacity by pool</h2>"
    yield '<p class="soft">US dollars per chip-hour, surcharge and fee not included.</p>'
    yield heat_map(
        {name: [value / MICRO for value in row] for name, row in summary.prices.items()},
        unit="",
        ticks=ticks,
    )


def _money(money: Money) -> str:
    rows = [
        *((f"{name} pays", amount) for name, amount in sorted(money.paid.items())),
        *((f"{name} earns", amount) for name, amount in sorted(money.earned.items())),
        *((f"community of {name}", amount) for name, amount in sorted(money.communities.items())),
        ("operator's fee", money.fee),
        ("stop-loss pool", money.pool),
    ]
    shown_rows = [(name, amount / MICRO, usd(amount)) for name, amount in rows if amount > 0]
    verified = f'<p class="soft">{escape(money.verified)}</p>' if money.verified else ""
    return bars(shown_rows) + verified


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells that begin with a tag are ours and kept; all others are escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    return f"<td>{text if text.startswith('<span') else escape(text)}</td>"


def _days(figures: Figures) -> list[str]:
    """About eight labels along the measured days."""
    first, last = figures.hours[0].start_s // 86_400, figures.hours[-1].start_s // 86_400 + 1
    count = min(8, last - first)
    return [f"day {first + (last - first) * place // count}" for place in range(count + 1)]


def _size(low: int, high: int) -> str:
    if low == high:
        return f"{low} chip"
    return f"{low}+ chips" if high >= 10**9 else f"{low}-{high} chips"


def duration(seconds: int) -> str:
    """Seconds as a person reads them."""
    minute, hour, day = 60, 3_600, 86_400
    if seconds < 2 * minute:
        return f"{seconds} s"
    if seconds < 2 * hour:
        return f"{seconds / minute:.0f} min"
    if seconds < 2 * day:
        return f"{seconds / hour:.1f} h"
    return f"{seconds / day:.1f} d"


def usd(amount: int) -> str:
    """Micro-USD as whole dollars with separators."""
    return f"USD {Fraction(amount, MICRO).__round__():,}"
