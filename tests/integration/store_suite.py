"""What every ledger store must do, whatever keeps it.

A test module subclasses ``StoreSuite`` and offers a fixture ``store``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from clearing.errors import InvariantError
from clearing.units import ChipSeconds, MicroUsdPerChipHour, UnixSeconds
from settlement.storage.store import (
    AppliedTransfer,
    Balance,
    Commit,
    Document,
    Entry,
    LedgerStore,
    Published,
    StoreError,
    TreeState,
)
from settlement.types import Phase, Transfer, TransferCode

EMPTY_ROOT = hashlib.sha256().digest()
BIG = 10**37 + 1


def digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def make_entry(index: int, request_id: str = "", *, principal: str = "alice") -> Entry:
    leaf = b"leaf %d \x00\xff" % index
    return Entry(
        index=index,
        kind="ORDER",
        time_us=1_700_000_000_000_000 + index,
        leaf=leaf,
        leaf_hash=hashlib.sha256(b"\x00" + leaf).digest(),
        envelope=leaf,
        salt=b"",
        owners=(principal,),
        principal=principal,
        request_id=request_id or f"request-{index}",
        body_sha256=digest("body", index),
        reply=b"reply %d" % index,
    )


def make_document(body: bytes, kind: str = "BOOK", *, public: bool = False) -> Document:
    sha256 = hashlib.sha256(body).digest()
    return Document(sha256=sha256, kind=kind, public=public, owners=("alice", "bob"), body=body)


def make_transfer(
    entry_index: int,
    position: int,
    *,
    debit: str = "buyer:alice",
    credit: str = "supplier:bob",
    amount: int = 7,
    transfer_id: str = "",
) -> AppliedTransfer:
    transfer = Transfer(
        transfer_id=transfer_id or f"transfer/{entry_index}/{position}",
        asset="USD",
        debit=debit,
        credit=credit,
        amount=amount,
        phase=Phase.POSTED,
        code=TransferCode.DEPOSIT,
    )
    return AppliedTransfer(
        entry_index=entry_index, position=position, transfer=transfer, applied=amount
    )


def make_balance(account: str, posted: int, *, asset: str = "USD") -> Balance:
    return Balance(asset=asset, account=account, posted=posted, pending_debit=0, pending_credit=0)


def make_commit(
    expected: TreeState,
    *entries: Entry,
    documents: tuple[Document, ...] = (),
    transfers: tuple[AppliedTransfer, ...] = (),
    balances: tuple[Balance, ...] = (),
) -> Commit:
    """A commit whose new root depends on everything before it."""
    leaves = tuple(entry.leaf_hash for entry in entries)
    new = TreeState(
        epoch=expected.epoch,
        size=expected.size + len(entries),
        root=digest(expected.root, leaves),
    )
    return Commit(
        expected=expected,
        new=new,
        entries=entries,
        documents=documents,
        transfers=transfers,
        balances=balances,
    )


async def snapshot(store: LedgerStore) -> tuple[object, ...]:
    """Everything that a reader can see."""
    return (
        await store.tree_state(),
        await store.entries(0, 10_000),
        await store.leaves(0, 10_000),
        await store.leaf_hashes(0, 10_000),
        await store.documents("", b"", 10_000),
        await store.transfers("", (0, 0), 10_000),
        await store.balances(""),
        await store.published(),
    )


async def grow(store: LedgerStore, count: int) -> TreeState:
    """Append ``count`` entries, each with a transfer, in one commit."""
    state = await store.tree_state()
    indices = range(state.size, state.size + count)
    batch = make_commit(
        state,
        *(make_entry(index) for index in indices),
        transfers=tuple(make_transfer(index, 0) for index in indices),
    )
    await store.commit(batch)
    return batch.new


class StoreSuite:
    """The behaviour; ``store`` is a fresh one."""

    async def test_a_fresh_store_holds_the_empty_tree(self, store: LedgerStore) -> None:
        assert await store.tree_state() == TreeState(epoch=0, size=0, root=EMPTY_ROOT)
        assert await store.published() is None
        assert list(await store.entries(0, 10)) == []
        assert await store.find_request("alice", "request-0") is None
        assert await store.document(digest("none")) is None
        assert list(await store.balances("")) == []

    async def test_taking_over_raises_the_epoch_and_keeps_the_tree(
        self, store: LedgerStore
    ) -> None:
        head = await grow(store, 2)
        taken = await store.take_over()
        assert taken == replace(head, epoch=1)
        assert await store.tree_state() == taken
        assert (await store.take_over()).epoch == 2

    async def test_a_commit_is_read_back_byte_for_byte(self, store: LedgerStore) -> None:
        document = make_document(bytes(range(256)) * 20)
        confidential = replace(
            make_entry(1),
            leaf=b"\x00" * 40 + bytes(range(256)),
            envelope=bytes(reversed(range(256))) * 8,
            salt=digest("salt"),
            owners=("alice", "bob", 'with "quotes", {braces} and ünïcode ✓'),
            documents=(document.sha256, digest("another")),
            reply=b"",
        )
        transfer = AppliedTransfer(
            entry_index=1,
            position=3,
            applied=5,
            transfer=Transfer(
                transfer_id="t/1",
                asset="TFLOP:BF16",
                debit="a",
                credit="b",
                amount=9,
                phase=Phase.POST_PENDING,
                code=TransferCode.SURCHARGE,
                pending_id="t/0",
                reason="METER_GAP",
                contract_id="auction/order/pool/supplier",
                interval_start=UnixSeconds(1_700_000_000),
                quantity=ChipSeconds(3_600),
                price=MicroUsdPerChipHour(-2_490_000),
                corrects="t/9",
            ),
        )
        balance = Balance(asset="USD", account="a", posted=-3, pending_debit=1, pending_credit=2)
        await store.commit(
            make_commit(
                await store.tree_state(),
                make_entry(0),
                confidential,
                documents=(document,),
                transfers=(transfer,),
                balances=(balance,),
            )
        )
        assert list(await store.entries(0, 10)) == [make_entry(0), confidential]
        assert list(await store.leaves(0, 10)) == [make_entry(0).leaf, confidential.leaf]
        hashes = [make_entry(0).leaf_hash, confidential.leaf_hash]
        assert list(await store.leaf_hashes(0, 10)) == hashes
        assert await store.document(document.sha256) == document
        assert list(await store.transfers("", (0, 0), 10)) == [transfer]
        assert list(await store.balances("")) == [balance]

    async def test_an_envelope_may_be_empty_and_differs_from_its_leaf(
        self, store: LedgerStore
    ) -> None:
        entry = replace(make_entry(0), envelope=b"")
        await store.commit(make_commit(await store.tree_state(), entry))
        assert list(await store.entries(0, 1)) == [entry]

    async def test_a_leaf_of_32_kib_is_kept_and_a_larger_one_refused(
        self, store: LedgerStore
    ) -> None:
        leaf = bytes(range(256)) * 128
        entry = replace(make_entry(0), leaf=leaf, envelope=leaf)
        await store.commit(make_commit(await store.tree_state(), entry))
        assert list(await store.leaves(0, 1)) == [leaf]
        before = await snapshot(store)
        larger = replace(make_entry(1), leaf=leaf + b"\x00")
        with pytest.raises(InvariantError, match="32 KiB"):
            await store.commit(make_commit(await store.tree_state(), larger))
        assert await snapshot(store) == before

    async def test_amounts_beyond_64_bits_survive(self, store: LedgerStore) -> None:
        balance = Balance(
            asset="TFLOP:BF16",
            account="a",
            posted=-BIG,
            pending_debit=BIG,
            pending_credit=2**63,
        )
        transfer = make_transfer(0, 0, amount=BIG)
        await store.commit(
            make_commit(
                await store.tree_state(),
                make_entry(0),
                transfers=(transfer,),
                balances=(balance,),
            )
        )
        assert list(await store.balances("")) == [balance]
        assert list(await store.transfers("", (0, 0), 1)) == [transfer]

    @pytest.mark.parametrize(
        "stale",
        [
            lambda state: replace(state, epoch=state.epoch - 1),
            lambda state: replace(state, epoch=state.epoch + 1),
            lambda state: replace(state, root=digest("another root")),
        ],
        ids=["old-epoch", "future-epoch", "another-root"],
    )
    async def test_a_commit_on_another_head_is_refused(
        self, store: LedgerStore, stale: Callable[[TreeState], TreeState]
    ) -> None:
        await grow(store, 1)
        state = await store.take_over()
        before = await snapshot(store)
        batch = make_commit(stale(state), make_entry(1), balances=(make_balance("a", 1),))
        with pytest.raises(StoreError) as refused:
            await store.commit(batch)
        assert refused.value.code == "STALE_TREE_STATE"
        assert await snapshot(store) == before

    async def test_the_same_commit_twice_is_refused_as_stale(self, store: LedgerStore) -> None:
        batch = make_commit(await store.tree_state(), make_entry(0))
        await store.commit(batch)
        before = await snapshot(store)
        with pytest.raises(StoreError) as refused:
            await store.commit(batch)
        assert refused.value.code == "STALE_TREE_STATE"
        assert await snapshot(store) == before

    async def test_a_sequencer_that_was_taken_over_is_fenced(self, store: LedgerStore) -> None:
        old = await store.take_over()
        new = await store.take_over()
        with pytest.raises(StoreError) as refused:
            await store.commit(make_commit(old, make_entry(0)))
        assert refused.value.code == "STALE_TREE_STATE"
        await store.commit(make_commit(new, make_entry(0)))
        assert (await store.tree_state()).size == 1

    async def test_a_repeated_request_leaves_nothing(self, store: LedgerStore) -> None:
        state = await grow(store, 2)
        before = await snapshot(store)
        batch = make_commit(
            state,
            make_entry(2),
            make_entry(3, "request-0"),
            documents=(make_document(b"new"),),
            transfers=(make_transfer(2, 0),),
            balances=(make_balance("a", 1),),
        )
        with pytest.raises(StoreError) as refused:
            await store.commit(batch)
        assert refused.value.code == "DUPLICATE_REQUEST"
        assert await snapshot(store) == before

    async def test_a_request_repeated_in_its_own_commit_leaves_nothing(
        self, store: LedgerStore
    ) -> None:
        before = await snapshot(store)
        batch = make_commit(await store.tree_state(), make_entry(0, "same"), make_entry(1, "same"))
        with pytest.raises(StoreError) as refused:
            await store.commit(batch)
        assert refused.value.code == "DUPLICATE_REQUEST"
        assert await snapshot(store) == before

    @pytest.mark.parametrize("known", [True, False], ids=["stored", "same-commit"])
    async def test_a_repeated_transfer_leaves_nothing(
        self, store: LedgerStore, known: bool
    ) -> None:
        state = await grow(store, 1)
        before = await snapshot(store)
        transfer_id = "transfer/0/0" if known else "twice"
        batch = make_commit(
            state,
            make_entry(1),
            documents=(make_document(b"new"),),
            transfers=(
                make_transfer(1, 0, transfer_id="twice"),
                make_transfer(1, 1, transfer_id=transfer_id),
            ),
            balances=(make_balance("a", 1),),
        )
        with pytest.raises(StoreError) as refused:
            await store.commit(batch)
        assert refused.value.code == "DUPLICATE_TRANSFER"
        assert await snapshot(store) == before

    async def test_a_refused_commit_can_be_followed_by_a_good_one(self, store: LedgerStore) -> None:
        state = await grow(store, 1)
        with pytest.raises(StoreError):
            await store.commit(make_commit(state, make_entry(1, "request-0")))
        await store.commit(make_commit(state, make_entry(1)))
        assert (await store.tree_state()).size == 2

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda batch: replace(batch, new=replace(batch.new, size=batch.new.size + 1)),
            lambda batch: replace(batch, new=replace(batch.new, epoch=batch.new.epoch + 1)),
            lambda batch: replace(batch, new=replace(batch.new, root=b"short")),
            lambda batch: replace(batch, entries=(replace(batch.entries[0], index=5),)),
            lambda batch: replace(batch, entries=(replace(batch.entries[0], leaf_hash=b""),)),
            lambda batch: replace(batch, entries=(replace(batch.entries[0], salt=b"salt"),)),
            lambda batch: replace(batch, entries=(replace(batch.entries[0], kind=""),)),
            lambda batch: replace(batch, entries=(replace(batch.entries[0], owners=("\0",)),)),
            lambda batch: replace(batch, entries=(replace(batch.entries[0], principal="\ud800"),)),
            lambda batch: replace(
                batch, documents=(replace(make_document(b"a"), sha256=digest("b")),)
            ),
            lambda batch: replace(batch, transfers=(make_transfer(9, 0),)),
            lambda batch: replace(batch, transfers=(make_transfer(0, -1),)),
            lambda batch: replace(batch, transfers=(make_transfer(0, 0, amount=-1),)),
            lambda batch: replace(batch, transfers=(make_transfer(0, 0, amount=10**38),)),
            lambda batch: replace(
                batch,
                transfers=(
                    make_transfer(0, 0, transfer_id="a"),
                    make_transfer(0, 0, transfer_id="b"),
                ),
            ),
            lambda batch: replace(batch, balances=(make_balance("a", 1), make_balance("a", 2))),
            lambda batch: replace(
                batch, balances=(replace(make_balance("a", 1), pending_debit=-1),)
            ),
        ],
    )
    async def test_a_malformed_commit_is_a_bug_and_leaves_nothing(
        self, store: LedgerStore, spoil: Callable[[Commit], Commit]
    ) -> None:
        good = make_commit(await store.tree_state(), make_entry(0))
        before = await snapshot(store)
        with pytest.raises(InvariantError):
            await store.commit(spoil(good))
        assert await snapshot(store) == before
        await store.commit(good)
        assert await store.tree_state() == good.new

    async def test_of_concurrent_commits_exactly_one_wins(self, store: LedgerStore) -> None:
        state = await store.take_over()
        batches = [
            make_commit(state, make_entry(0, f"request of {name}", principal=name))
            for name in ("alice", "bob", "carol", "dave")
        ]
        outcomes = await asyncio.gather(
            *(store.commit(batch) for batch in batches), return_exceptions=True
        )
        losers = [outcome for outcome in outcomes if outcome is not None]
        assert len(losers) == len(batches) - 1
        assert all(isinstance(loser, StoreError) for loser in losers)
        assert {getattr(loser, "code", "") for loser in losers} == {"STALE_TREE_STATE"}
        winner = batches[outcomes.index(None)]
        assert await store.tree_state() == winner.new
        assert tuple(await store.entries(0, 10)) == winner.entries

    async def test_concurrent_take_overs_get_different_epochs(self, store: LedgerStore) -> None:
        taken = await asyncio.gather(*(store.take_over() for _ in range(4)))
        assert sorted(state.epoch for state in taken) == [1, 2, 3, 4]

    async def test_entries_are_paged(self, store: LedgerStore) -> None:
        await grow(store, 7)
        pages = [await store.entries(start, 3) for start in (0, 3, 6, 9)]
        assert [[entry.index for entry in page] for page in pages] == [
            [0, 1, 2],
            [3, 4, 5],
            [6],
            [],
        ]
        assert [len(await store.leaves(start, 3)) for start in (0, 6)] == [3, 1]
        assert list(await store.leaf_hashes(5, 0)) == []

    async def test_a_negative_limit_is_a_bug(self, store: LedgerStore) -> None:
        with pytest.raises(InvariantError):
            await store.entries(0, -1)
        with pytest.raises(InvariantError):
            await store.transfers("", (0, 0), -1)
        with pytest.raises(InvariantError):
            await store.documents("", b"", -1)

    async def test_a_request_is_found_by_principal_and_key(self, store: LedgerStore) -> None:
        alice = make_entry(0, "key", principal="alice")
        bob = make_entry(1, "key", principal="bob")
        await store.commit(make_commit(await store.tree_state(), alice, bob))
        assert await store.find_request("alice", "key") == alice
        assert await store.find_request("bob", "key") == bob
        assert await store.find_request("carol", "key") is None
        assert await store.find_request("alice", "KEY") is None

    @pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800"])
    async def test_what_no_text_can_be_is_not_found(self, store: LedgerStore, text: str) -> None:
        await grow(store, 1)
        assert await store.find_request("alice", text) is None
        assert await store.find_request(text, "request-0") is None
        assert list(await store.transfers(text, (0, 0), 10)) == []
        assert list(await store.documents(text, b"", 10)) == []
        assert list(await store.balances(text)) == []

    async def test_documents_are_paged_by_digest(self, store: LedgerStore) -> None:
        made = [make_document(b"%d" % number, f"KIND{number % 2}") for number in range(9)]
        await store.commit(
            make_commit(await store.tree_state(), make_entry(0), documents=tuple(made))
        )
        ordered = sorted(made, key=lambda document: document.sha256)
        assert list(await store.documents("", b"", 100)) == ordered
        first = await store.documents("", b"", 4)
        rest = await store.documents("", first[-1].sha256, 100)
        assert [*first, *rest] == ordered
        odd = [document for document in ordered if document.kind == "KIND1"]
        assert list(await store.documents("KIND1", b"", 100)) == odd
        assert list(await store.documents("KIND1", odd[0].sha256, 1)) == odd[1:2]
        assert list(await store.documents("KIND", b"", 100)) == []

    async def test_a_document_is_kept_once_as_it_first_came(self, store: LedgerStore) -> None:
        first = make_document(b"same", "BOOK", public=True)
        again = make_document(b"same", "OUTCOME")
        await store.commit(
            make_commit(await store.tree_state(), make_entry(0), documents=(first, again))
        )
        await store.commit(make_commit(await store.tree_state(), make_entry(1), documents=(again,)))
        assert list(await store.documents("", b"", 10)) == [first]

    async def test_transfers_are_paged_by_account(self, store: LedgerStore) -> None:
        made = (
            make_transfer(0, 0, debit="a", credit="b"),
            make_transfer(0, 1, debit="b", credit="c"),
            make_transfer(0, 2, debit="a", credit="a"),
            make_transfer(1, 0, debit="c", credit="a"),
            make_transfer(2, 0, debit="a", credit="b"),
            make_transfer(2, 10, debit="b", credit="a"),
        )
        entries = (make_entry(0), make_entry(1), make_entry(2))
        await store.commit(
            make_commit(await store.tree_state(), *entries, transfers=tuple(reversed(made)))
        )
        assert tuple(await store.transfers("", (0, 0), 100)) == made
        of_a = [made[0], made[2], made[3], made[4], made[5]]
        assert list(await store.transfers("a", (0, 0), 100)) == of_a
        assert list(await store.transfers("a", (0, 0), 2)) == of_a[:2]
        assert list(await store.transfers("a", (0, 1), 2)) == of_a[1:3]
        assert list(await store.transfers("a", (2, 1), 2)) == of_a[4:]
        assert list(await store.transfers("", (1, 0), 1)) == [made[3]]
        assert list(await store.transfers("nobody", (0, 0), 100)) == []

    async def test_balances_are_found_by_prefix(self, store: LedgerStore) -> None:
        names = ("a", "buyer:é", "buyer:x", "buyer:x%", "buyer", "buyes", "Buyer:x", "\U0010ffffz")
        made = [make_balance(name, number) for number, name in enumerate(names)]
        made += [make_balance("buyer:x", 5, asset="CREDIT:lab")]
        await store.commit(
            make_commit(await store.tree_state(), make_entry(0), balances=tuple(made))
        )

        def expected(prefix: str) -> list[Balance]:
            found = (balance for balance in made if balance.account.startswith(prefix))
            return sorted(found, key=lambda balance: (balance.asset, balance.account))

        for prefix in ("", "buyer:", "buyer", "buyer:x", "buyer:x%", "%", "_", "z", "\U0010ffff"):
            assert list(await store.balances(prefix)) == expected(prefix), prefix

    async def test_a_balance_is_replaced(self, store: LedgerStore) -> None:
        for index, posted in enumerate((5, -8, 0)):
            batch = make_commit(
                await store.tree_state(),
                make_entry(index),
                balances=(make_balance("a", posted), make_balance(f"b{index}", index)),
            )
            await store.commit(batch)
        found = {balance.account: balance.posted for balance in await store.balances("")}
        assert found == {"a": 0, "b0": 0, "b1": 1, "b2": 2}

    async def test_publishing_is_compare_and_swap(self, store: LedgerStore) -> None:
        await grow(store, 3)
        first = Published(size=1, checkpoint=b"origin\n1\n\x00\xff")
        second = Published(size=3, checkpoint=b"origin\n3\n")
        await store.publish(-1, first)
        assert await store.published() == first
        for wrong in (-1, 0, 3):
            with pytest.raises(StoreError) as refused:
                await store.publish(wrong, second)
            assert refused.value.code == "STALE_TREE_STATE"
        assert await store.published() == first
        await store.publish(1, second)
        assert await store.published() == second

    async def test_the_first_publication_expects_none(self, store: LedgerStore) -> None:
        with pytest.raises(StoreError) as refused:
            await store.publish(0, Published(size=0, checkpoint=b""))
        assert refused.value.code == "STALE_TREE_STATE"
        assert await store.published() is None

    async def test_nothing_ahead_of_the_tree_is_published(self, store: LedgerStore) -> None:
        await grow(store, 2)
        with pytest.raises(StoreError) as refused:
            await store.publish(-1, Published(size=3, checkpoint=b"ahead"))
        assert refused.value.code == "ROLLED_BACK"
        assert await store.published() is None

    async def test_of_concurrent_publishers_exactly_one_wins(self, store: LedgerStore) -> None:
        await grow(store, 1)
        made = [Published(size=1, checkpoint=b"by %d" % number) for number in range(4)]
        outcomes = await asyncio.gather(
            *(store.publish(-1, one) for one in made), return_exceptions=True
        )
        assert outcomes.count(None) == 1
        assert await store.published() == made[outcomes.index(None)]

    async def test_a_commit_without_entries_still_swaps(self, store: LedgerStore) -> None:
        state = await store.tree_state()
        batch = replace(make_commit(state), new=state, balances=(make_balance("a", 1),))
        await store.commit(batch)
        assert list(await store.balances("")) == [make_balance("a", 1)]
        await store.take_over()
        with pytest.raises(StoreError) as refused:
            await store.commit(batch)
        assert refused.value.code == "STALE_TREE_STATE"
