"""``ledger``: group commit into PostgreSQL, audit of a bundle, inclusion proofs from tiles.

All in this process but PostgreSQL, which is the embedded server with ``fsync`` on, on the
disk of the temporary directory.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from clearing.errors import InvariantError
from iso_exchange.audit.report import Step
from iso_exchange.audit.verify import verify
from iso_exchange.storage.embedded import Embedded
from iso_exchange.storage.migrate import migrate
from iso_exchange.storage.postgres import PostgresStore
from settlement.ledger import merkle, tiles
from settlement.storage.store import Commit, Entry, TreeState
from tests.benchmarks.audit_bundle import kept_bundle
from tests.benchmarks.exchange_process import disk_directory
from tests.benchmarks.spec import Benchmark, Row, at_least, at_most, percentile

ENVELOPE_BYTES: Final = 900
AUDIT_GOAL_ENTRIES: Final = 1_000_000
AUDIT_GOAL_PER_S: Final = AUDIT_GOAL_ENTRIES / 60
PROOFS: Final = 200
PATTERN: Final = 65_536
GOAL_PROOF_MS: Final = 10.0
GOAL_LEAVES: Final = 100_000_000
"""From this size on a proof is judged."""
SYNCS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSize:
    """Group commits of one batch size."""

    name: str
    entries: int
    commits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSize:
    """An auditor's bundle of auctions that were traded, cleared, delivered and settled."""

    name: str
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofSize:
    """A synthetic tree.

    Attributes:
        repeated: Leaves repeat after ``PATTERN``, so that every tile of a tree that fits into no
            memory can be had without its neighbours. Tiles are read from files.
    """

    name: str
    leaves: int
    repeated: bool = False


LedgerSize = CommitSize | AuditSize | ProofSize

SIZES: Final[tuple[LedgerSize, ...]] = (
    CommitSize(name="commit, 1 entry", entries=1, commits=200),
    CommitSize(name="commit, 100 entries", entries=100, commits=60),
    CommitSize(name="commit, 1,000 entries", entries=1_000, commits=15),
    AuditSize(name="audit, 10,000 entries", entries=10_000),
    ProofSize(name="proof, 10,000 leaves", leaves=10_000),
    ProofSize(name="proof, 1,000,000 leaves", leaves=1_000_000),
    ProofSize(name="proof, 100,000,000 leaves", leaves=100_000_000, repeated=True),
)
SLOW: Final[tuple[LedgerSize, ...]] = (
    AuditSize(name="audit, 250,000 entries", entries=250_000),
    AuditSize(name="audit, 1,000,000 entries", entries=1_000_000),
)
"""Their bundles take minutes to make, once."""
TINY: Final[tuple[LedgerSize, ...]] = (
    CommitSize(name="commit, tiny", entries=5, commits=2),
    AuditSize(name="audit, tiny", entries=300),
    ProofSize(name="proof, tiny", leaves=300),
    ProofSize(name="proof, tiny, repeated", leaves=200_000, repeated=True),
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
    kept = kept_bundle(size.entries)
    gc.collect()
    before, started = os.times(), time.perf_counter()
    report = verify(kept.directory, kept.vkey)
    seconds, after = time.perf_counter() - started, os.times()
    if not report.ok:
        raise InvariantError(f"the audit of a good bundle finds something: {report.failed}")
    batches = report.step(Step.BATCHES).checked
    signed, replayed = report.step(Step.SIGNATURES), report.step(Step.REPLAY)
    if report.not_checkable or {signed.checked, replayed.checked} != {report.entries - batches}:
        raise InvariantError(f"the audit left entries unchecked: {report.not_checkable}")
    spent = (after.user - before.user) + (after.system - before.system)
    beside = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    note = (
        f"{report.entries:,} entries in {seconds:.1f} s; every entry signed, "
        f"{report.auctions:,} auctions, {report.hours:,} hours; {kept.kinds}"
    )
    name = "verify, auditor bundle"
    rate = report.entries / seconds
    if size.entries >= AUDIT_GOAL_ENTRIES:
        yield at_least(size.name, name, rate, "entries/s", goal=AUDIT_GOAL_PER_S, note=note)
    else:
        yield Row(size=size.name, phase=name, value=rate, unit="entries/s", note=note)
    for phase, value in (("replay", spent), ("signatures beside it", beside)):
        yield Row(
            size=size.name,
            phase=f"processor time, {phase}",
            value=value * 1e6 / report.entries,
            unit="µs/entry",
            ratio=value / seconds,
            against="a core",
        )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    yield Row(size=size.name, phase="memory", value=memory, unit="MiB")


# Proofs -------------------------------------------------------------------------------------------


def _prove(size: ProofSize) -> Iterator[Row]:
    draw = Random(size.leaves)
    indexes = [draw.randrange(size.leaves) for _ in range(PROOFS)]
    if not size.repeated:
        files, root = _tree(size.leaves)
        reader = tiles.TileReader(files.get, size=size.leaves, root=root)
        yield from _proved(size, reader, indexes, root, f"{len(files):,} tiles in memory")
        return
    with disk_directory() as directory:
        root, written = _repeated_tree(size.leaves, indexes, directory)

        def read(path: str) -> bytes | None:
            try:
                return (directory / path).read_bytes()
            except FileNotFoundError:
                return None

        reader = tiles.TileReader(read, size=size.leaves, root=root)
        yield from _proved(size, reader, indexes, root, f"{written:,} tiles on the disk")


def _proved(
    size: ProofSize,
    reader: tiles.TileReader,
    indexes: Sequence[int],
    root: bytes,
    where: str,
) -> Iterator[Row]:
    took_ms, checked_ms = [], []
    for index in indexes:
        started = time.perf_counter()
        path = reader.inclusion_proof(index)
        took_ms.append((time.perf_counter() - started) * 1_000)
        leaf = merkle.leaf_hash(_leaf(index % PATTERN if size.repeated else index))
        started = time.perf_counter()
        merkle.verify_inclusion(index=index, size=size.leaves, leaf=leaf, proof=path, root=root)
        checked_ms.append((time.perf_counter() - started) * 1_000)
    note = f"{PROOFS} leaves drawn, every path verified; {where}"
    cold = "reads the edge of the tree and checks it against the root"
    if size.leaves >= GOAL_LEAVES:
        yield at_most(size.name, "first proof", took_ms[0], "ms", goal=GOAL_PROOF_MS, note=cold)
    else:
        yield Row(size=size.name, phase="first proof", value=took_ms[0], unit="ms", note=cold)
    for name, values in (("proof", took_ms), ("verified", checked_ms)):
        for share in (0.5, 0.99):
            value, phase = percentile(values, share), f"{name}, p{share * 100:.0f}"
            said = note if (name, share) == ("proof", 0.5) else ""
            if size.leaves >= GOAL_LEAVES and phase == "proof, p99":
                yield at_most(size.name, phase, value, "ms", goal=GOAL_PROOF_MS)
            else:
                yield Row(size=size.name, phase=phase, value=value, unit="ms", note=said)


def _repeated_tree(leaves: int, indexes: Sequence[int], directory: Path) -> tuple[bytes, int]:
    """Write what proofs of these leaves need; root, and number of files.

    Every aligned subtree of ``PATTERN`` leaves is the same, and so is every larger one.
    """
    height = PATTERN.bit_length() - 1
    tree = merkle.HashTree()
    tree.extend(merkle.leaf_hash(_leaf(index)) for index in range(PATTERN))
    above = [tree.subtree_hash(height, 0)]
    while 1 << (height + len(above)) <= leaves:
        above.append(merkle.node_hash(above[-1], above[-1]))

    def subtree(level: int, index: int) -> bytes:
        if level >= height:
            return above[level - height]
        return tree.subtree_hash(level, index % (1 << (height - level)))

    wanted = {tile for index in (*indexes, leaves - 1) for tile in _tiles_above(index, leaves)}
    for tile in wanted:
        path = directory / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiles.tile_bytes(tile, subtree))
    full = merkle.full_subtrees(0, leaves)
    frontier = merkle.Frontier(size=leaves, hashes=tuple(subtree(*place) for place in full))
    return frontier.root(), len(wanted)


def _tiles_above(index: int, leaves: int) -> Iterator[tiles.Tile]:
    """Tiles on the way from a leaf to the root, and those of the right edge."""
    level, count = 0, leaves
    while count:
        index >>= tiles.TILE_HEIGHT
        width = min(count - (index << tiles.TILE_HEIGHT), tiles.TILE_WIDTH)
        if width > 0:
            yield tiles.Tile(level=level, index=index, width=width)
        edge = count % tiles.TILE_WIDTH
        if edge:
            yield tiles.Tile(level=level, index=count >> tiles.TILE_HEIGHT, width=edge)
        count >>= tiles.TILE_HEIGHT
        level += 1


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
    slow=SLOW,
    tiny=TINY,
    run=run,
)
