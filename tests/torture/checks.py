"""What must hold after every disaster, worked out from the database and the files alone.

Hashes, signatures and books are those of ``docs/verify_ledger.py``, which shares no code with
what wrote them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from tests.torture.forgery import INDEPENDENT

TRANSFERS = """
    SELECT transfer_id, asset, debit, credit, amount, applied, phase, code, pending_id, reason,
        contract_id, interval_start, quantity, price, corrects
    FROM transfers ORDER BY entry_index, position
"""


@dataclass(slots=True, kw_only=True)
class History:
    """What outsiders have seen of one log: receipts, refusals and checkpoints.

    Attributes:
        acknowledged: Envelope, index and leaf hash of every receipt.
        refused: Envelopes that were answered with a refusal and never sent again.
        notes: Every checkpoint that anybody could read.
        leaves: The log at the last check.
    """

    vkey: str
    acknowledged: list[tuple[bytes, int, str]] = field(default_factory=list)
    refused: set[bytes] = field(default_factory=set)
    notes: set[bytes] = field(default_factory=set)
    leaves: list[bytes] = field(default_factory=list)


async def check_database(url: str, history: History) -> None:
    """Entries, receipts, checkpoints and books of one log; also that it only grew."""
    connection = await asyncpg.connect(url)
    try:
        # One snapshot: a sequencer that was not killed goes on beside.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            entries = await connection.fetch("SELECT * FROM entries ORDER BY index")
            head = await connection.fetchrow("SELECT * FROM tree_state")
            published = await connection.fetchval("SELECT checkpoint FROM published")
            transfers = await connection.fetch(TRANSFERS)
            balances = await connection.fetch("SELECT * FROM balances")
    finally:
        await connection.close()
    leaves = [entry["leaf"] for entry in entries]
    assert [entry["index"] for entry in entries] == list(range(len(entries))), "indexes have gaps"
    assert head is not None
    assert (head["size"], head["root"]) == (len(leaves), root_of(leaves)), "the root is another"
    assert leaves[: len(history.leaves)] == history.leaves, "the log was rewritten"
    history.leaves = leaves
    check_receipts(entries, history)
    if published is not None:
        history.notes.add(published)
    check_notes(history)
    check_books(transfers, balances)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 root, by the independent verifier."""
    root: bytes = INDEPENDENT.tree_hash([INDEPENDENT.leaf_hash(leaf) for leaf in leaves])
    return root


def check_receipts(entries: Sequence[asyncpg.Record], history: History) -> None:
    """Every acknowledged envelope is there, once, where its receipt says; refused ones are not."""
    places: dict[bytes, list[int]] = {}
    for entry in entries:
        data = entry["leaf"] if entry["envelope"] is None else entry["envelope"]
        places.setdefault(data, []).append(entry["index"])
    for data, index, leaf_hash in history.acknowledged:
        assert places.get(data) == [index], f"acknowledged at {index}, found {places.get(data)}"
        found = INDEPENDENT.leaf_hash(entries[index]["leaf"]).hex()
        assert found == leaf_hash, f"entry {index} has another hash than its receipt"
    assert all(len(found) == 1 for found in places.values()), "an envelope stands twice"
    assert not history.refused & places.keys(), "a refused envelope is in the log"


def check_notes(history: History) -> None:
    """No checkpoint that was ever seen is contradicted by the log as it is now."""
    hashes = [INDEPENDENT.leaf_hash(leaf) for leaf in history.leaves]
    for note in history.notes:
        _, size, root = INDEPENDENT.read_checkpoint(note, history.vkey)
        assert size <= len(hashes), f"a checkpoint of {size} was published, the log has less"
        assert INDEPENDENT.tree_hash(hashes[:size]) == root, f"checkpoint {size} is contradicted"


def check_books(transfers: Sequence[asyncpg.Record], balances: Sequence[asyncpg.Record]) -> None:
    """Stored balances are what the transfers add up to, and every asset sums to zero."""
    books = INDEPENDENT.Accounts()
    promised: dict[tuple[str, str], int] = {}
    for row in transfers:
        item: dict[str, Any] = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a Record
        books.apply({**item, "amount": int(item["amount"])})
    for hold in books.open.values():
        key = (hold["credit"], hold["asset"])
        promised[key] = promised.get(key, 0) + hold["amount"]
    totals: dict[str, int] = {}
    for row in balances:
        key = (row["account"], row["asset"])
        expected = (books.posted.get(key, 0), books.held.get(key, 0), promised.get(key, 0))
        found = tuple(int(row[name]) for name in ("posted", "pending_debit", "pending_credit"))
        assert found == expected, f"{key} holds {found}, its transfers give {expected}"
        totals[row["asset"]] = totals.get(row["asset"], 0) + found[0]
    assert not any(totals.values()), f"assets do not sum to zero: {totals}"
    touched = {key for key, amount in books.posted.items() if amount}
    assert touched <= {(row["account"], row["asset"]) for row in balances}, "a balance is missing"


def check_files(directory: Path, history: History) -> int:
    """The published files below a directory, against the log; the size that they show.

    Files of a later state than the checkpoint's may lie beside: a kill comes between any two.
    """
    path = directory / "checkpoint"
    if not path.exists():
        return 0
    note = path.read_bytes()
    history.notes.add(note)
    _, size, root = INDEPENDENT.read_checkpoint(note, history.vkey)
    return check_tiles(directory, size, root)


def check_tiles(directory: Path, size: int, root: bytes) -> int:
    """Every tile and entry bundle of one size, to the root; the size."""
    leaves: list[bytes] = []
    for _, name, width in INDEPENDENT.tiles_of(size):
        data = (directory / "tile" / "entries" / name).read_bytes()
        for _ in range(width):
            end = 2 + int.from_bytes(data[:2], "big")
            leaves.append(data[2:end])
            data = data[end:]
        assert not data, f"bundle {name} goes on behind its entries"
    hashes, level = [INDEPENDENT.leaf_hash(leaf) for leaf in leaves], 0
    assert INDEPENDENT.tree_hash(hashes) == root, "the published entries give another root"
    while hashes:
        above = []
        for first, name, width in INDEPENDENT.tiles_of(len(hashes)):
            part = hashes[first : first + width]
            found = (directory / "tile" / str(level) / name).read_bytes()
            assert found == b"".join(part), f"tile {level}/{name} has other hashes"
            if width == INDEPENDENT.WIDTH:
                above.append(INDEPENDENT.tree_hash(part))
        hashes, level = above, level + 1
    return size


class SkippedError(RuntimeError):
    """Nothing was tortured, because this machine lacks what it takes; the message says what."""
