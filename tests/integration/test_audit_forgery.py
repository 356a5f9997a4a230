"""Whoever changes anything in a bundle, with whatever keys, fails a step that names the place.

From the weakest forger (flips a byte) to the strongest (the exchange itself, which signs a
whole consistent log of its own making).
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange.audit.bundle import BundleKind, Opening
from iso_exchange.audit.report import Result, Step
from iso_exchange.audit.verify import verify
from iso_exchange.commands import (
    Header,
    IssueStatement,
    RevokeKey,
)
from settlement.types import Statement
from tests.integration.bundles import (
    LOG_KEY,
    Batch,
    LogEntry,
    Made,
    change_entry,
    make_bundles,
    read_bundle,
    read_leaves,
    read_log,
    replaced,
    reseal,
    vkey_of,
    write_document,
    write_leaves,
    write_log,
)
from tests.integration.market_day import (
    GATE,
    MORNING,
    ORIGIN,
    key_of,
)

FUZZ_ROUNDS = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("day"))


@pytest.fixture
def bundle(made: Made, tmp_path: Path) -> Path:
    """An auditor bundle to change."""
    return Path(shutil.copytree(made.auditor, tmp_path / "bundle"))


def failed(directory: Path, made: Made) -> list[str]:
    return [step.name for step in verify(directory, made.vkey).failed]


def flip(path: Path, position: int, mask: int = 1) -> None:
    body = bytearray(path.read_bytes())
    body[position] ^= mask
    path.write_bytes(bytes(body))


# A byte ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    ("pattern", "steps"),
    [
        ("bundle.json", {"FILES", "CHECKPOINT"}),
        ("log/checkpoint", {"CHECKPOINT"}),
        ("log/tile/0/*.p/*", {"TREE"}),
        ("log/tile/entries/*.p/*", {"TREE"}),
        ("openings.jsonl", {"COMMITMENTS"}),
        ("documents/*", {"DOCUMENTS"}),
    ],
)
def test_a_flipped_byte(
    bundle: Path, made: Made, pattern: str, steps: set[str], where: int
) -> None:
    files = sorted(path for path in bundle.glob(pattern) if path.is_file())
    assert files
    path = files[where % len(files)]
    flip(path, (path.stat().st_size - 1) * where // 4)
    assert failed(bundle, made)[0] in {"FILES", *steps}
    if pattern != "bundle.json":
        # With the listing made to fit, the step that is about this kind of file finds it.
        reseal(bundle)
        assert set(failed(bundle, made)) & {"FILES", *steps}


def test_a_flipped_byte_in_any_file_of_a_public_bundle(made: Made, tmp_path: Path) -> None:
    names = [file.path for file in read_bundle(made.public).files]
    passed = []
    for name in ("bundle.json", *names):
        directory = Path(shutil.copytree(made.public, tmp_path / name.replace("/", "-")))
        path = directory / name
        flip(path, path.stat().st_size // 2)
        if name != "bundle.json":
            reseal(directory)
        if verify(directory, made.vkey).ok:
            passed.append(name)
    assert len(names) >= 4
    assert passed == []


def test_random_changes_of_random_files_fail_and_never_crash(bundle: Path, made: Made) -> None:
    chance = random.Random(20_260_101)
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    passed = []
    for round_number in range(FUZZ_ROUNDS):
        path = chance.choice(files)
        before = path.read_bytes()
        listing = (bundle / "bundle.json").read_bytes()
        path.write_bytes(mutated(before, chance))
        if path.name != "bundle.json" and chance.random() < 0.8:
            reseal(bundle)
        if verify(bundle, made.vkey).ok and path.read_bytes() != before:
            passed.append((round_number, path.name))
        path.write_bytes(before)
        (bundle / "bundle.json").write_bytes(listing)
    assert passed == []
    assert failed(bundle, made) == []


def mutated(body: bytes, chance: random.Random) -> bytes:
    """Another content: a byte, a cut, a repetition, or rubbish."""
    start = chance.randrange(len(body))
    stop = min(len(body), start + chance.randrange(1, 40))
    kind = chance.randrange(5)
    if kind == 0:
        return body[:start] + bytes([body[start] ^ (1 << chance.randrange(8))]) + body[start + 1 :]
    if kind == 1:
        return body[:start]
    if kind == 2:
        return body[:stop] + body[start:]
    if kind == 3:
        return body[:start] + chance.randbytes(stop - start) + body[stop:] + b"x"
    return chance.choice([b"", b"{}", b"[" * 100_000, b"null", b'{"index":' + b"9" * 5_000 + b"}"])


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", "[" * 200_000, '{"files":' + "9" * 10_000 + "}", "\ud800", "NaN"],
)
def test_an_unreadable_listing_is_a_finding(bundle: Path, text: str) -> None:
    (bundle / "bundle.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    report = verify(bundle)
    assert [step.name for step in report.failed] == ["FILES"]
    assert {step.result for step in report.steps[1:]} == {Result.NOT_CHECKABLE}


@pytest.mark.parametrize("size", [-1, 0, 1, 10**15, 2**62, 2**70])
def test_a_false_size_is_found_at_once(bundle: Path, made: Made, size: int) -> None:
    reseal(bundle, size=size)
    assert failed(bundle, made)[0] == "FILES"


def test_files_that_are_missing_added_linked_or_no_files(bundle: Path, made: Made) -> None:
    (bundle / "extra").write_text("x")
    assert failed(bundle, made) == ["FILES"]
    reseal(bundle)
    assert failed(bundle, made) == ["FILES"]
    (bundle / "extra").unlink()
    document = min((bundle / "documents").iterdir())
    moved = document.rename(bundle.parent / document.name)
    assert {"FILES", "DOCUMENTS"} <= set(failed(bundle, made))
    document.symlink_to(moved)
    assert {"FILES", "DOCUMENTS"} <= set(failed(bundle, made))
    document.unlink()
    os.mkfifo(document)
    assert {"FILES", "DOCUMENTS"} <= set(failed(bundle, made))
    document.unlink()
    shutil.move(moved, document)
    (bundle / "link").symlink_to(bundle.parent)
    reseal(bundle)
    assert verify(bundle).step(Step.FILES).place == "link"


def test_a_path_out_of_the_bundle_is_not_followed(bundle: Path, made: Made) -> None:
    (bundle.parent / "secret").write_text("secret")
    listed = read_bundle(bundle)
    outside = dataclasses.replace(listed.files[-1], path="../secret")
    files = tuple(sorted((*listed.files, outside), key=lambda file: file.path))
    changed = dataclasses.replace(listed, files=files)
    (bundle / "bundle.json").write_bytes(codec.encode(changed))
    report = verify(bundle, made.vkey)
    assert report.step(Step.FILES).place == "../secret"
    assert "does not belong" in report.step(Step.FILES).detail


def test_a_document_that_no_entry_names(bundle: Path, made: Made) -> None:
    write_document(bundle, b"{}")
    reseal(bundle)
    assert failed(bundle, made) == ["DOCUMENTS"]


def test_a_public_bundle_is_no_auditor_bundle(made: Made, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(made.public, tmp_path / "bundle"))
    reseal(directory, kind=BundleKind.AUDITOR)
    report = verify(directory, made.vkey)
    assert report.step(Step.FILES).place == "openings.jsonl"
    assert report.step(Step.COMMITMENTS).result is Result.FAILED
    assert report.step(Step.BALANCES).result is not Result.OK


# The log, without the log's key ------------------------------------------------------------


def test_entries_dropped_repeated_or_swapped_under_the_old_root(bundle: Path, made: Made) -> None:
    checkpoint = (bundle / "log" / "checkpoint").read_bytes()
    leaves = read_leaves(bundle)
    for changed in (
        [*leaves[:5], *leaves[6:], leaves[0]],
        [*leaves[:6], leaves[5], *leaves[6:-1]],
        [*leaves[:5], leaves[6], leaves[5], *leaves[7:]],
    ):
        assert len(changed) == len(leaves)
        write_leaves(bundle, changed)
        (bundle / "log" / "checkpoint").write_bytes(checkpoint)
        reseal(bundle)
        assert failed(bundle, made) == ["TREE"]


def test_a_forged_log_under_another_key(bundle: Path, made: Made) -> None:
    forger = key_of("forger")
    write_log(bundle, read_log(bundle), forger)
    assert failed(bundle, made) == ["CHECKPOINT", "BATCHES"]
    # Whoever trusts the bundle's own key learns whose key it is, and nothing else is wrong.
    reseal(bundle, vkey=vkey_of(forger))
    report = verify(bundle)
    assert report.ok
    assert report.trusts_own_key
    assert report.vkey == vkey_of(forger)


def test_a_checkpoint_signed_again_over_a_shorter_log(bundle: Path, made: Made) -> None:
    write_leaves(bundle, read_leaves(bundle)[:100], key_of("forger"))
    assert "CHECKPOINT" in failed(bundle, made)


# The log, with the log's key: the operator forges -------------------------------------------


def test_rebuilding_an_honest_log_changes_nothing(bundle: Path, made: Made) -> None:
    write_log(bundle, read_log(bundle))
    assert verify(bundle, made.vkey).ok


@pytest.mark.parametrize("change", ["drop", "repeat", "swap"])
def test_entries_changed_under_a_new_root_and_old_headers(
    bundle: Path, made: Made, change: str
) -> None:
    leaves = read_leaves(bundle)
    if change == "drop":
        del leaves[30]
    elif change == "repeat":
        leaves.insert(30, leaves[30])
    else:
        leaves[30], leaves[32] = leaves[32], leaves[30]
    write_leaves(bundle, leaves)
    assert "BATCHES" in failed(bundle, made)


def orders_of(batches: list[Batch]) -> list[Batch]:
    """The batches with one order each."""
    return [batch for batch in batches if [entry.kind for entry in batch.entries] == ["ORDER"]]


def test_a_dropped_order_misses_in_the_book_root(bundle: Path, made: Made) -> None:
    batches = read_log(bundle)
    batches.remove(orders_of(batches)[0])
    write_log(bundle, batches)
    step = verify(bundle, made.vkey).step(Step.BOOKS)
    assert step.result is Result.FAILED
    assert "orders with root" in step.detail


def test_swapped_orders_change_the_book_root(bundle: Path, made: Made) -> None:
    batches = read_log(bundle)
    first, second = orders_of(batches)[:2]
    first.entries, second.entries = second.entries, first.entries
    write_log(bundle, batches)
    assert "orders with root" in verify(bundle, made.vkey).step(Step.BOOKS).detail


def test_a_repeated_order_repeats_its_request(bundle: Path, made: Made) -> None:
    batches = read_log(bundle)
    order = orders_of(batches)[0]
    batches.insert(batches.index(order) + 1, order)
    write_log(bundle, batches)
    report = verify(bundle, made.vkey).step(Step.REPLAY)
    assert "was accepted before" in report.detail


def test_a_late_order_is_refused_by_the_rules(bundle: Path, made: Made) -> None:
    batches = read_log(bundle)
    order = orders_of(batches)[-1]
    for batch in batches[batches.index(order) :]:
        batch.time_us = max(batch.time_us, GATE * 1_000_000)
    write_log(bundle, batches)
    report = verify(bundle, made.vkey).step(Step.REPLAY)
    assert "GATE_CLOSED" in report.detail


def test_time_that_falls_is_found(bundle: Path, made: Made) -> None:
    batches = read_log(bundle)
    batches[-1].time_us = MORNING
    write_log(bundle, batches)
    assert failed(bundle, made)[0] == "BATCHES"


def test_an_order_signed_by_somebody_else(bundle: Path, made: Made) -> None:
    change_entry(bundle, "ORDER", lambda entry: entry.signed_again(entry.command, "lab-2"))
    step = verify(bundle, made.vkey).step(Step.SIGNATURES)
    assert step.result is Result.FAILED
    assert "BAD_SIGNATURE" in step.detail


def test_an_order_of_a_key_that_was_revoked(bundle: Path, made: Made) -> None:
    batches = read_log(bundle)
    first = orders_of(batches)[0]
    signer = first.entries[0].command.participant_id
    revocation = RevokeKey(
        header=Header(
            origin=ORIGIN,
            signer_id="operator",
            request_id="revoke",
            create_time=UnixSeconds(MORNING),
        ),
        participant_id=signer,
        key_id=key_of(signer).key_id,
        reason="lost",
    )
    entry = LogEntry(data=b"", salt=b"").signed_again(revocation, "operator")
    revoked = Batch(time_us=first.time_us, epoch=first.epoch, entries=[entry])
    batches.insert(batches.index(first), revoked)
    write_log(bundle, batches)
    assert "KEY_REVOKED" in verify(bundle, made.vkey).step(Step.SIGNATURES).detail


def test_a_result_that_the_exchange_did_not_sign(bundle: Path, made: Made) -> None:
    change_entry(bundle, "AUCTION_RESULT", lambda entry: entry.signed_again(entry.command, "sup-a"))
    assert failed(bundle, made) == ["SIGNATURES"]


def test_an_order_published_in_the_open(bundle: Path, made: Made) -> None:
    change_entry(bundle, "ORDER", lambda entry: dataclasses.replace(entry, salt=b""))
    step = verify(bundle, made.vkey).step(Step.COMMITMENTS)
    assert step.detail == "ORDER must not be a plain leaf"


@pytest.mark.parametrize("field", ["salt", "envelope", "kind", "documents", "index"])
def test_an_opening_that_does_not_fit(bundle: Path, made: Made, field: str) -> None:
    changes: dict[str, Any] = {
        "salt": b"s" * 32,
        "envelope": "e30=",
        "kind": "DEPOSIT",
        "documents": ("00" * 32,),
        "index": 1,
    }
    path = bundle / "openings.jsonl"
    lines = path.read_bytes().splitlines()
    opening = codec.decode(lines[10], Opening)
    lines[10] = codec.encode(dataclasses.replace(opening, **{field: changes[field]}))
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    reseal(bundle)
    step = verify(bundle, made.vkey).step(Step.COMMITMENTS)
    assert step.result is Result.FAILED
    assert step.place == f"entry {opening.index}"


def test_openings_missing_or_too_many(bundle: Path, made: Made) -> None:
    path = bundle / "openings.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in (lines[:-1], [*lines, lines[-1]], lines[1:], []):
        path.write_bytes(b"".join(changed))
        reseal(bundle)
        assert "COMMITMENTS" in failed(bundle, made)


NAMED = (
    ("POSTINGS", "postings_sha256"),
    ("POSTINGS", "delivered_sha256"),
    ("AUCTION_RESULT", "book_sha256"),
    ("AUCTION_RESULT", "outcome_sha256"),
    ("AUCTION_RESULT", "assignment_sha256"),
    ("AUCTION_RESULT", "postings_sha256"),
    ("AUCTION_PRICES", "prices_sha256"),
    ("AWARD", "notice_sha256"),
    ("STATEMENT", "statement_sha256"),
)
"""Every document that an entry names."""


# Documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "field"), NAMED)
def test_a_document_changed_and_hashed_again(
    bundle: Path, made: Made, kind: str, field: str
) -> None:
    entries = [entry for batch in read_log(bundle) for entry in batch.entries if entry.kind == kind]
    path = bundle / "documents" / getattr(entries[0].command, field)
    body = path.read_bytes()
    path.unlink()
    write_document(bundle, body.replace(b"1", b"2", 1))
    reseal(bundle)
    step = verify(bundle, made.vkey).step(Step.DOCUMENTS)
    assert step.result is Result.FAILED
    assert "is missing" in step.detail


@pytest.mark.parametrize("body", [b"{}", b"[" * 50_000, b'{"a":1e400}'])
@pytest.mark.parametrize(("kind", "field"), NAMED)
def test_a_document_of_rubbish_that_the_exchange_signed(
    bundle: Path, made: Made, kind: str, field: str, body: bytes
) -> None:
    digest = write_document(bundle, body)
    change_entry(
        bundle,
        kind,
        lambda entry: entry.signed_again(replaced(entry.command, **{field: digest}), "exchange"),
    )
    assert set(failed(bundle, made)) - {"DOCUMENTS"}


@pytest.mark.parametrize("digest", ["zz", "../../bundle.json"])
@pytest.mark.parametrize(("kind", "field"), NAMED)
def test_a_digest_that_names_nothing(
    bundle: Path, made: Made, kind: str, field: str, digest: str
) -> None:
    change_entry(
        bundle,
        kind,
        lambda entry: entry.signed_again(replaced(entry.command, **{field: digest}), "exchange"),
    )
    assert "DOCUMENTS" in failed(bundle, made)


def test_a_statement_drawn_up_anew_by_the_exchange(bundle: Path, made: Made) -> None:
    """Document, entry, log and checkpoint all fit; only the money does not."""

    def change(entry: LogEntry) -> LogEntry:
        command = entry.command
        body = (bundle / "documents" / command.statement_sha256).read_bytes()
        issued = codec.decode(body, Statement)
        line = dataclasses.replace(issued.lines[0], amount=issued.lines[0].amount + 10_000)
        changed = replaced(issued, lines=(line, *issued.lines[1:]), closing=issued.closing + 10_000)
        digest = write_document(bundle, codec.encode(changed))
        forged = dataclasses.replace(command, statement_sha256=digest)
        assert isinstance(forged, IssueStatement)
        return entry.signed_again(forged, "exchange")

    change_entry(bundle, "STATEMENT", change)
    step = verify(bundle, made.vkey).step(Step.STATEMENTS)
    assert step.result is Result.FAILED
    assert "is not what moved the account" in step.detail


def test_the_log_key_is_the_days(made: Made) -> None:
    assert vkey_of(LOG_KEY) == made.vkey
