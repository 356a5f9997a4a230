"""Identity directories: what is read, and what is said when they are broken."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from iso_exchange.client import (
    Client,
    IdentityError,
    Refused,
    load_exchange,
    load_identity,
)
from settlement.ledger.keys import SigningKey


def test_a_directory_is_read(identity_files: Path) -> None:
    identity = load_identity(identity_files)
    assert identity.participant_id == "lab-1"
    assert identity.signing_key == SigningKey.from_seed(bytes(range(32)))
    assert identity.certificate_pem.startswith(b"-----BEGIN CERTIFICATE")
    exchange = load_exchange(identity_files)
    assert (exchange.target, exchange.origin) == ("127.0.0.1:1", "exchange.example/log")


def test_an_identity_shows_no_key(identity_files: Path) -> None:
    assert "PRIVATE" not in repr(load_identity(identity_files))


async def test_a_client_of_a_directory_knows_who_it_is(identity_files: Path) -> None:
    async with Client.from_directory(identity_files) as client:
        assert (client.participant_id, client.origin) == ("lab-1", "exchange.example/log")


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem", "signing.pem", "exchange.json"])
def test_a_missing_file_is_named(identity_files: Path, name: str) -> None:
    (identity_files / name).unlink()
    with pytest.raises(IdentityError, match=name):
        Client.from_directory(identity_files)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cert.pem", b"not a certificate"),
        ("signing.pem", b"not a key"),
        ("exchange.json", b"{"),
        ("exchange.json", b"[]"),
        ("exchange.json", b'{"target": 1, "origin": "o"}'),
    ],
)
def test_an_unreadable_file_is_named(identity_files: Path, name: str, content: bytes) -> None:
    (identity_files / name).write_bytes(content)
    with pytest.raises(IdentityError, match=name):
        Client.from_directory(identity_files)


def test_a_certificate_that_names_nobody_is_refused(identity_files: Path) -> None:
    (identity_files / "cert.pem").write_bytes((identity_files / "ca.pem").read_bytes())
    with pytest.raises(IdentityError, match=r"cert\.pem"):
        load_identity(identity_files)


def test_a_refusal_survives_pickling_and_reads_as_one_line() -> None:
    refused = Refused("GATE_CLOSED", field="auction_id", advice="bid later", got="9", limit="5")
    copied = copy.copy(refused)  # by the same road as pickling
    assert str(copied) == str(refused) == "GATE_CLOSED: auction_id: bid later: got 9: limit 5"
