"""Journal for Beancount 3: ``bean-check ledger.beancount``.

The tolerance is zero, so a millionth of a dollar too much is an error, and the balance of
every account is asserted on the day after the last entry.

Source: https://beancount.github.io/docs/beancount_language_syntax.html,
https://beancount.github.io/docs/precision_tolerances.html.
"""

from __future__ import annotations

from collections.abc import Iterator

from settlement.exports import chart
from settlement.exports.journal import Journal, JournalEntry, Posting
from settlement.exports.texts import date_text, decimal_text, micro_of, next_date_text, time_text
from settlement.types import Phase


def beancount_text(journal: Journal) -> str:
    """The whole file."""
    return "".join(f"{line}\n" for line in _lines(journal))


def _lines(journal: Journal) -> Iterator[str]:
    yield f"; {journal.size} entries, root {journal.root}"
    yield "; Debits are positive: what the exchange owes has a negative balance."
    yield f'option "title" {_quoted(journal.origin)}'
    yield 'option "operating_currency" "USD"'
    yield 'option "tolerance_multiplier" "0"'
    yield ""
    first = date_text(journal.start)
    for asset in journal.assets:
        yield f"{first} commodity {chart.beancount_currency(asset)}"
        yield f"  ledger-asset: {_quoted(asset)}"
    for account, assets in journal.accounts:
        currencies = ",".join(chart.beancount_currency(asset) for asset in assets)
        yield f"{first} open {chart.beancount_account(account)} {currencies}"
        yield f"  ledger-account: {_quoted(account)}"
    for entry in journal.entries:
        yield ""
        yield from _entry(entry)
    if journal.closing:
        yield ""
        after = next_date_text(journal.end)
        for posting in journal.closing:
            currency = chart.beancount_currency(posting.asset)
            account = chart.beancount_account(posting.account)
            yield f"{after} balance {account} {_number(posting)} ~ 0.000000 {currency}"


def _entry(entry: JournalEntry) -> Iterator[str]:
    movement = entry.movement
    flag = "!" if movement.transfer.phase is Phase.PENDING else "*"
    code = movement.transfer.code.value
    yield f'{date_text(movement.time)} {flag} "{code}"'
    yield f"  entry: {movement.entry_index}"
    yield f"  accepted: {_quoted(time_text(movement.time))}"
    for name, value in entry.facts:
        yield f"  {name}: {_quoted(value)}"
    for posting in entry.postings:
        yield f"  {_posting(posting)}"


def _posting(posting: Posting) -> str:
    account = chart.beancount_account(posting.account)
    return f"{account}  {_number(posting)} {chart.beancount_currency(posting.asset)}"


def _number(posting: Posting) -> str:
    return decimal_text(micro_of(posting.asset, posting.amount))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
