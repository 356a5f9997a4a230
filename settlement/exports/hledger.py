"""Journal for hledger (1.2x): ``hledger -f ledger.journal check --strict``.

Accounts, types and commodities are declared, every amount has all of its six digits after
the point, and the last transaction asserts the balance of every account.

Source: https://hledger.org/hledger.html#journal (account and commodity directives, tags,
balance assertions).
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from settlement.exports import chart
from settlement.exports.journal import Journal, JournalEntry, Posting
from settlement.exports.texts import date_text, decimal_text, micro_of, time_text
from settlement.types import Phase


def hledger_text(journal: Journal) -> str:
    """The whole file."""
    return "".join(f"{line}\n" for line in _lines(journal))


def _lines(journal: Journal) -> Iterator[str]:
    yield f"; {journal.origin}, {journal.size} entries, root {journal.root}"
    yield "; Debits are positive: what the exchange owes has a negative balance."
    yield "decimal-mark ."
    yield ""
    for asset in journal.assets:
        yield f"commodity 1000.000000 {chart.hledger_commodity(asset)}"
    yield ""
    for account, _ in journal.accounts:
        name = chart.hledger_account(account)
        yield f"account {name}  ; type:{chart.hledger_type(account)}"
    for entry in journal.entries:
        yield ""
        yield from _entry(entry)
    if journal.closing:
        yield ""
        yield f"{date_text(journal.end)} * closing balances"
        for posting in journal.closing:
            yield f"    {_amount(posting, 0)} = {_number(posting.asset, posting.amount)}"


def _entry(entry: JournalEntry) -> Iterator[str]:
    movement = entry.movement
    status = "!" if movement.transfer.phase is Phase.PENDING else "*"
    code = movement.transfer.code.value
    yield f"{date_text(movement.time)} {status} ({movement.entry_index}) {code}"
    yield f"    ; accepted:{time_text(movement.time)}"
    for name, value in entry.facts:
        yield f"    ; {name}:{quote(value, safe=':/._-')}"
    for posting in entry.postings:
        yield f"    {_amount(posting, posting.amount)}"


def _amount(posting: Posting, amount: int) -> str:
    return f"{chart.hledger_account(posting.account)}  {_number(posting.asset, amount)}"


def _number(asset: str, amount: int) -> str:
    return f"{decimal_text(micro_of(asset, amount))} {chart.hledger_commodity(asset)}"
