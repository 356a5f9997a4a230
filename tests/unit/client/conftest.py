"""A client connected to a gateway in this process, and an identity directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from iso_exchange.client import Client, Identity, Retry
from iso_exchange.identity.ca import DevelopmentAuthority
from iso_exchange.identity.directory import ExchangeAddress, signing_key, write_identity
from settlement.ledger.keys import SigningKey
from tests.unit.client.gateway import Gateway, generic_handlers


@pytest.fixture
def identity() -> Identity:
    return Identity(
        participant_id="lab-1",
        signing_key=SigningKey.from_seed(bytes(range(32))),
        certificate_pem=b"",
        private_key_pem=b"",
        ca_pem=b"",
    )


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(generic_handlers(made))
    made.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield made
    await server.stop(None)


@pytest.fixture
async def client(gateway: Gateway, identity: Identity) -> AsyncIterator[Client]:
    channel = grpc.aio.insecure_channel(gateway.target)
    async with Client(
        "",
        identity,
        "exchange.example/log",
        retry=Retry(attempts=4),
        timeout_s=10,
        sleep=gateway.sleep,
        channel=channel,
    ) as made:
        yield made


@pytest.fixture
def identity_files(tmp_path: Path, identity: Identity) -> Path:
    """An identity directory as the exchange writes it."""
    now = datetime.now(tz=UTC)
    authority = DevelopmentAuthority.load_or_create(
        tmp_path / "ca", origin="exchange.example/log", now=now
    )
    directory = tmp_path / "lab-1"
    signing_key(directory, bytes(range(32)))
    write_identity(
        directory,
        ca_pem=authority.certificate_pem,
        issued=authority.issue("lab-1", now=now),
        address=ExchangeAddress(
            target="127.0.0.1:1", origin="exchange.example/log", log_vkey="key"
        ),
    )
    return directory
