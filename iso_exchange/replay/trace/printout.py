"""What a replay prints when it is over."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from iso_exchange.replay.trace.figures import Figures, rank, shown
from iso_exchange.replay.trace.page import Summary, duration, usd


def print_summary(console: Console, summary: Summary, spent: Mapping[str, float]) -> None:
    """What the terminal shows."""
    figures = summary.figures
    for note in summary.notes:
        console.print(note)
    table = Table(title=summary.title)
    for column in ("", "grid", "silos"):
        table.add_column(column, justify="left" if not column else "right")
    silo_hours = sorted(summary.silo.hours)
    low = sum(share < 0.94 for share in silo_hours)  # noqa: PLR2004 - 94 % is a major outage
    rows = (
        ("load", shown(figures.load), ""),
        ("allocation, mean", shown(figures.mean), shown(summary.silo.allocation)),
        ("worst hour outside outages", shown(figures.worst.allocation), f"{silo_hours[0]:.2%}"),
        ("hours below 94 %", str(figures.low_hours), str(low)),
        ("net of restarts", shown(figures.net), ""),
        ("nodes awarded", shown(figures.awarded), ""),
        ("idle: rest of a node in use", shown(figures.part), ""),
        ("idle: held, nothing runs", shown(figures.empty), ""),
        ("idle: held by nobody", shown(figures.unsold), ""),
        ("clairvoyant bound", shown(figures.bound), ""),
        ("ratio to it", shown(figures.mean / figures.bound), ""),
        ("firm start, p50 / p99", _of_jobs(figures, _firm_start(figures)), _silo_start(summary)),
        ("jobs larger than their silo", "", _of_jobs(figures, str(summary.silo.left_out))),
        ("gangs >= 16 chips that waited a day", _of_jobs(figures, str(figures.starved)), ""),
        ("restarts", _of_jobs(figures, str(figures.restarts)), ""),
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)
    waits = Table(title="Waiting for the first start")
    for column in ("jobs", "number", "not started", "p50", "p99"):
        waits.add_column(column, justify="left" if column == "jobs" else "right")
    for wait in figures.waiting:
        kind = "firm" if wait.firm else "interruptible"
        waits.add_row(
            f"{kind} {wait.chips_min}-{min(wait.chips_max, 64)} chips",
            str(wait.jobs),
            str(wait.unstarted),
            duration(wait.p50_s),
            duration(wait.p99_s),
        )
    console.print(waits)
    money = summary.money
    console.print(
        f"Buyers paid {usd(sum(money.paid.values()))}; suppliers earned "
        f"{usd(sum(money.earned.values()))}; communities "
        + ", ".join(f"{name} {usd(amount)}" for name, amount in money.communities.items())
        + f"; operator's fee {usd(money.fee)}; stop-loss pool {usd(money.pool)}."
    )
    console.print(f"Ledger: {money.verified}")
    phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
    console.print(f"Wall time: {phases}")
    for reach in summary.reaches:
        verdict = "[green]PASS[/green]" if reach.met else "[red]MISS[/red]"
        console.print(f"{verdict}  {reach.name}: wanted {reach.wanted}, got {reach.got}")


def _of_jobs(figures: Figures, text: str) -> str:
    """Figures of jobs; a trace of curves has none."""
    return text if figures.waiting else "n/a"


def _silo_start(summary: Summary) -> str:
    waits = summary.silo.firm_waits_s
    return f"{rank(waits, 50)} / {rank(waits, 99)} s" if waits else ""


def _firm_start(figures: Figures) -> str:
    return f"{figures.firm_p50_s} / {figures.firm_p99_s} s"
