from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest

from clearing import codec
from clearing.units import MicroUsd
from iso_exchange.audit.bundle import BundleKind, Opening
from iso_exchange.audit.verify import verify_and_replay
from iso_exchange.commands import RecordDeposit
from iso_exchange.exports.reading import BundleError, ReadBundle, read_bundle
from settlement.exports.tables import balances_table
from settlement.ledger.errors import KeyFormatError
from settlement.ledger.keys import parse_vkey
from settlement.ledger.proofs import open_commitment, parse_commitment_leaf, verify_proof
from settlement.types import TransferCode
from tests.integration.bundles import (
    LOG_KEY,
    LogEntry,
    Made,
    change_entry,
    make_bundles,
    read_leaves,
    read_log,
    reseal,
    vkey_of,
    write_bundle,
    write_leaves,
    write_log,
)
from tests.integration.market_day import MORNING, MarketDay, header, key_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("day"))


@pytest.fixture(scope="module")
def read(made: Made) -> ReadBundle:
    return read_bundle(made.auditor, made.vkey)


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.auditor, tmp_path / "copy"))


def refusal(directory: Path, vkey: str | None = None) -> BundleError:
    with pytest.raises(BundleError) as caught:
        read_bundle(directory, vkey)
    return caught.value


def test_an_extract_has_the_books_of_a_full_replay(made: Made, read: ReadBundle) -> None:
    report, state = verify_and_replay(made.auditor, made.vkey)
    assert report.ok
    assert state is not None
    found = {(row[0], row[1]): row[2] for row in balances_table(read.extract).rows}
    assert found == {(item.account, item.asset): item.posted for item in state.books.balances()}
    statements = {item.statement.statement_id: item.statement for item in read.extract.statements}
    assert statements == state.statements
    assert read.extract.contracts == state.contracts
    assert len(read.extract.movements) == report.steps[13].checked
    assert read.extract.size == report.entries


def test_movements_follow_the_log(read: ReadBundle) -> None:
    places = [(item.entry_index, item.position) for item in read.extract.movements]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    times = [item.time for item in read.extract.movements]
    assert times == sorted(times)
    assert read.extract.end >= times[-1]
    assert read.extract.sealed_from == -1


def test_the_key_is_the_bundles_own_or_the_one_given(made: Made, read: ReadBundle) -> None:
    assert (read.trusts_own_key, read.vkey) == (False, made.vkey)
    own = read_bundle(made.auditor)
    assert (own.trusts_own_key, own.vkey) == (True, made.vkey)
    assert own.extract == read.extract
    assert refusal(made.auditor, vkey_of(key_of("forger"))).code == "CHECKPOINT_REFUSED"
    with pytest.raises(KeyFormatError):
        read_bundle(made.auditor, "no key")


def test_evidence_proves_itself(made: Made, read: ReadBundle) -> None:
    totals = [item.entry_index for item in read.extract.totals]
    statements = [
        item.entry_index
        for item in read.extract.statements
        if item.statement.account.startswith("community:")
    ]
    found = read.evidence((*totals, *statements))
    assert [entry.index for entry in found] == sorted({*totals, *statements})
    key = parse_vkey(made.vkey)
    for entry in found:
        assert verify_proof(entry.leaf, entry.proof, key).checkpoint.size == read.extract.size
        assert (entry.kind == "STATEMENT") == bool(entry.salt) == bool(entry.document)
        if entry.salt:
            open_commitment(parse_commitment_leaf(entry.leaf), entry.salt, entry.envelope)


def test_other_entries_are_not_given_out(read: ReadBundle) -> None:
    deposits = [
        item.entry_index
        for item in read.extract.movements
        if item.transfer.code is TransferCode.DEPOSIT
    ]
    with pytest.raises(KeyError):
        read.evidence((deposits[0],))


def test_public_bundles_hold_too_little(made: Made) -> None:
    assert refusal(made.public).code == "OPENINGS_NEEDED"


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "BUNDLE_UNREADABLE"
    (tmp_path / "bundle.json").write_text("{}")
    assert refusal(tmp_path).code == "BUNDLE_UNREADABLE"


def test_any_changed_file_is_found(copy: Path) -> None:
    for path in sorted(copy.rglob("*")):
        if not path.is_file() or path.name == "bundle.json":
            continue
        body = path.read_bytes()
        path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
        error = refusal(copy)
        assert error.code == "BUNDLE_DAMAGED"
        assert path.name in error.detail
        path.write_bytes(body)
    assert read_bundle(copy).extract.movements


def test_a_resealed_change_of_the_log_is_found(copy: Path) -> None:
    tile = next(path for path in (copy / "log" / "tile" / "entries").rglob("*") if path.is_file())
    body = bytearray(tile.read_bytes())
    body[100] ^= 1
    tile.write_bytes(bytes(body))
    reseal(copy)
    assert refusal(copy).code == "LOG_REFUSED"


def test_an_entry_of_a_wrong_signer_is_refused(copy: Path) -> None:
    def doubled(entry: LogEntry) -> LogEntry:
        command = entry.command
        larger = dataclasses.replace(command, amount=2 * command.amount)
        return entry.signed_again(larger, "auditor")

    change_entry(copy, "DEPOSIT", doubled)
    error = refusal(copy)
    assert error.code == "ENTRY_REFUSED"
    assert "BAD_SIGNATURE" in error.detail


def test_an_entry_that_the_rules_refuse_is_refused(copy: Path) -> None:
    batches = read_log(copy)
    last = batches[-1]
    last.entries.append(last.entries[-1])  # the same total twice
    write_log(copy, batches)
    error = refusal(copy)
    assert error.code == "ENTRY_REFUSED"
    assert "ALREADY_EXISTS" in error.detail


def test_a_log_of_another_key_is_refused(copy: Path, made: Made) -> None:
    write_log(copy, read_log(copy), key_of("forger"))
    assert refusal(copy, made.vkey).code == "CHECKPOINT_REFUSED"
    # With its own key it is consistent: whose log it is only a trusted key can tell.
    reseal(copy, vkey=vkey_of(key_of("forger")))
    assert read_bundle(copy).trusts_own_key


def test_a_missing_opening_is_refused(copy: Path) -> None:
    path = copy / "openings.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))
    reseal(copy)
    error = refusal(copy)
    assert (error.code, "is not opened" in error.detail) == ("ENTRY_REFUSED", True)


def test_batch_headers_of_another_key_are_refused(copy: Path) -> None:
    write_log(copy, read_log(copy), key_of("forger"))
    write_leaves(copy, read_leaves(copy), LOG_KEY)  # the checkpoint itself is the log's
    error = refusal(copy)
    assert error.code == "LOG_REFUSED"
    assert "sign" in error.detail.lower()


def test_a_listing_of_another_log_is_refused(copy: Path) -> None:
    reseal(copy, origin="iso-exchange.example/other")
    error = refusal(copy)
    assert (error.code, "says else" in error.detail) == ("CHECKPOINT_REFUSED", True)


def test_a_changed_salt_is_refused(copy: Path) -> None:
    path = copy / "openings.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    opening = codec.decode(first.removesuffix(b"\n"), Opening)
    salt = bytes([opening.salt[0] ^ 1]) + opening.salt[1:]
    changed = codec.encode(dataclasses.replace(opening, salt=salt)) + b"\n"
    path.write_bytes(b"".join((changed, *rest)))
    reseal(copy)
    error = refusal(copy)
    assert (error.code, "another commitment" in error.detail) == ("LOG_REFUSED", True)


def test_time_does_not_fall(copy: Path) -> None:
    batches = read_log(copy)
    batches[-1].time_us = batches[0].time_us - 1
    write_log(copy, batches)
    error = refusal(copy)
    assert (error.code, "batch header" in error.detail) == ("LOG_REFUSED", True)


def deposit() -> tuple[str, RecordDeposit]:
    return (
        "operator",
        RecordDeposit(
            header=header("operator", "deposit/late"),
            participant_id="lab-3",
            amount=MicroUsd(1_000),
            bank_reference="late",
        ),
    )


async def test_what_is_sealed_is_left_out_and_the_extract_ends_before(tmp_path: Path) -> None:
    with patch("os.fsync"):  # nobody cuts the power of a test
        async with MarketDay(directory=tmp_path) as day:
            await day.open_market()
            await day.advance(MORNING + 60)
            await day.trade()
            await day.advance(MORNING + 120)
            await day.send(*deposit())
            await day.publisher.publish()
            bundle = tmp_path / "bundle"
            sealed_from = (await write_bundle(day, bundle, BundleKind.AUDITOR)).sealed_from
    extract = read_bundle(bundle, day.vkey).extract
    assert extract.sealed_from == sealed_from > 0
    assert extract.movements
    assert all(item.entry_index < sealed_from for item in extract.movements)
    assert {item.transfer.code for item in extract.movements} == {TransferCode.DEPOSIT}
    # Entries accepted later are not there, so the extract does not claim their time.
    assert MORNING <= extract.end <= MORNING + 60
    assert not any("late" in item.transfer.transfer_id for item in extract.movements)
    assert extract.size > sealed_from
