"""Plots of a replay as inline SVG: no script, no outside resource, readable in print."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 920
LEFT: Final = 64
RIGHT: Final = 150
TOP: Final = 14
BOTTOM: Final = 34

HEAT: Final = ("#f3f6fb", "#cfdcef", "#9dbbdf", "#6495c8", "#3a6ea8", "#1d4a7f", "#0f2d54")
"""Seven steps of one hue, light is cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series: values at equal distances, drawn in a colour and named at its end."""

    name: str
    values: Sequence[float]
    colour: str
    dashed: bool = False


def lines(
    series: Sequence[Line], *, low: float, high: float, unit: str, ticks: Sequence[str]
) -> str:
    """Line plot over time.

    Args:
        series: All of the same length, at least two values.
        low: Bottom of the scale.
        high: Top of the scale.
        unit: After the numbers of the vertical axis.
        ticks: Labels along the time axis, at equal distances from the first value to the last.
    """
    height = 300
    inner_w, inner_h = WIDTH - LEFT - RIGHT, height - TOP - BOTTOM

    def at(value: float) -> float:
        return TOP + inner_h * (1 - (min(max(value, low), high) - low) / (high - low))

    parts = [_open(height, "Lines over time")]
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{LEFT + inner_w}" y1="{at(value):.1f}" '
            f'y2="{at(value):.1f}"/><text class="axis" x="{LEFT - 8}" y="{at(value) + 4:.1f}" '
            f'text-anchor="end">{value:g}{escape(unit)}</text>'
        )
    parts.append(_time_axis(ticks, inner_w, height))
    ends = _apart([at(line.values[-1]) for line in series])
    for line, end in zip(series, ends, strict=True):
        last = max(1, len(line.values) - 1)
        path = " ".join(
            f"{LEFT + inner_w * place / last:.1f},{at(value):.1f}"
            for place, value in enumerate(line.values)
        )
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(
            f'<polyline fill="none" stroke="{line.colour}" stroke-width="1.8"{dash} '
            f'points="{path}"/><text class="label" fill="{line.colour}" '
            f'x="{LEFT + inner_w + 8}" y="{end + 4:.1f}">{escape(line.name)}</text>'
        )
    return "".join((*parts, "</svg>"))


def heat_map(rows: Mapping[str, Sequence[float]], *, unit: str, ticks: Sequence[str]) -> str:
    """Values over time, a row each; the scale is stated below.

    Args:
        rows: Same length each, at least one value; a negative value is drawn as missing.
    """
    band = 26
    height = TOP + band * len(rows) + BOTTOM + 26
    inner_w = WIDTH - LEFT - RIGHT
    known = [value for row in rows.values() for value in row if value >= 0]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    parts = [_open(height, "Heat map over time")]
    for place, (name, values) in enumerate(rows.items()):
        top = TOP + band * place
        cell = inner_w / len(values)
        for column, value in enumerate(values):
            colour = "#fff" if value < 0 else HEAT[_shade(value, low, high)]
            parts.append(
                f'<rect x="{LEFT + cell * column:.2f}" y="{top}" width="{cell + 0.3:.2f}" '
                f'height="{band - 3}" fill="{colour}"/>'
            )
        parts.append(
            f'<text class="label" x="{LEFT + inner_w + 8}" y="{top + band / 2 + 3}">'
            f"{escape(name)}</text>"
        )
    parts.append(_time_axis(ticks, inner_w, height - 26))
    for place, colour in enumerate(HEAT):
        edge = low + (high - low) * place / len(HEAT)
        parts.append(
            f'<rect x="{LEFT + 78 * place}" y="{height - 20}" width="76" height="8" '
            f'fill="{colour}"/><text class="axis" x="{LEFT + 78 * place}" y="{height - 2}">'
            f"{edge:.2f}{escape(unit)}</text>"
        )
    return "".join((*parts, "</svg>"))


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars with their value written at the end.

    Args:
        rows: (name, length, text at the end); lengths are zero or more.
    """
    band = 24
    height = TOP + band * len(rows) + 8
    left, right = 230, 130
    most = max((length for _, length, _ in rows), default=0.0) or 1.0
    parts = [_open(height, "Bars")]
    for place, (name, length, text) in enumerate(rows):
        top = TOP + band * place
        wide = (WIDTH - left - right) * length / most
        parts.append(
            f'<text class="label" x="{left - 8}" y="{top + 13}" text-anchor="end">{escape(name)}'
            f'</text><rect x="{left}" y="{top + 2}" width="{wide:.1f}" height="{band - 9}" '
            f'fill="#3a6ea8"/><text class="axis" x="{left + wide + 6:.1f}" y="{top + 13}">'
            f"{escape(text)}</text>"
        )
    return "".join((*parts, "</svg>"))


def _open(height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        'xmlns="http://www.w3.org/2000/svg">'
    )


def _time_axis(ticks: Sequence[str], inner_w: int, height: int) -> str:
    last = max(1, len(ticks) - 1)
    return "".join(
        f'<text class="axis" x="{LEFT + inner_w * place / last:.1f}" y="{height - 12}" '
        f'text-anchor="middle">{escape(text)}</text>'
        for place, text in enumerate(ticks)
    )


def _shade(value: float, low: float, high: float) -> int:
    if high <= low:
        return 0
    return min(len(HEAT) - 1, int((value - low) / (high - low) * len(HEAT)))


def _apart(ends: Sequence[float], gap: float = 15.0) -> list[float]:
    """Move labels down until none touches another."""
    found = list(ends)
    order = sorted(range(len(found)), key=lambda place: found[place])
    for before, after in itertools.pairwise(order):
        found[after] = max(found[after], found[before] + gap)
    return found
