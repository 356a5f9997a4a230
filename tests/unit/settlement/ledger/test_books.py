from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearing.errors import InvariantError
from settlement.ledger import accounts
from settlement.ledger.books import (
    MAX_AMOUNT,
    Applied,
    Books,
    RejectCode,
    Rejected,
    available,
    replay,
)
from settlement.types import USD, Phase, Postings, Transfer, TransferCode


def transfer(name: str, amount: int = 10, phase: Phase = Phase.POSTED, **more: str) -> Transfer:
    return replace(
        Transfer(
            transfer_id=name,
            asset=USD,
            debit="p:a:cash",
            credit="p:b:cash",
            amount=amount,
            phase=phase,
            code=TransferCode.DEPOSIT,
        ),
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def books() -> Books:
    made = Books()
    made.apply(transfer("hold", 10, Phase.PENDING))
    made.apply(transfer("gone", 5, Phase.PENDING))
    made.apply(transfer("gone-void", 0, Phase.VOID_PENDING, pending_id="gone"))
    return made


POST, VOID = Phase.POST_PENDING, Phase.VOID_PENDING

REFUSALS = [
    (transfer("x", asset=""), RejectCode.FIELD_EMPTY),
    (transfer(""), RejectCode.FIELD_EMPTY),
    (transfer("x", -1), RejectCode.AMOUNT_NEGATIVE),
    (transfer("x", MAX_AMOUNT + 1), RejectCode.AMOUNT_TOO_LARGE),
    (transfer("x", credit="p:a:cash"), RejectCode.SAME_ACCOUNT),
    (transfer("hold"), RejectCode.DUPLICATE_TRANSFER),
    (transfer("x", pending_id="hold"), RejectCode.PENDING_ID_UNEXPECTED),
    (transfer("x", 1, POST, pending_id="never"), RejectCode.PENDING_UNKNOWN),
    (transfer("x", 1, POST), RejectCode.PENDING_UNKNOWN),
    (transfer("x", 1, POST, pending_id="gone"), RejectCode.PENDING_RESOLVED),
    (transfer("x", 1, POST, pending_id="hold", asset="CREDIT:o"), RejectCode.ASSET_DIFFERS),
    (transfer("x", 1, POST, pending_id="hold", debit="p:c:cash"), RejectCode.ACCOUNTS_DIFFER),
    (transfer("x", 1, POST, pending_id="hold", credit="p:c:cash"), RejectCode.ACCOUNTS_DIFFER),
    (transfer("x", 1, VOID, pending_id="hold"), RejectCode.VOID_AMOUNT_NOT_ZERO),
    (transfer("x", 11, POST, pending_id="hold"), RejectCode.AMOUNT_ABOVE_PENDING),
]


@pytest.mark.parametrize(("bad", "code"), REFUSALS, ids=lambda item: getattr(item, "value", ""))
def test_guard(books: Books, bad: Transfer, code: RejectCode) -> None:
    before = books.balances()
    result = books.apply(bad)
    assert isinstance(result, Rejected)
    assert result.code is code
    assert books.balances() == before
    assert not books.has_seen("x")


def test_the_first_guard_speaks(books: Books) -> None:
    result = books.apply(transfer("hold", -1, credit="p:a:cash"))
    assert isinstance(result, Rejected)
    assert result.code is RejectCode.AMOUNT_NEGATIVE


def test_balances_beyond_127_bits_are_refused(books: Books) -> None:
    assert isinstance(books.apply(transfer("big", MAX_AMOUNT)), Applied)
    result = books.apply(transfer("more", 1))
    assert isinstance(result, Rejected)
    assert result.code is RejectCode.BALANCE_TOO_LARGE


def test_two_phases(books: Books) -> None:
    assert books.balance("p:a:cash").pending_debit == 10
    assert books.balance("p:b:cash").pending_credit == 10
    assert [hold.transfer_id for hold in books.open_holds()] == ["hold"]
    result = books.apply(transfer("post", 7, POST, pending_id="hold"))
    assert isinstance(result, Applied)
    assert result.applied == 7
    assert books.balance("p:a:cash").posted == -7
    assert books.balance("p:a:cash").pending_debit == 0
    assert books.balance("p:b:cash").posted == 7
    assert books.hold("hold") is None
    books.check()


def test_a_document_is_all_or_nothing(books: Books) -> None:
    before = (books.balances(), books.open_holds())
    document = Postings(
        postings_id="doc",
        transfers=(
            transfer("one"),
            transfer("post", 3, POST, pending_id="hold"),
            transfer("two", -1),
        ),
    )
    result = books.apply_all(document)
    assert isinstance(result, Rejected)
    assert (result.position, result.transfer_id) == (2, "two")
    assert (books.balances(), books.open_holds()) == before
    good = replace(document, transfers=document.transfers[:2])
    applied = books.apply_all(good)
    assert not isinstance(applied, Rejected)
    assert [item.applied for item in applied] == [10, 3]
    again = books.apply_all(good)
    assert isinstance(again, Rejected)
    assert again.code is RejectCode.DUPLICATE_POSTINGS


def test_rollback_and_changed_since(books: Books) -> None:
    mark = books.mark()
    before = (books.balances(), books.open_holds())
    books.apply_all(Postings(postings_id="doc", transfers=(transfer("one"),)))
    books.apply(transfer("post", 4, POST, pending_id="hold"))
    assert [b.account for b in books.changed_since(mark)] == ["p:a:cash", "p:b:cash"]
    books.rollback(mark)
    assert (books.balances(), books.open_holds()) == before
    books.check()
    again = books.apply_all(Postings(postings_id="doc", transfers=(transfer("one"),)))
    assert not isinstance(again, Rejected)
    books.release()
    with pytest.raises(InvariantError):
        books.rollback(mark)


def test_replay_gives_the_same_books(books: Books) -> None:
    history = [
        transfer("hold", 10, Phase.PENDING),
        transfer("gone", 5, Phase.PENDING),
        transfer("gone-void", 0, VOID, pending_id="gone"),
    ]
    assert replay(history).balances() == books.balances()
    with pytest.raises(InvariantError):
        replay([*history, transfer("hold")])


def test_check_finds_a_lost_micro_usd(books: Books) -> None:
    books.check()
    books._balances[USD]["p:a:cash"][0] += 1
    with pytest.raises(InvariantError, match="sums to 1"):
        books.check()


def test_available_counts_collateral_and_holds() -> None:
    books = Books()
    books.apply(transfer("in", 100, debit=accounts.BANK, credit=accounts.collateral("a")))
    books.apply(transfer("bill", 30))
    books.apply(transfer("held", 50, Phase.PENDING))
    assert books.available_to("a") == 20
    assert books.available_to("b") == 30
    assert books.available_to("nobody") == 0


@given(
    amounts=st.lists(
        st.tuples(st.sampled_from(("cash", "collateral")), st.booleans(), st.integers(1, 10**9)),
        max_size=12,
    )
)
def test_what_is_available_is_what_the_balances_say(
    amounts: list[tuple[str, bool, int]],
) -> None:
    books = Books()
    for number, (which, pending, amount) in enumerate(amounts):
        applied = books.apply(
            Transfer(
                transfer_id=f"t{number}",
                asset=USD,
                debit=f"p:lab:{which}" if pending else accounts.BANK,
                credit="pool" if pending else f"p:lab:{which}",
                amount=amount,
                phase=Phase.PENDING if pending else Phase.POSTED,
                code=TransferCode.DEPOSIT,
            )
        )
        assert isinstance(applied, Applied), applied
    expected = available(
        cash=books.balance(accounts.cash("lab")),
        collateral=books.balance(accounts.collateral("lab")),
    )
    assert books.available_to("lab") == expected
    assert books.available_to("lab", "TFLOP:BF16") == 0
    assert books.posted("p:lab:cash") == books.balance("p:lab:cash").posted
