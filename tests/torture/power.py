"""The power goes after any file operation: what was not synced may be lost, in part or whole.

The exchange's own writers (secrets, publisher, export of a bundle) run on a file system that
records them. For each moment disks are made that the recording allows: nothing unsynced, all of
it, names without content, and random parts with torn writes. From each the exchange must start
again, and every published file must be there up to the signed root.

What a sync promises here is what POSIX says, no more: of a file its content, of a folder the
names in it. File systems in use are kinder.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from iso_exchange.audit.bundle import BundleKind
from iso_exchange.secrets_file import load_or_create
from settlement.ledger.keys import NoteAlgorithm, NoteKey
from settlement.storage.store import Published
from tests.integration.bundles import write_bundle
from tests.integration.market_day import ORIGIN, MarketDay
from tests.torture import recorder
from tests.torture.checks import History, SkippedError, check_files, check_notes
from tests.torture.faults import ReportingStore, leaves, publish, publisher_of
from tests.torture.forgery import INDEPENDENT
from tests.torture.recorder import ROOT, Op

SIZES: Final = (1, 200, 256, 300, 600)
POLICIES: Final = ("nothing unsynced", "everything", "names without content", "random parts")
CHECKPOINT_MARK: Final = "checkpoint\n"


@dataclass(slots=True)
class Disk:
    """What is durable, and what is only in memory since the last sync."""

    data: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    writes: dict[int, list[Op]] = field(default_factory=dict)
    moves: dict[int, list[dict[str, int | None]]] = field(default_factory=dict)

    def apply(self, operation: Op) -> None:
        """One more operation reaches memory."""
        match operation:
            case ("create", folder, name, inode):
                self.data[inode] = b""
                self._move(folder, {name: inode})
            case ("mkdir", folder, name, inode):
                self.names[inode] = {}
                self._move(folder, {name: inode})
            case ("rename", folder, name, target, new, inode):
                assert folder == target, "a rename from folder to folder is not modelled"
                self._move(folder, {name: None, new: inode})
            case ("unlink", folder, name):
                self._move(folder, {name: None})
            case ("write" | "truncate", inode, *_):
                self.writes.setdefault(inode, []).append(operation)
            case ("sync", inode):
                if inode in self.names:
                    self.names[inode] = moved(self.names[inode], self.moves.pop(inode, []))
                else:
                    self.data[inode] = written(self.data[inode], self.writes.pop(inode, []))
            case _:
                raise AssertionError(operation)

    def _move(self, folder: int, change: dict[str, int | None]) -> None:
        self.moves.setdefault(folder, []).append(change)

    def image(self, folder: Path, policy: str, chance: random.Random, inode: int = ROOT) -> None:
        """One disk that may be found after the power went."""
        folder.mkdir()
        moves = kept(self.moves.get(inode, []), policy, chance, names=True)
        for name, number in moved(self.names[inode], moves).items():
            if number in self.names:
                self.image(folder / name, policy, chance, number)
                continue
            writes = kept(self.writes.get(number, []), policy, chance, names=False)
            if policy == "random parts" and writes and chance.randrange(2):
                writes[-1] = torn(writes[-1], chance)
            (folder / name).write_bytes(written(self.data[number], writes))


def kept(items: list[Any], policy: str, chance: random.Random, *, names: bool) -> list[Any]:
    """Of what was not synced, that which reached the disk all the same."""
    if policy == "random parts":
        return [item for item in items if chance.randrange(2)]
    everything = policy == "everything" or (policy == "names without content" and names)
    return list(items) if everything else []


def moved(names: dict[str, int], moves: list[dict[str, int | None]]) -> dict[str, int]:
    """Names of a folder after some changes."""
    found = dict(names)
    for change in moves:
        for name, inode in change.items():
            if inode is None:
                found.pop(name, None)
            else:
                found[name] = inode
    return found


def written(data: bytes, writes: list[Op]) -> bytes:
    """Content of a file after some changes."""
    found = bytearray(data)
    for operation in writes:
        if operation[0] == "truncate":
            found = bytearray(bytes(found[: operation[2]]).ljust(operation[2], b"\0"))
            continue
        _, _, offset, part = operation
        found.extend(bytes(max(0, offset - len(found))))
        found[offset : offset + len(part)] = part
    return bytes(found)


def torn(operation: Op, chance: random.Random) -> Op:
    """A write of which the beginning reached the disk."""
    if operation[0] != "write":
        return operation
    _, inode, offset, part = operation
    return ("write", inode, offset, part[: chance.randrange(len(part) + 1)])


# What is recorded ----------------------------------------------------------------------------


class MarkingStore(ReportingStore):
    """Marks in the recording what the database, which has a disk of its own, took."""

    def __init__(self, entries: list[bytes], disk: Path, note: bytes | None = None) -> None:
        super().__init__(entries, note)
        self._disk = disk

    async def publish(self, expected_size: int, new: Published) -> None:
        await super().publish(expected_size, new)
        recorder.mark(self._disk, CHECKPOINT_MARK + new.checkpoint.decode())


def live(disk: Path) -> None:
    """An exchange that makes its secrets and publishes a growing log."""
    key = load_or_create(disk / "secrets").log_key
    note: bytes | None = None
    for size in SIZES:
        store = MarkingStore(leaves(size), disk, note)
        with patch("tests.torture.parts.LOG_KEY", key):
            asyncio.run(publish(store, disk / "log"))
        published = asyncio.run(store.published())
        assert published is not None
        note = published.checkpoint


def export(disk: Path) -> None:
    """The export of a market day's bundle."""

    async def run(folder: Path) -> None:
        async with MarketDay(directory=folder) as day:
            with patch("os.fsync"):
                await day.run()
            await write_bundle(day, disk / "bundle", BundleKind.AUDITOR)
            recorder.mark(disk, "exported")

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name)))


# What must hold ------------------------------------------------------------------------------


def moments(operations: list[Op]) -> Iterator[tuple[int, Disk, list[str]]]:
    """The disk and the marks after each operation, and before the first."""
    disk, marks = Disk(), list[str]()
    yield 0, disk, marks
    for number, operation in enumerate(operations, start=1):
        if operation[0] == "mark":
            marks.append(operation[1])
        else:
            disk.apply(operation)
        yield number, disk, marks


def check_life(image: Path, marks: list[str]) -> None:
    """From this disk the exchange starts again and goes on with the same log."""
    with patch("os.fsync"):  # of the disk that the check itself works on
        key = load_or_create(image / "secrets").log_key
    vkey = NoteKey(name=ORIGIN, algorithm=NoteAlgorithm.ED25519, public=key.public).to_vkey()
    history = History(vkey=vkey, leaves=leaves(SIZES[-1]))
    history.notes |= {mark.removeprefix(CHECKPOINT_MARK).encode() for mark in marks}
    check_notes(history)  # a lost log key shows here
    shown = check_files(image / "log", history)
    taken = marks[-1].removeprefix(CHECKPOINT_MARK).encode() if marks else None
    store = ReportingStore(leaves(SIZES[-1]), taken)

    async def restart() -> None:
        publisher = publisher_of(store, image / "log")
        await publisher.start()
        size = check_files(image / "log", history)
        assert size >= shown, "a checkpoint that was seen is gone"
        assert size == (publisher.published.size if publisher.published else 0)
        await publisher.publish()

    with patch("os.fsync"), patch("tests.torture.parts.LOG_KEY", key):
        asyncio.run(restart())
    assert check_files(image / "log", history) == SIZES[-1]
    check_notes(history)


def check_export(image: Path, marks: list[str]) -> None:
    """A bundle that says it is one is whole."""
    code, line = INDEPENDENT.verify(image / "bundle")
    assert code == 0 or (code == 2 and not marks), line


PROGRAMS: Final = {"log and secrets": (live, check_life), "bundle": (export, check_export)}
UNSYNCED: Final[dict[str, Callable[[Op, set[int]], bool]]] = {
    "files": lambda operation, folders: operation[0] == "sync" and operation[1] not in folders,
    "folders": lambda operation, folders: operation[0] == "sync" and operation[1] in folders,
    "files and folders": lambda operation, _: operation[0] == "sync",
}
"""Switches of the layer: which syncs are believed and not done."""


def run(rounds: int, seed: int, *, unsynced: str = "") -> Counter[str]:
    """Cut the power at some (or all) moments.

    Args:
        unsynced: A key of ``UNSYNCED``; with any of them something must be lost.

    Raises:
        AssertionError: something durable is not.
    """
    reason = recorder.unavailable()
    if reason:
        raise SkippedError(reason)
    counts: Counter[str] = Counter()
    for name, (program, check) in PROGRAMS.items():
        operations = recorder.recorded(program)
        if unsynced:
            folders = {ROOT} | {item[3] for item in operations if item[0] == "mkdir"}
            drops = UNSYNCED[unsynced]
            operations = [item for item in operations if not drops(item, folders)]
        counts[f"operations, {name}"] = len(operations)
        chance = random.Random(f"power {seed}")
        cases = [(n, policy) for n in range(len(operations) + 1) for policy in POLICIES]
        chosen = set(chance.sample(cases, min(rounds, len(cases))))
        with tempfile.TemporaryDirectory() as folder:
            for number, disk, marks in moments(operations):
                for policy in POLICIES:
                    if (number, policy) not in chosen:
                        continue
                    image = Path(folder) / "image"
                    disk.image(image, policy, random.Random(f"power {seed} {number}"))
                    try:
                        check(image, marks)
                    except Exception as error:
                        error.add_note(f"{name}, power cut after operation {number}, {policy}")
                        raise
                    shutil.rmtree(image)
                    counts[f"power cuts, {policy}"] += 1
    return counts
