"""Keys change hands in the log: participants, services, log and root, and the audit follows."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from clearing.units import UnixSeconds
from iso_exchange import rotation
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.export import export
from iso_exchange.audit.log_keys import Trust
from iso_exchange.audit.report import Result, Step
from iso_exchange.audit.verify import verify
from iso_exchange.client import BLANK_HEADER, Client, Refused
from iso_exchange.commands import RegisterRootKey, RevokeKey, RotateKey
from iso_exchange.exports.reading import BundleError
from iso_exchange.exports.reading import read_bundle as read_bundle_extract
from iso_exchange.identity.ca import write_private
from iso_exchange.identity.directory import SIGNING_FILE
from iso_exchange.rotation import Rotated, RotationError
from iso_exchange.sequencer.sequencer import LogKeyError, Sequencer
from iso_exchange.server import Exchange
from settlement.ledger.checkpoint import open_checkpoint
from settlement.ledger.keys import NoteAlgorithm, NoteKey, SigningKey, parse_vkey
from settlement.storage.memory import MemoryStore
from tests.integration.bundles import read_bundle, reseal
from tests.integration.market import bid, client_of, configuration, offer, open_market
from tests.torture.forgery import INDEPENDENT

NEW, ROOT, LATER_ROOT, STRANGER = (
    SigningKey.from_seed(hashlib.sha256(name).digest())
    for name in (b"new", b"root", b"later root", b"stranger")
)


@pytest.fixture(autouse=True)
def unsynced() -> Iterator[None]:
    with patch("os.fsync"):
        yield


def rotate(name: str, old: SigningKey, new: SigningKey = NEW) -> RotateKey:
    return RotateKey(
        header=BLANK_HEADER,
        participant_id=name,
        old_key_id=old.key_id,
        new_public_key=new.public,
        reason="yearly",
    )


async def refusal(client: Client, command: object, *cosigners: SigningKey) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        await client.send(command, cosigners=cosigners)  # type: ignore[arg-type]
    return caught.value.code, caught.value.field


async def test_a_participant_rotates_its_key(tmp_path: Path) -> None:
    async with open_market(configuration(tmp_path), MemoryStore()) as market:
        old = market.buyer.identity.signing_key
        bad = ("BAD_SIGNATURE", "envelope.signatures")
        assert await refusal(market.buyer, rotate("buyer", old)) == bad
        assert await refusal(market.buyer, rotate("buyer", old), STRANGER) == bad
        assert await refusal(market.other, rotate("buyer", old), NEW) == (
            "WRONG_STATE",
            "participant_id",
        )
        assert await refusal(market.buyer, rotate("buyer", old, old)) == (
            "ALREADY_EXISTS",
            "new_public_key",
        )
        taken = market.supplier.identity.signing_key
        assert await refusal(market.buyer, rotate("buyer", old, taken), taken) == (
            "ALREADY_EXISTS",
            "new_public_key",
        )
        await market.buyer.send(rotate("buyer", old), cosigners=[NEW])
        view = await market.operator.participant("buyer")
        assert list(view.key_ids) == [NEW.key_id]
        assert list(view.revoked_key_ids) == [old.key_id]
        assert (await refusal(market.buyer, bid()))[0] == "KEY_REVOKED"
        directory = market.exchange.identity_directory("buyer")
        write_private(directory / SIGNING_FILE, NEW.to_pem())
        async with client_of(directory) as buyer:
            await buyer.send(bid())


async def test_root_and_operator_replace_a_lost_key(tmp_path: Path) -> None:
    async with open_market(configuration(tmp_path), MemoryStore()) as market:
        operator, old = market.operator, market.supplier.identity.signing_key
        lost = rotate("supplier", old)
        assert await refusal(operator, lost, NEW) == ("WRONG_STATE", "participant_id")
        root = RegisterRootKey(header=BLANK_HEADER, public_key=ROOT.public)
        assert (await refusal(operator, root))[0] == "BAD_SIGNATURE"
        assert (await refusal(market.buyer, root, ROOT))[0] == "WRONG_ROLE"
        await operator.send(root, cosigners=[ROOT])
        assert (await refusal(operator, lost, NEW))[0] == "BAD_SIGNATURE"
        assert (await refusal(operator, lost, NEW, STRANGER))[0] == "BAD_SIGNATURE"
        assert await refusal(market.buyer, lost, NEW, ROOT) == ("WRONG_ROLE", "header.signer_id")
        # Revoked first, as one does with a key that was stolen.
        await operator.send(
            RevokeKey(
                header=BLANK_HEADER,
                participant_id="supplier",
                key_id=old.key_id,
                reason="stolen",
            )
        )
        await operator.send(lost, cosigners=[NEW, ROOT])
        directory = market.exchange.identity_directory("supplier")
        write_private(directory / SIGNING_FILE, NEW.to_pem())
        async with client_of(directory) as supplier:
            await supplier.send(offer())
        later = RegisterRootKey(header=BLANK_HEADER, public_key=LATER_ROOT.public)
        assert (await refusal(operator, later, LATER_ROOT))[0] == "BAD_SIGNATURE"
        await operator.send(later, cosigners=[LATER_ROOT, ROOT])


def prepare(data: Path, what: Rotated, origin: str, root: SigningKey | None = None) -> SigningKey:
    return rotation.prepare(
        data / "secrets",
        what,
        origin=origin,
        reason="yearly",
        now=UnixSeconds(1_800_000_000),
        root=root,
    )


def vkey_of(origin: str, key: SigningKey) -> str:
    return NoteKey(name=origin, algorithm=NoteAlgorithm.ED25519, public=key.public).to_vkey()


async def write_bundle(store: MemoryStore, data: Path, out: Path, kind: BundleKind) -> Path:
    note = (data / "log" / "checkpoint").read_bytes()
    origin = note.split(b"\n")[0].decode()
    seed = bytes.fromhex((data / "secrets" / "log.seed").read_text())
    vkey = vkey_of(origin, SigningKey.from_seed(seed))
    await export(
        store=store,
        log_directory=data / "log",
        directory=out,
        kind=kind,
        origin=origin,
        vkey=vkey,
    )
    return out


async def test_the_log_and_settlement_keys_rotate_and_the_audit_follows(tmp_path: Path) -> None:
    data, store = tmp_path / "var", MemoryStore()
    config = configuration(data)
    async with open_market(config, store) as market:
        await market.operator.send(
            RegisterRootKey(header=BLANK_HEADER, public_key=ROOT.public), cosigners=[ROOT]
        )
        await market.buyer.send(bid())
        first = market.exchange.log_vkey
        with pytest.raises(RotationError):
            prepare(data, Rotated.SETTLEMENT, config.origin, ROOT)
        second = prepare(data, Rotated.LOG, config.origin)
        prepare(data, Rotated.SETTLEMENT, config.origin)
        with pytest.raises(RotationError):
            prepare(data, Rotated.LOG, config.origin)
        # Nothing changes before the next start.
        await market.supplier.send(offer())
        assert market.exchange.log_vkey == first
    crashed = tmp_path / "crashed"
    shutil.copytree(data / "secrets", crashed)
    async with Exchange(config, store=store) as exchange:
        assert exchange.log_vkey == vkey_of(config.origin, second)
        size = exchange.sequencer.size
    # As after a crash between the entry in the log and the change of files.
    shutil.rmtree(data / "secrets")
    shutil.copytree(crashed, data / "secrets")
    async with Exchange(config, store=store) as exchange:
        assert exchange.log_vkey == vkey_of(config.origin, second)
        assert exchange.sequencer.size == size
        assert sorted(path.name for path in (data / "secrets").glob("next-*")) == []
    # A third key, introduced by the root key, as if the second were stolen.
    third = prepare(data, Rotated.LOG, config.origin, ROOT)
    async with Exchange(config, store=store) as exchange:
        assert exchange.log_vkey == vkey_of(config.origin, third)
        second_line = parse_vkey(exchange.second_log_vkey)
    note = (data / "log" / "checkpoint").read_bytes()
    open_checkpoint(note, parse_vkey(exchange.log_vkey), further_log_keys=[second_line])
    keys = [first, vkey_of(config.origin, second), vkey_of(config.origin, third)]
    for kind in BundleKind:
        bundle = await write_bundle(store, data, tmp_path / kind.value, kind)
        assert read_bundle(bundle).first_vkey == first
        for vkey in (*keys, second_line.to_vkey(), None):
            report = verify(bundle, vkey)
            assert report.ok, (kind, report.failed)
        for vkey in keys:
            code, line = INDEPENDENT.verify(bundle, vkey)
            assert code == 0, line
        both = Trust(vkeys=(keys[2], second_line.to_vkey()))
        assert verify(bundle, both).ok
        report = verify(bundle, vkey_of(config.origin, STRANGER))
        assert [step.name for step in report.failed] == ["CHECKPOINT"]
    # Without the claim of the first key, its batches are of nobody known.
    reseal(tmp_path / "public", first_vkey="")
    report = verify(tmp_path / "public", keys[2])
    assert report.step(Step.BATCHES).result is Result.FAILED
    reseal(tmp_path / "public", first_vkey=vkey_of(config.origin, STRANGER))
    report = verify(tmp_path / "public", keys[2])
    assert report.step(Step.BATCHES).result is Result.FAILED
    # The key that the log does not name any more is refused at start.
    stale = crashed / "log.seed"
    shutil.copy(stale, data / "secrets" / "log.seed")
    with pytest.raises(LogKeyError):
        async with Exchange(config, store=store):
            pass


async def test_batches_signed_with_a_key_that_was_replaced_are_found(tmp_path: Path) -> None:
    """An exchange that names a new key in the log and goes on with the old one."""
    data, store = tmp_path / "var", MemoryStore()
    config = configuration(data)
    async with Exchange(config, store=store) as exchange:
        first = exchange.log_vkey
    prepare(data, Rotated.LOG, config.origin)
    with patch.object(Sequencer, "_log_key_in_force", lambda self: self._log_key):
        async with Exchange(config, store=store) as exchange:
            vkey = exchange.log_vkey
            async with client_of(exchange.identity_directory("operator")) as operator:
                await operator.send(
                    RegisterRootKey(header=BLANK_HEADER, public_key=ROOT.public), cosigners=[ROOT]
                )
    bundle = await write_bundle(store, data, tmp_path / "bundle", BundleKind.AUDITOR)
    for trusted in (first, vkey):
        report = verify(bundle, trusted)
        assert [step.name for step in report.failed] == ["BATCHES"]
        assert INDEPENDENT.verify(bundle, trusted)[0] == 1
    with pytest.raises(BundleError, match="LOG_REFUSED"):
        read_bundle_extract(bundle, vkey)


async def test_exports_follow_the_log_key(tmp_path: Path) -> None:
    data, store = tmp_path / "var", MemoryStore()
    config = configuration(data)
    async with Exchange(config, store=store) as exchange:
        first = exchange.log_vkey
    prepare(data, Rotated.LOG, config.origin)
    async with Exchange(config, store=store) as exchange:
        second = exchange.log_vkey
    bundle = await write_bundle(store, data, tmp_path / "bundle", BundleKind.AUDITOR)
    for vkey in (first, second):
        assert read_bundle_extract(bundle, vkey).extract.size == read_bundle(bundle).size
    with pytest.raises((BundleError, ValueError)):
        read_bundle_extract(bundle, vkey_of(config.origin, STRANGER))


async def test_a_rotation_that_was_not_signed_by_the_old_key_is_not_started(
    tmp_path: Path,
) -> None:
    data, store = tmp_path / "var", MemoryStore()
    config = configuration(data)
    async with Exchange(config, store=store):
        pass
    prepare(data, Rotated.LOG, config.origin, STRANGER)
    with pytest.raises(RotationError, match="BAD_SIGNATURE"):
        async with Exchange(config, store=store):
            pass
    for path in (data / "secrets").glob("next-*"):
        path.unlink()
    async with Exchange(dataclasses.replace(config), store=store):
        pass
