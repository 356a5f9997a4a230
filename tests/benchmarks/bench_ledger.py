"""``ledger``: group commit into PostgreSQL, audit of a bundle, inclusion proofs from tiles.

All in this process but PostgreSQL, which is the embedded server with ``fsync`` on, on the
disk of the temporary directory.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final
from unittest.mock import patch

from clearing.errors import InvariantError
from clearing.units import MicroUsd
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.report import Step
from iso_exchange.audit.verify import verify
from iso_exchange.commands import RecordDeposit
from iso_exchange.storage.embedded import Embedded
from iso_exchange.storage.migrate import migrate
from iso_exchange.storage.postgres import PostgresStore
from settlement.ledger import merkle, tiles
from settlement.storage.store import Commit, Entry, TreeState
from tests.benchmarks.exchange_process import disk_directory
from tests.benchmarks.spec import Benchmark, Row, at_least, percentile
from tests.integration.bundles import write_bundle
from tests.integration.market_day import MarketDay, header

ENVELOPE_BYTES: Final = 900
AUDIT_GOAL_PER_S: Final = 1_000_000 / 60
PROOFS: Final = 200
SYNCS: Final = 50
SUBMITTED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSize:
    """Group commits of one batch size."""

    name: str
    entries: int
    commits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSize:
    """An auditor's bundle with this many signed deposits.

    Not orders: those of an auction that is not published are sealed, and nothing of them
    would be checked.
    """

    name: str
    deposits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofSize:
    """A synthetic tree."""

    name: str
    leaves: int


LedgerSize = CommitSize | AuditSize | ProofSize

SIZES: Final[tuple[LedgerSize, ...]] = (
    CommitSize(name="commit, 1 entry", entries=1, commits=200),
    CommitSize(name="commit, 100 entries", entries=100, commits=60),
    CommitSize(name="commit, 1,000 entries", entries=1_000, commits=15),
    AuditSize(name="audit, 2,000 deposits", deposits=2_000),
    AuditSize(name="audit, 8,000 deposits", deposits=8_000),
    ProofSize(name="proof, 10,000 leaves", leaves=10_000),
    ProofSize(name="proof, 1,000,000 leaves", leaves=1_000_000),
)
TINY: Final[tuple[LedgerSize, ...]] = (
    CommitSize(name="commit, tiny", entries=5, commits=2),
    AuditSize(name="audit, tiny", deposits=10),
    ProofSize(name="proof, tiny", leaves=300),
)


def run(sizes: Sequence[LedgerSize]) -> Iterator[Row]:
    """Commits first, then audits, then proofs."""
    commits = [size for size in sizes if isinstance(size, CommitSize)]
    if commits:
        yield from asyncio.run(_commit_all(commits))
    for size in sizes:
        if isinstance(size, AuditSize):
            yield from _audit(size)
        elif isinstance(size, ProofSize):
            yield from _prove(size)


# Group commit -------------------------------------------------------------------------------------


async def _commit_all(sizes: Sequence[CommitSize]) -> list[Row]:
    rows: list[Row] = []
    with disk_directory() as directory:
        sync_ms = percentile(_sync_ms(directory), 0.5)
        rows.append(Row(size="disk", phase="fdatasync of 4 KiB, p50", value=sync_ms, unit="ms"))
        async with Embedded(directory / "postgres") as server:
            await migrate(server.url)
            store = await PostgresStore.open(server.url, application_name="iso bench")
            try:
                for size in sizes:
                    rows += await _commit(store, size, sync_ms)
            finally:
                await store.close()
    return rows


async def _commit(store: PostgresStore, size: CommitSize, sync_ms: float) -> list[Row]:
    """Batches are made before the clock starts; the frontier too."""
    head = await store.take_over()
    frontier = merkle.Frontier().extend(await _stored_hashes(store, head.size))
    commits: list[Commit] = []
    for _ in range(size.commits):
        entries = tuple(_entry(frontier.size + i) for i in range(size.entries))
        frontier = frontier.extend(entry.leaf_hash for entry in entries)
        new = TreeState(epoch=head.epoch, size=frontier.size, root=frontier.root())
        commits.append(
            Commit(expected=head, new=new, entries=entries, documents=(), transfers=(), balances=())
        )
        head = new
    latencies_ms = []
    for commit in commits:
        started = time.perf_counter()
        await store.commit(commit)
        latencies_ms.append((time.perf_counter() - started) * 1_000)
    stored = await _stored_hashes(store, head.size)
    if await store.tree_state() != head or merkle.Frontier().extend(stored).root() != head.root:
        raise InvariantError("the store does not hold what was committed")
    seconds = sum(latencies_ms) / 1_000
    total = size.entries * size.commits
    note = f"{size.commits} commits, one after the other, {ENVELOPE_BYTES} B envelopes"
    return [
        Row(size=size.name, phase="commit", value=total / seconds, unit="entries/s", note=note),
        Row(
            size=size.name,
            phase="commit, p50",
            value=percentile(latencies_ms, 0.5),
            unit="ms",
            ratio=percentile(latencies_ms, 0.5) / sync_ms,
            against="fdatasync of this disk",
        ),
        Row(size=size.name, phase="commit, p99", value=percentile(latencies_ms, 0.99), unit="ms"),
    ]


async def _stored_hashes(store: PostgresStore, size: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < size:
        page = await store.leaf_hashes(len(found), 1_000)
        if not page:
            raise InvariantError(f"the store has {len(found)} of {size} committed leaves")
        found += page
    return found


def _sync_ms(directory: Path) -> list[float]:
    """What one fdatasync of 4 KiB costs on this disk: no durable commit can be quicker."""
    found = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(4_096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append((time.perf_counter() - started) * 1_000)
    return found


def _entry(index: int) -> Entry:
    """An entry of the size and shape of an order."""
    body = hashlib.shake_256(index.to_bytes(8, "big")).digest(ENVELOPE_BYTES)
    leaf = body[:160]
    return Entry(
        index=index,
        kind="ORDER",
        time_us=1_800_000_000_000_000,
        leaf=leaf,
        leaf_hash=merkle.leaf_hash(leaf),
        envelope=body,
        salt=body[:32],
        owners=("lab-1",),
        principal="lab-1",
        request_id=f"request-{index}",
        body_sha256=hashlib.sha256(body).digest(),
        reply=body[:120],
    )


# Audit --------------------------------------------------------------------------------------------


def _audit(size: AuditSize) -> Iterator[Row]:
    with disk_directory() as directory:
        vkey = asyncio.run(_make_bundle(directory, size))
        started, spent = time.perf_counter(), time.process_time()
        report = verify(directory / "auditor", vkey)
        seconds, spent = time.perf_counter() - started, time.process_time() - spent
    if not report.ok:
        raise InvariantError(f"the audit of a good bundle finds something: {report.failed}")
    signed, replayed = report.step(Step.SIGNATURES), report.step(Step.REPLAY)
    if report.not_checkable or min(signed.checked, replayed.checked) < size.deposits:
        raise InvariantError(f"the audit left entries unchecked: {report.not_checkable}")
    yield at_least(
        size.name,
        "verify, auditor bundle",
        report.entries / seconds,
        "entries/s",
        goal=AUDIT_GOAL_PER_S,
        note=f"{report.entries:,} entries, {seconds:.2f} s wall, {spent:.2f} s processor; "
        f"{signed.checked:,} signatures, {replayed.checked:,} replayed, no auction cleared",
    )


async def _make_bundle(directory: Path, size: AuditSize) -> str:
    """A registered market with many deposits, published and exported before anybody trades."""
    # Syncing many small files is not what is measured here.
    with patch("os.fsync"):
        async with MarketDay(directory=directory) as day:
            await day.open_market()
            for first in range(0, size.deposits, SUBMITTED_AT_ONCE):
                batch = [
                    day.submission("operator", _deposit(index))
                    for index in range(first, min(size.deposits, first + SUBMITTED_AT_ONCE))
                ]
                await day._accepted(batch)
            await day.publisher.publish()
            await write_bundle(day, directory / "auditor", BundleKind.AUDITOR)
            return day.vkey


def _deposit(index: int) -> RecordDeposit:
    return RecordDeposit(
        header=header("operator", f"bench/{index}"),
        participant_id=f"lab-{1 + index % 3}",
        amount=MicroUsd(1_000_000),
        bank_reference=f"bench-{index}",
    )


# Proofs -------------------------------------------------------------------------------------------


def _prove(size: ProofSize) -> Iterator[Row]:
    files, root = _tree(size.leaves)
    draw = Random(size.leaves)
    indexes = [draw.randrange(size.leaves) for _ in range(PROOFS)]
    reader = tiles.TileReader(files.get, size=size.leaves, root=root)
    took_ms, checked_ms = [], []
    for index in indexes:
        started = time.perf_counter()
        path = reader.inclusion_proof(index)
        took_ms.append((time.perf_counter() - started) * 1_000)
        leaf = merkle.leaf_hash(_leaf(index))
        started = time.perf_counter()
        merkle.verify_inclusion(index=index, size=size.leaves, leaf=leaf, proof=path, root=root)
        checked_ms.append((time.perf_counter() - started) * 1_000)
    note = f"{PROOFS} leaves drawn, every path verified; {len(files):,} tiles in memory"
    cold = "reads the edge of the tree and checks it against the root"
    yield Row(size=size.name, phase="first proof", value=took_ms[0], unit="ms", note=cold)
    for name, values in (("proof", took_ms), ("verified", checked_ms)):
        for share in (0.5, 0.99):
            value = percentile(values, share)
            yield Row(
                size=size.name,
                phase=f"{name}, p{share * 100:.0f}",
                value=value,
                unit="ms",
                note=note if (name, share) == ("proof", 0.5) else "",
            )


def _leaf(index: int) -> bytes:
    return index.to_bytes(8, "big")


def _tree(leaves: int) -> tuple[dict[str, bytes], bytes]:
    """Tiles by path, without entry bundles, and the root."""
    tree = merkle.HashTree()
    tree.extend(merkle.leaf_hash(_leaf(index)) for index in range(leaves))
    files = {
        tile.path: tiles.tile_bytes(tile, tree.subtree_hash)
        for tile in tiles.changed_tiles(0, leaves)
    }
    return files, tree.root()


BENCHMARK: Final = Benchmark(
    name="ledger",
    title="group commit into PostgreSQL (fsync on), offline audit, inclusion proofs from tiles",
    sizes=SIZES,
    tiny=TINY,
    run=run,
)
