"""Random forgeries of an audit bundle, from a flipped byte to a log signed anew by the exchange.

Every one of them must be found by ``iso audit verify`` and by ``docs/verify_ledger.py``, which
shares no code with it, and both must name a place.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from clearing import codec
from iso_exchange.audit.verify import verify
from settlement.types import Phase, Postings, Statement, Transfer
from tests.integration.bundles import (
    LogEntry,
    Made,
    change_entry,
    read_bundle,
    read_leaves,
    reseal,
    write_document,
    write_leaves,
)

STANDALONE: Final = Path(__file__).parents[2] / "docs" / "verify_ledger.py"


def standalone() -> ModuleType:
    """``docs/verify_ledger.py``, loaded as a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location("verify_ledger", STANDALONE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INDEPENDENT: Final = standalone()


def findings(directory: Path, vkey: str | None) -> dict[str, str]:
    """What each of the two verifiers says is wrong, empty where it finds nothing."""
    code, line = INDEPENDENT.verify(directory, vkey)
    report = verify(directory, vkey)
    first = report.failed[0] if report.failed else None
    return {
        "verify_ledger.py": "" if code == 0 else line,
        "iso audit verify": "" if first is None else f"{first.name} {first.place}: {first.detail}",
    }


Forgery = Callable[[Path, random.Random], str]
"""Changes a bundle in place and says what it did."""


def flip(directory: Path, chance: random.Random) -> str:
    """One bit of one file, under the digest that the listing gives it."""
    path = chance.choice(sorted(path for path in directory.rglob("*") if path.is_file()))
    return flip_at(directory, path, chance)


def flip_at(directory: Path, path: Path, chance: random.Random) -> str:
    """One bit of a file."""
    body = bytearray(path.read_bytes())
    position = chance.randrange(len(body))
    body[position] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(body))
    return f"bit of byte {position} of {path.relative_to(directory)}"


def flip_and_list(directory: Path, chance: random.Random) -> str:
    """The same with the listing made to fit: the log itself must find it."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    path = chance.choice(sorted(path for path in files if path.name != "bundle.json"))
    what = flip_at(directory, path, chance)
    reseal(directory)
    return f"{what}, listed anew"


def shuffle(directory: Path, chance: random.Random) -> str:
    """An entry dropped, repeated or swapped: signed anew, or under the old checkpoint."""
    leaves = read_leaves(directory)
    size = len(leaves)
    index = chance.randrange(size - 1)
    kind = chance.choice(["drop", "repeat", "swap"])
    if kind == "drop":
        del leaves[index]
    elif kind == "repeat":
        leaves.insert(chance.randrange(size), leaves[index])
    else:
        other = chance.choice([place for place in range(size) if place != index])
        leaves[index], leaves[other] = leaves[other], leaves[index]
    note = (directory / "log" / "checkpoint").read_bytes()
    if chance.randrange(2):
        write_leaves(directory, leaves)
        return f"{kind} entry {index}, signed anew"
    # As many leaves as the checkpoint names, so that only their hashes can tell.
    write_leaves(directory, [*leaves, leaves[0]][:size])
    (directory / "log" / "checkpoint").write_bytes(note)
    reseal(directory)
    return f"{kind} entry {index}, under the old checkpoint"


def restate(directory: Path, chance: random.Random) -> str:
    """A statement changed by the exchange, which signs entry, batch and checkpoint anew."""
    number = chance.randrange(count_of(directory, "STATEMENT"))
    change = chance.choice(STATEMENTS)
    restate_one(directory, number, change)
    return f"statement {number}: {change.__name__}"


def restate_one(directory: Path, number: int, change: Callable[[Statement], Statement]) -> None:
    """The statement of that number in the log, changed and signed anew."""
    change_entry(
        directory,
        "STATEMENT",
        lambda entry: with_document(directory, entry, "statement_sha256", Statement, change),
        number=number,
    )


def repost(directory: Path, chance: random.Random) -> str:
    """Postings of an hour changed by the exchange, which signs everything anew."""
    number = chance.randrange(count_of(directory, "POSTINGS"))
    change = chance.choice(POSTINGS)
    seed = chance.random()
    change_entry(
        directory,
        "POSTINGS",
        lambda entry: with_document(
            directory,
            entry,
            "postings_sha256",
            Postings,
            lambda value: change(value, random.Random(seed)),
        ),
        number=number,
    )
    return f"postings {number}: {change.__name__}"


def count_of(directory: Path, kind: str) -> int:
    """Openings of a kind."""
    return (directory / "openings.jsonl").read_bytes().count(f'"kind":"{kind}"'.encode())


def with_document(
    directory: Path, entry: LogEntry, field: str, kind: type[Any], change: Callable[[Any], Any]
) -> LogEntry:
    """The entry with another document behind one of its digests, signed by the exchange."""
    path = directory / "documents" / getattr(entry.command, field)
    body = codec.encode(change(codec.decode(path.read_bytes(), kind)))
    path.unlink()
    digest = write_document(directory, body)
    return entry.signed_again(dataclasses.replace(entry.command, **{field: digest}), "exchange")


def raise_line(issued: Statement) -> Statement:
    """A cent more in a line and in the closing balance."""
    line = dataclasses.replace(issued.lines[0], amount=issued.lines[0].amount + 10_000)
    return dataclasses.replace(
        issued,
        lines=(line, *issued.lines[1:]),
        closing=issued.closing + 10_000,  # type: ignore[arg-type]
    )


def drop_line(issued: Statement) -> Statement:
    """A line left out; opening, lines and closing still add up."""
    return dataclasses.replace(
        issued,
        lines=issued.lines[1:],
        closing=issued.closing - issued.lines[0].amount,  # type: ignore[arg-type]
    )


def raise_opening(issued: Statement) -> Statement:
    """Another opening balance; the sum still holds."""
    return dataclasses.replace(
        issued,
        opening=issued.opening + 1,  # type: ignore[arg-type]
        closing=issued.closing + 1,  # type: ignore[arg-type]
    )


def pay_more(issued: Statement) -> Statement:
    """A cent more paid out."""
    return dataclasses.replace(issued, payout=issued.payout + 10_000)  # type: ignore[arg-type]


def rename_party(issued: Statement) -> Statement:
    """To somebody else."""
    return dataclasses.replace(issued, party_id="somebody")


STATEMENTS: Final = (raise_line, drop_line, raise_opening, pay_more, rename_party)


def raise_amount(postings: Postings, chance: random.Random) -> Postings:
    """One transfer moves a micro-dollar more."""
    moves = [n for n, item in enumerate(postings.transfers) if item.amount]
    return _changed(postings, chance.choice(moves), lambda item: {"amount": item.amount + 1})


def redirect(postings: Postings, chance: random.Random) -> Postings:
    """One transfer goes to somebody else."""
    place = chance.randrange(len(postings.transfers))
    return _changed(postings, place, lambda _: {"credit": "p:lab-3:cash"})


def post_twice(postings: Postings, chance: random.Random) -> Postings:
    """A hold is resolved once more, under a new name."""
    holds = [item for item in postings.transfers if item.pending_id]
    again = dataclasses.replace(chance.choice(holds), transfer_id="again")
    return dataclasses.replace(postings, transfers=(*postings.transfers, again))


def leave_out(postings: Postings, chance: random.Random) -> Postings:
    """A transfer that moves something, or resolves a hold, is missing."""
    place = chance.randrange(len(postings.transfers))
    left = postings.transfers[:place] + postings.transfers[place + 1 :]
    return dataclasses.replace(postings, transfers=left)


def post_voided(postings: Postings, chance: random.Random) -> Postings:
    """More than was held."""
    places = [n for n, item in enumerate(postings.transfers) if item.phase is Phase.POST_PENDING]
    return _changed(postings, chance.choice(places), lambda item: {"amount": item.amount + 10**15})


POSTINGS: Final = (raise_amount, redirect, post_twice, leave_out, post_voided)


def _changed(
    postings: Postings, place: int, change: Callable[[Transfer], dict[str, Any]]
) -> Postings:
    item = postings.transfers[place]
    changed = dataclasses.replace(item, **change(item))
    transfers = (*postings.transfers[:place], changed, *postings.transfers[place + 1 :])
    return dataclasses.replace(postings, transfers=transfers)


FORGERIES: Final[dict[str, Forgery]] = {
    "flipped bit": flip,
    "flipped bit, listed anew": flip_and_list,
    "entry dropped, repeated or swapped": shuffle,
    "statement altered": restate,
    "postings altered": repost,
}


def run(made: Made, folder: Path, rounds: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Forge some bundles; how often each way, and what a verifier did not find."""
    counts: Counter[str] = Counter()
    missed: list[str] = []
    for number in range(rounds):
        chance = random.Random(f"forgery {seed} {number}")
        name = list(FORGERIES)[number % len(FORGERIES)]
        is_public = name.startswith("flipped") and chance.random() < 0.3
        directory = folder / f"forged-{number}"
        shutil.copytree(made.public if is_public else made.auditor, directory)
        what = FORGERIES[name](directory, chance)
        counts[name] += 1
        missed += [
            f"round {number} seed {seed}: {verifier} does not find: {what}"
            for verifier, finding in findings(directory, made.vkey).items()
            if not finding
        ]
        shutil.rmtree(directory)
    assert read_bundle(made.auditor).size > 0
    return counts, missed
