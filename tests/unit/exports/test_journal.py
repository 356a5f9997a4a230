from __future__ import annotations

import re
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement.exports import chart
from settlement.exports.beancount import beancount_text
from settlement.exports.errors import ExportError, ExportErrorCode
from settlement.exports.extract import Movement
from settlement.exports.hledger import hledger_text
from settlement.exports.journal import Journal, Posting, journal
from settlement.exports.texts import micro_of
from settlement.ledger.books import Applied, Books
from settlement.types import Phase, Transfer, TransferCode
from tests.unit.exports.hand import movements, settled_extract, settled_world, transfer


def journal_of(found: tuple[Movement, ...]) -> Journal:
    return journal(origin="log.example", size=3, root="ab", movements=found)


def applied(books: Books, *transfers: Transfer) -> list[Applied]:
    results = [books.apply(item) for item in transfers]
    assert all(isinstance(item, Applied) for item in results), results
    return [item for item in results if isinstance(item, Applied)]


def sums(made: Journal) -> dict[tuple[str, str], int]:
    return {(item.account, item.asset): item.amount for item in made.closing}


def expected(books: Books) -> dict[tuple[str, str], int]:
    """What a journal of these books must end with, zeros left out."""
    found: dict[tuple[str, str], int] = {}
    for item in books.balances():
        found[item.account, item.asset] = -item.posted
        found[f"held:{item.account}", item.asset] = item.pending_debit
        found[f"promised:{item.account}", item.asset] = -item.pending_credit
    return {key: amount for key, amount in found.items() if amount}


def test_a_hold_is_a_memorandum_until_it_is_resolved() -> None:
    hold = transfer("h", "p:a:cash", "pot:x:0", 500, phase=Phase.PENDING)
    post = transfer("q", "p:a:cash", "pot:x:0", 300, phase=Phase.POST_PENDING, pending="h")
    books = Books()
    first = journal_of(movements(applied(books, hold)))
    assert first.entries[0].postings == (
        Posting(account="held:p:a:cash", asset="USD", amount=500),
        Posting(account="promised:pot:x:0", asset="USD", amount=-500),
    )
    both = journal_of(movements([Applied(hold, 500), *applied(books, post)]))
    assert both.entries[1].postings == (
        Posting(account="p:a:cash", asset="USD", amount=300),
        Posting(account="pot:x:0", asset="USD", amount=-300),
        Posting(account="held:p:a:cash", asset="USD", amount=-500),
        Posting(account="promised:pot:x:0", asset="USD", amount=500),
    )
    assert sums(both)["held:p:a:cash", "USD"] == 0


def test_a_void_moves_no_money() -> None:
    hold = transfer("h", "p:a:cash", "pot:x:0", 500, phase=Phase.PENDING)
    void = transfer("v", "p:a:cash", "pot:x:0", 0, phase=Phase.VOID_PENDING, pending="h")
    made = journal_of(movements(applied(Books(), hold, void)))
    assert set(sums(made).values()) == {0}
    assert ("p:a:cash", "USD") not in sums(made)


def test_a_journal_that_begins_in_the_middle_is_refused() -> None:
    void = transfer("v", "p:a:cash", "pot:x:0", 0, phase=Phase.VOID_PENDING, pending="h")
    with pytest.raises(ExportError) as caught:
        journal_of(movements([Applied(void, 0)]))
    assert caught.value.code is ExportErrorCode.HISTORY_INCOMPLETE


def test_a_settled_hour_ends_with_the_balances_of_the_books() -> None:
    world, _ = settled_world()
    made = journal_of(movements(world.applied))
    assert {key: amount for key, amount in sums(made).items() if amount} == expected(world.books)
    # 8 x 3.40, less 3.40 x 4,200/3,600 and the failure's credit; surcharge and fee on 24,600.
    assert sums(made)["community:site-a", "USD"] == -3_416_667
    assert sums(made)["operator:fee", "USD"] == -136_667


def test_hledger_text_by_hand() -> None:
    deposit = transfer(
        'deposit/wire "7"; now', "bank", "p:a:collateral", 1_500_000, code=TransferCode.DEPOSIT
    )
    text = hledger_text(journal_of(movements([Applied(deposit, 1_500_000)], time=1_791_277_200)))
    assert text == (
        "; log.example, 3 entries, root ab\n"
        "; Debits are positive: what the exchange owes has a negative balance.\n"
        "decimal-mark .\n"
        "\n"
        "commodity 1000.000000 USD\n"
        "\n"
        "account bank  ; type:A\n"
        "account p:a:collateral  ; type:L\n"
        "\n"
        "2026-10-06 * (10) DEPOSIT\n"
        "    ; accepted:2026-10-06T09:00:00Z\n"
        "    ; transfer:deposit/wire%20%227%22%3B%20now\n"
        "    ; phase:POSTED\n"
        "    bank  1.500000 USD\n"
        "    p:a:collateral  -1.500000 USD\n"
        "\n"
        "2026-10-06 * closing balances\n"
        "    bank  0.000000 USD = 1.500000 USD\n"
        "    p:a:collateral  0.000000 USD = -1.500000 USD\n"
    )


def test_beancount_text_by_hand() -> None:
    deposit = transfer('wire "7" \\', "bank", "p:a:collateral", 7, code=TransferCode.DEPOSIT)
    text = beancount_text(journal_of(movements([Applied(deposit, 7)], time=1_791_277_200)))
    assert text == (
        "; 3 entries, root ab\n"
        "; Debits are positive: what the exchange owes has a negative balance.\n"
        'option "title" "log.example"\n'
        'option "operating_currency" "USD"\n'
        'option "tolerance_multiplier" "0"\n'
        "\n"
        "2026-10-06 commodity USD\n"
        '  ledger-asset: "USD"\n'
        "2026-10-06 open Assets:Bank USD\n"
        '  ledger-account: "bank"\n'
        "2026-10-06 open Liabilities:Participant:A:Collateral USD\n"
        '  ledger-account: "p:a:collateral"\n'
        "\n"
        '2026-10-06 * "DEPOSIT"\n'
        "  entry: 10\n"
        '  accepted: "2026-10-06T09:00:00Z"\n'
        '  transfer: "wire \\"7\\" \\\\"\n'
        '  phase: "POSTED"\n'
        "  Assets:Bank  0.000007 USD\n"
        "  Liabilities:Participant:A:Collateral  -0.000007 USD\n"
        "\n"
        "2026-10-07 balance Assets:Bank 0.000007 ~ 0.000000 USD\n"
        "2026-10-07 balance Liabilities:Participant:A:Collateral -0.000007 ~ 0.000000 USD\n"
    )


def test_compute_stands_in_whole_units() -> None:
    compute = transfer("c", "p:s:compute", "p:a:compute", 12, asset="TFLOP:BF16")
    made = journal_of(movements([Applied(compute, 12)]))
    assert '    p:s:compute  12.000000 "TFLOP:BF16"\n' in hledger_text(made)
    assert "  Equity:Compute:A  -12.000000 TFLOP.BF16\n" in beancount_text(made)


def test_an_empty_ledger_gives_an_empty_journal() -> None:
    made = journal_of(())
    assert (made.entries, made.closing, made.assets, made.accounts) == ((), (), (), ())
    assert "closing" not in hledger_text(made)
    assert "balance" not in beancount_text(made).splitlines()[-1]


ACCOUNTS = ("bank", "p:a:cash", "p:b:cash", "p:b:collateral", "pot:x:0", "pool", "community:s")
STEPS = st.lists(
    st.tuples(
        st.sampled_from([Phase.POSTED, Phase.PENDING, Phase.POST_PENDING, Phase.VOID_PENDING]),
        st.sampled_from(ACCOUNTS),
        st.sampled_from(ACCOUNTS),
        st.integers(0, 10**15),
        st.sampled_from(["USD", "TFLOP:BF16", "CREDIT:acme"]),
        st.integers(0, 20),
    ),
    max_size=40,
)


def random_movements(
    steps: list[tuple[Phase, str, str, int, str, int]],
) -> tuple[Books, tuple[Movement, ...]]:
    """Apply what the books accept; holds are resolved by number."""
    books = Books()
    done: list[Applied] = []
    for number, (phase, debit, credit, amount, asset, pick) in enumerate(steps):
        name = f"t{number}"
        if phase in {Phase.POST_PENDING, Phase.VOID_PENDING}:
            holds = books.open_holds()
            if not holds:
                continue
            hold = holds[pick % len(holds)]
            part = 0 if phase is Phase.VOID_PENDING else min(amount, hold.amount)
            made = transfer(
                name, hold.debit, hold.credit, part, phase=phase, asset=hold.asset,
                pending=hold.transfer_id,
            )  # fmt: skip
        else:
            made = transfer(name, debit, credit, amount, phase=phase, asset=asset)
        result = books.apply(made)
        if isinstance(result, Applied):
            done.append(result)
    return books, movements(done)


@given(STEPS)
def test_journal_totals_are_the_ledgers_balances(
    steps: list[tuple[Phase, str, str, int, str, int]],
) -> None:
    books, found = random_movements(steps)
    made = journal_of(found)
    assert {key: amount for key, amount in sums(made).items() if amount} == expected(books)
    for entry in made.entries:
        totals: dict[str, int] = defaultdict(int)
        for posting in entry.postings:
            totals[posting.asset] += posting.amount
        assert set(totals.values()) <= {0}


@given(STEPS)
def test_both_texts_add_up_to_the_ledgers_balances(
    steps: list[tuple[Phase, str, str, int, str, int]],
) -> None:
    books, found = random_movements(steps)
    made = journal_of(found)
    due = {key: micro_of(key[1], amount) for key, amount in expected(books).items()}
    hledger: dict[tuple[str, str], int] = defaultdict(int)
    for account, number, asset in re.findall(
        r"^ {4}(\S+)  (-?\d+\.\d{6}) (\S+)$", hledger_text(made), re.MULTILINE
    ):
        hledger[account, asset.strip('"')] += int(number.replace(".", ""))
    assert {key: amount for key, amount in hledger.items() if amount} == due
    beancount: dict[tuple[str, str], int] = defaultdict(int)
    for account, number, currency in re.findall(
        r"^ {2}([A-Z]\S+)  (-?\d+\.\d{6}) (\S+)$", beancount_text(made), re.MULTILINE
    ):
        beancount[account, currency] += int(number.replace(".", ""))
    assert {key: amount for key, amount in beancount.items() if amount} == {
        (chart.beancount_account(account), chart.beancount_currency(asset)): amount
        for (account, asset), amount in due.items()
    }


def test_every_transfer_is_in_the_journal() -> None:
    found = settled_extract().movements
    made = journal_of(found)
    assert [entry.movement for entry in made.entries] == list(found)
    text = hledger_text(made)
    assert text.count("    ; transfer:") == len(found)
