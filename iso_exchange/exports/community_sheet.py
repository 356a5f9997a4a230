"""A community report as texts and rows, the same for every format it is shown in."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from clearing.types import Interval
from clearing.units import (
    MICRO_USD_PER_CENT,
    SECONDS_PER_HOUR,
    ChipSeconds,
    MicroUsd,
    UnixSeconds,
    divide_half_even,
)
from iso_exchange.exports.reading import EvidenceEntry, ReadBundle
from settlement.exports.community import CommunityReport, DayLine
from settlement.exports.texts import chip_hours, decimal_text, time_text

SECONDS_PER_DAY: Final = 86_400
BUTTON: Final = "Press the check button below:"
"""Beginning of a step that only the HTML page has; see ``community_pdf``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the headline figures: rounded for reading, exact below."""

    label: str
    value: str
    exact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table.

    Attributes:
        numeric: Columns that stand right.
        entry: Column that names log entries, -1 for none.
        total: Last row, empty for none.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...]
    entry: int = -1
    total: tuple[str, ...] = ()
    empty: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that belongs to the report."""

    name: str
    content: bytes
    media_type: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceLine:
    """A log entry with what it says and its files."""

    index: int
    what: str
    files: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The whole report.

    Attributes:
        notices: What a reader has to know before the figures; empty where all is well.
        hours: Details of the days.
        checks: How to check the report, step by step.
        attachments: Files beside those of the evidence.
        vkey: Verifier key that the log was checked against.
    """

    title: str
    community: str
    site: str
    period: str
    as_of: str
    notices: tuple[str, ...]
    figures: tuple[Figure, ...]
    summary: tuple[str, ...]
    days: Grid
    hours: Grid
    payouts: Grid
    account: Grid
    evidence: tuple[EvidenceLine, ...]
    checks: tuple[str, ...]
    attachments: tuple[Attachment, ...]
    vkey: str
    origin: str
    size: int
    root: str

    @property
    def files(self) -> tuple[Attachment, ...]:
        """Every file that belongs to the report."""
        return (*self.attachments, *(file for line in self.evidence for file in line.files))


def sheet(report: CommunityReport, bundle: ReadBundle) -> Sheet:
    """Texts and rows of a report, with the evidence of the bundle that it was made from."""
    indexes = (
        *(item.entry_index for item in report.totals),
        *(item.entry_index for item in report.statements),
        *_within(report),
    )
    evidence = tuple(_evidence(entry, report) for entry in bundle.evidence(indexes))
    checkpoint = Attachment(
        name="checkpoint",
        content=bundle.checkpoint,
        media_type="text/plain",
        meaning="signed size and root of the log",
    )
    hours = Attachment(
        name=f"hours-{report.site_id}.csv",
        content=_hours_csv(report).encode(),
        media_type="text/csv",
        meaning="every delivery hour of this report",
    )
    return Sheet(
        title="Community surcharge report",
        community=report.community_name,
        site=report.site_id,
        period=period_text(report.period),
        as_of=_moment_text(report.as_of),
        notices=_notices(report, bundle),
        figures=_figures(report),
        summary=_summary(report),
        days=_days(report),
        hours=_hours(report),
        payouts=_payouts(report),
        account=_account(report),
        evidence=evidence,
        checks=_checks(),
        attachments=(checkpoint, hours),
        vkey=bundle.vkey,
        origin=report.origin,
        size=report.size,
        root=report.root,
    )


def period_text(period: Interval) -> str:
    """Days where a period begins and ends at midnight UTC, times otherwise.

    Example:
        >>> period_text(Interval(start=UnixSeconds(0), end=UnixSeconds(86_400 * 31)))
        '1 January 1970 to 31 January 1970 (UTC)'
    """
    if period.start % SECONDS_PER_DAY or period.end % SECONDS_PER_DAY:
        return f"{_moment_text(period.start)} to {_moment_text(period.end)}"
    first = _day_text(period.start)
    last = _day_text(UnixSeconds(period.end - SECONDS_PER_DAY))
    return f"{first} (UTC)" if first == last else f"{first} to {last} (UTC)"


def dollars(amount: int) -> str:
    """US dollars for reading: cents, rounded half-even, with separators.

    Example:
        >>> dollars(1_234_567_890)
        '$1,234.57'
    """
    cents = divide_half_even(amount, MICRO_USD_PER_CENT)
    whole, part = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}${whole:,}.{part:02d}"


def exact_dollars(amount: int) -> str:
    """US dollars with all six digits after the point, with separators."""
    whole, _, part = decimal_text(abs(amount)).partition(".")
    return f"{'-' if amount < 0 else ''}{int(whole):,}.{part}"


def hours_text(quantity: ChipSeconds) -> str:
    """Chip-hours for reading, two digits after the point, with separators."""
    hundredths = divide_half_even(quantity * 100, SECONDS_PER_HOUR)
    return f"{hundredths // 100:,}.{hundredths % 100:02d}"


def _within(report: CommunityReport) -> tuple[int, ...]:
    """Entries of the payouts made in the period: each is the entry of a statement."""
    period = report.period
    return tuple(
        item.entry_index for item in report.payouts if period.start <= item.time < period.end
    )


def _notices(report: CommunityReport, bundle: ReadBundle) -> tuple[str, ...]:
    found = []
    if report.sealed_from >= 0:
        found.append(
            f"Log entries from {report.sealed_from:,} on are sealed until their auction is"
            " published. They are not in this report."
        )
    if bundle.trusts_own_key:
        found.append(
            "The log was checked against the key that came with it. Compare the key below"
            " with the one that the exchange gave you on paper."
        )
    if not report.recomputes:
        found.append(
            "In at least one hour the amount posted is not the surcharge times the chip-hours:"
            " it was corrected, or needs an explanation."
        )
    return tuple(found)


def _figures(report: CommunityReport) -> tuple[Figure, ...]:
    delivered = report.delivered
    return (
        Figure(
            label="Chip-hours delivered",
            value=hours_text(delivered),
            exact=f"{delivered:,} chip-seconds",
        ),
        *(
            Figure(label=label, value=dollars(amount), exact=f"exactly {exact_dollars(amount)}")
            for label, amount in (
                ("Surcharge earned", report.earned),
                ("Of this paid", report.paid),
                ("Of this pending", report.pending),
            )
        ),
    )


def _summary(report: CommunityReport) -> tuple[str, ...]:
    rate = exact_dollars(report.rate)
    what = (
        f"For every chip-hour delivered at site {report.site_id}, {report.community_name}"
        f" receives a surcharge, at present {rate} US dollars. One chip-hour is one computer"
        " chip, working for one hour; the meters of the site count it."
    )
    how = (
        "Payouts are whole cents; what is left stays in the account and is paid later."
        " A payout settles the oldest hours first."
    )
    lines = [what, how]
    if report.other:
        lines.append(
            f"Earned includes {exact_dollars(report.other)} US dollars that were posted for"
            " these hours beside the surcharge, such as corrections."
        )
    whole = [item for item in report.totals if _is_inside(item.period, report.period)]
    if report.totals and len(whole) == len(report.totals):
        delivered = ChipSeconds(sum(item.delivered for item in whole))
        surcharge = sum(item.surcharge for item in whole)
        same = (delivered, surcharge) == (report.delivered, report.earned)
        verdict = "the same as above" if same else "not the same as above: ask the exchange why"
        lines.append(
            f"The exchange published {len(whole):,} community total"
            f"{'' if len(whole) == 1 else 's'} for this period, together"
            f" {hours_text(delivered)} chip-hours and {exact_dollars(surcharge)} US dollars:"
            f" {verdict}."
        )
    return tuple(lines)


def _is_inside(inner: Interval, outer: Interval) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def _days(report: CommunityReport) -> Grid:
    return Grid(
        title="Day by day",
        headers=("Day (UTC)", "Chip-hours", "Surcharge, USD per chip-hour", "Earned, USD"),
        rows=tuple(
            (
                _day_text(day.start),
                hours_text(day.delivered),
                _rates(day),
                exact_dollars(day.earned),
            )
            for day in report.days
        ),
        numeric=(1, 2, 3),
        total=(
            "Together",
            hours_text(report.delivered),
            "",
            exact_dollars(MicroUsd(report.earned - report.other)),
        ),
        empty="Nothing was delivered at this site in this period.",
    )


def _rates(day: DayLine) -> str:
    rates = sorted({rate for hour in day.hours for rate in hour.rates})
    return ", ".join(exact_dollars(rate) for rate in rates)


def _hours(report: CommunityReport) -> Grid:
    return Grid(
        title="Hour by hour",
        headers=("Hour (UTC)", "Chip-seconds", "Earned, USD", "Recomputed, USD", "Log entry"),
        rows=tuple(
            (
                _moment_text(hour.start),
                f"{hour.delivered:,}",
                exact_dollars(hour.earned),
                exact_dollars(hour.recomputed),
                str(hour.entry_index),
            )
            for day in report.days
            for hour in day.hours
        ),
        numeric=(1, 2, 3, 4),
        empty="Nothing was delivered at this site in this period.",
    )


def _payouts(report: CommunityReport) -> Grid:
    known = {item.entry_index for item in report.statements} | set(_within(report))
    return Grid(
        title="Payouts to the bank",
        headers=("Sent to the bank", "Amount, USD", "Reference on the bank statement", "Log entry"),
        rows=tuple(
            (
                _moment_text(item.time),
                dollars(item.amount).replace("$", ""),
                item.payment_id,
                str(item.entry_index),
            )
            for item in report.payouts
            if item.entry_index in known
        ),
        numeric=(1, 3),
        entry=3,
        empty="Nothing was paid out for this period.",
    )


def _account(report: CommunityReport) -> Grid:
    return Grid(
        title="The account since the log began",
        headers=("", "USD"),
        rows=(
            ("Earned", exact_dollars(report.earned_ever)),
            ("Paid out", exact_dollars(report.paid_ever)),
            ("Balance, waiting for the next payout", exact_dollars(report.balance)),
            (
                "Set aside by buyers for hours not settled yet, at most",
                exact_dollars(report.promised),
            ),
        ),
        numeric=(1,),
    )


def _checks() -> tuple[str, ...]:
    key = (
        "Compare the key below with the one that the exchange gave you on paper. Everything"
        " else follows from it."
    )
    files = (
        "Each entry below has two files: the entry as it stands in the log (.leaf) and a proof"
        " (.tlog-proof, C2SP format) that it stands there. A statement is confidential: its"
        " entry is a fingerprint of the files .salt and .envelope, and the envelope names the"
        " statement (.statement.json) by its own fingerprint."
    )
    button = (
        f"{BUTTON} it checks the proofs, the fingerprints and the signature of the log, in the"
        " browser and without any network."
    )
    bank = "Compare each payout's reference and amount with your bank statement."
    whole = (
        "To check the whole log and not these entries alone, have an auditor of the exchange run"
        " 'iso audit verify' with the key below."
    )
    return (key, files, button, bank, whole)


def _evidence(entry: EvidenceEntry, report: CommunityReport) -> EvidenceLine:
    stem = f"entry-{entry.index}"
    files = [
        Attachment(
            name=f"{stem}.leaf",
            content=entry.leaf,
            media_type="application/json",
            meaning=f"entry {entry.index} as it stands in the log",
        ),
        Attachment(
            name=f"{stem}.tlog-proof",
            content=entry.proof,
            media_type="text/plain",
            meaning=f"proof that entry {entry.index} is in the log",
        ),
    ]
    if entry.salt:
        files += [
            Attachment(
                name=f"{stem}.salt",
                content=entry.salt,
                media_type="application/octet-stream",
                meaning=f"opens entry {entry.index}",
            ),
            Attachment(
                name=f"{stem}.envelope",
                content=entry.envelope,
                media_type="application/json",
                meaning=f"what entry {entry.index} commits to",
            ),
        ]
    if entry.document:
        files.append(
            Attachment(
                name=f"{stem}.statement.json",
                content=entry.document,
                media_type="application/json",
                meaning=f"statement that entry {entry.index} names",
            )
        )
    return EvidenceLine(index=entry.index, what=_what(entry, report), files=tuple(files))


def _what(entry: EvidenceEntry, report: CommunityReport) -> str:
    for total in report.totals:
        if total.entry_index == entry.index:
            return (
                f"Published total of auction {total.auction_id}:"
                f" {hours_text(total.delivered)} chip-hours,"
                f" {exact_dollars(total.surcharge)} USD"
            )
    paid = [item for item in report.payouts if item.entry_index == entry.index]
    amount = dollars(sum(item.amount for item in paid))
    issued = next((item for item in report.statements if item.entry_index == entry.index), None)
    if issued is None:
        return f"Statement of an earlier period, paid out {amount}"
    return f"Statement for {period_text(issued.statement.period)}, paid out {amount}"


def _hours_csv(report: CommunityReport) -> str:
    page = io.StringIO(newline="")
    writer = csv.writer(page, lineterminator="\r\n")
    writer.writerow(
        ("hour", "chip_seconds", "chip_hours", "earned_usd", "recomputed_usd", "entry_index")
    )
    for day in report.days:
        for hour in day.hours:
            writer.writerow(
                (
                    time_text(hour.start),
                    hour.delivered,
                    chip_hours(hour.delivered),
                    decimal_text(hour.earned),
                    decimal_text(hour.recomputed),
                    hour.entry_index,
                )
            )
    return page.getvalue()


def _moment(time: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time)


def _day_text(time: UnixSeconds) -> str:
    moment = _moment(time)
    return f"{moment.day} {moment:%B %Y}"


def _moment_text(time: UnixSeconds) -> str:
    return f"{_day_text(time)}, {_moment(time):%H:%M} UTC"
