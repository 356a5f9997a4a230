"""The day report as Rich tables, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from clearing.units import chip_hours_text, usd_text
from iso_exchange.audit.report import Report
from iso_exchange.replay.report import DayReport, PriceRow
from settlement.metering.rated import pflop_hours_text

REJECTED_SHOWN = 8


def print_report(console: Console, report: DayReport) -> None:
    """Print everything, in the order in which a newcomer asks."""
    _print_prices(console, report.prices)
    _print_allocation(console, report)
    _print_money(console, report)
    _print_compute(console, report)
    _print_orders(console, report)


def print_audit(console: Console, report: Report) -> None:
    """Print the audit's numbered steps and its summary."""
    table = Table(title="Offline verification of the ledger", header_style="bold")
    table.add_column("", justify="right")
    for name in ("step", "result"):
        table.add_column(name)
    table.add_column("checked", justify="right")
    table.add_column("first finding")
    for step in report.steps:
        table.add_row(
            str(step.number),
            step.title,
            step.result.value,
            f"{step.checked:,} {step.unit}",
            f"{step.place} {step.detail}".strip(),
        )
    console.print(table)
    console.print(report.summary())


def percent(share_ppm: int, places: int = 1) -> str:
    """Parts per million as per cent."""
    return usd_text(share_ppm * 100, places) + " %"


def dollars(amount: int) -> str:
    """Micro-USD as dollars and cents with thousands separators."""
    text = usd_text(amount, 2)
    whole, _, cents = text.partition(".")
    return f"{int(whole):,}.{cents}" if whole != "-0" else text


def _print_prices(console: Console, rows: Sequence[PriceRow]) -> None:
    classes = sorted({row.chip_class for row in rows})
    cells = {(row.hour, row.chip_class): row for row in rows}
    table = Table(
        title="Clearing prices, USD per chip-hour, all-in (surcharge and fee inside): "
        "firm / interruptible",
        header_style="bold",
    )
    table.add_column("hour (UTC)", justify="right")
    for chip_class in classes:
        table.add_column(chip_class, justify="right")
    for hour in sorted({row.hour for row in rows}):
        table.add_row(
            f"{hour:02d}:00", *(_price_text(cells[(hour, chip_class)]) for chip_class in classes)
        )
    console.print(table)


def _price_text(row: PriceRow) -> str:
    firm = usd_text(row.firm, 3) if row.firm is not None else "-"
    interruptible = usd_text(row.interruptible, 3) if row.interruptible is not None else "-"
    return f"{firm} / {interruptible}"


def _print_allocation(console: Console, report: DayReport) -> None:
    found = report.allocation
    load = percent(found.load_ppm)
    table = Table(title=f"Allocation at load {load} of capacity", header_style="bold")
    table.add_column("what")
    table.add_column("allocation", justify="right")
    table.add_row("the grid, mean over the day (awarded)", percent(found.mean_ppm))
    table.add_row(f"the grid, worst hour ({found.worst_hour:02d}:00)", percent(found.worst_ppm))
    table.add_row("the grid, delivered by the meters", percent(found.delivered_ppm))
    table.add_row("same tenants, single-tenant silos, whole trace", percent(found.silo_ppm))
    table.add_row("same tenants, single-tenant silos, this day", percent(found.silo_day_ppm))
    console.print(table)


def _print_money(console: Console, report: DayReport) -> None:
    table = Table(title="Money by party, USD", header_style="bold")
    for name in ("party", "role"):
        table.add_column(name)
    for name in ("billed", "received", "paid out", "cash left"):
        table.add_column(name, justify="right")
    for party in report.parties:
        table.add_row(
            party.participant_id,
            party.role,
            dollars(party.billed),
            dollars(party.received),
            dollars(party.payout),
            dollars(party.balance),
        )
    console.print(table)
    table = Table(title="Community surcharge, USD", header_style="bold")
    for name in ("community", "site"):
        table.add_column(name)
    for name in ("delivered chip-hours", "earned", "paid out"):
        table.add_column(name, justify="right")
    for community in report.communities:
        table.add_row(
            community.community_id,
            community.site_id,
            f"{community.delivered_chip_hours:,}",
            dollars(community.surcharge),
            dollars(community.paid_out),
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        f"{sum(item.delivered_chip_hours for item in report.communities):,}",
        dollars(sum(item.surcharge for item in report.communities)),
        dollars(sum(item.paid_out for item in report.communities)),
    )
    console.print(table)
    console.print(f"Operator's fee, all it earns: USD {dollars(report.operator_fee)}")


def _print_compute(console: Console, report: DayReport) -> None:
    table = Table(title="Delivered compute (rated, dense peak x derate)", header_style="bold")
    for name in ("chip class", "precision"):
        table.add_column(name)
    for name in ("chip-hours", "PFLOP-hours"):
        table.add_column(name, justify="right")
    for row in report.compute:
        table.add_row(
            row.chip_class,
            row.precision,
            chip_hours_text(row.chip_seconds, 1),
            pflop_hours_text(row.tflop, 1),
        )
    console.print(table)
    if report.shortfalls:
        table = Table(title="Not delivered in full, credited by itself", header_style="bold")
        table.add_column("contract")
        for name in ("hour", "failed chip-h", "gap chip-h", "credited USD"):
            table.add_column(name, justify="right")
        for item in report.shortfalls:
            table.add_row(
                item.contract_id,
                f"{item.hour:02d}:00",
                chip_hours_text(item.failed),
                chip_hours_text(item.gap),
                dollars(item.credited),
            )
        console.print(table)


def _print_orders(console: Console, report: DayReport) -> None:
    table = Table(title=f"{report.order_count} orders, by reason", header_style="bold")
    table.add_column("reason")
    table.add_column("orders", justify="right")
    for reason, count in report.reasons:
        table.add_row(reason, str(count))
    console.print(table)
    if report.rejected:
        shown = report.rejected[:REJECTED_SHOWN]
        table = Table(
            title=f"Rejected orders ({len(shown)} of {len(report.rejected)} shown)",
            header_style="bold",
        )
        for name in ("order", "why", "what would have changed it"):
            table.add_column(name)
        for order in shown:
            table.add_row(order.order_id, order.reason, order.detail)
        console.print(table)
    for paid in report.made_whole:
        whom = ", ".join(paid.order_ids) or "spare nodes that whole-node rounding added"
        console.print(
            f"Made whole: {whom} with USD {dollars(paid.amount)} from {paid.funder_count} funders"
        )
