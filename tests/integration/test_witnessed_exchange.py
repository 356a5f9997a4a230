"""An exchange with a witness, from the command line of the witness to the audit's policy."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.export import export
from iso_exchange.audit.log_keys import Trust
from iso_exchange.audit.verify import verify
from iso_exchange.cli.main import run
from iso_exchange.config import Config, ConfigError
from iso_exchange.secrets_file import load_or_create
from iso_exchange.server import Exchange
from settlement.ledger.checkpoint import open_checkpoint
from settlement.ledger.keys import NoteAlgorithm, NoteKey, parse_vkey
from settlement.ledger.policy import open_under_policy, parse_policy
from settlement.ledger.proofs import decode_proof, verify_proof
from settlement.storage.memory import MemoryStore
from settlement.storage.store import StoreError
from tests.integration.market import bid, configuration, open_market
from tests.torture.forgery import INDEPENDENT

START_SECONDS_MAX = 60


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own server
        content: bytes = response.read()
        return content


@contextmanager
def witness(state: Path, logs: Path) -> Iterator[str]:
    """`iso witness serve` as a process; its address."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "iso_exchange.cli", "witness", "serve"),
            *("--state", str(state), "--policy", str(logs), "--listen", "127.0.0.1:0"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http://" in line, line
        yield line.split(" at ")[1].strip()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=START_SECONDS_MAX) == 0
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Config, Path, list[str]]:
    """Configuration of an exchange, the policy of its witness, the witness's keys."""
    config = configuration(tmp_path / "var")
    key = load_or_create(config.data / "secrets", second_signature=True).log_key
    vkey = NoteKey(name=config.origin, algorithm=NoteAlgorithm.ED25519, public=key.public)
    logs = tmp_path / "logs.policy"
    logs.write_text(f"log {vkey.to_vkey()}\nquorum none\n")
    state = tmp_path / "witness"
    assert run(["witness", "init", "--state", str(state), "--name", "w.example", "--json"]) == 0
    vkeys = json.loads(capsys.readouterr().out)["vkeys"]
    assert run(["witness", "show", "--state", str(state), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vkeys"] == vkeys
    return config, logs, vkeys


def policy_text(config: Config, logs: Path, vkeys: list[str], url: str) -> str:
    log = logs.read_text().splitlines()[0]
    lines = [log, *(f"witness w{n} {vkey} {url}" for n, vkey in enumerate(vkeys))]
    return "\n".join([*lines, "group w all w0 w1", "quorum w", ""])


async def refuses_other_proofs(http: str) -> None:
    for bad in ("999999.tlog-proof", "01.tlog-proof", "x.tlog-proof", "-1.tlog-proof"):
        with pytest.raises(HTTPError) as caught:
            await asyncio.to_thread(fetch, f"{http}/log/proof/{bad}")
        assert caught.value.code == 404
        caught.value.close()


async def test_everything_published_is_witnessed(
    tmp_path: Path, parts: tuple[Config, Path, list[str]]
) -> None:
    config, logs, vkeys = parts
    store = MemoryStore()
    with witness(tmp_path / "witness", logs) as url:
        rule = tmp_path / "witness.policy"
        rule.write_text(policy_text(config, logs, vkeys, url))
        config = dataclasses.replace(config, witness_policy=rule, witness_seconds=20.0)
        policy = parse_policy(rule.read_bytes())
        async with open_market(config, store) as market:
            receipt = await market.buyer.send(bid())
            deadline = time.monotonic() + START_SECONDS_MAX
            while True:
                note = (await market.buyer.checkpoint()).note
                opened = open_under_policy(note, policy)
                if opened.checkpoint.size > receipt.entry_index:
                    break
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            assert len(opened.cosignatures) == 2
            first, second = market.exchange.log_vkey, market.exchange.second_log_vkey
            open_checkpoint(note, parse_vkey(first), further_log_keys=[parse_vkey(second)])
            for arguments in (["checkpoint"], ["proof", str(receipt.entry_index)]):
                command = ["--data", str(config.data), "ledger", *arguments, "--json"]
                good = [*command, "--policy", str(rule)]
                assert await asyncio.to_thread(run, good) == 0
                assert await asyncio.to_thread(run, [*command, "--policy", "no-such"]) == 2
            http = market.exchange.http_url
            served = await asyncio.to_thread(fetch, f"{http}/log/checkpoint.witnessed")
            assert open_under_policy(served, policy).checkpoint.size >= opened.checkpoint.size
            path = f"{http}/log/proof/{receipt.entry_index}.tlog-proof"
            proof = await asyncio.to_thread(fetch, path)
            leaf = (await market.buyer.entry(receipt.entry_index)).leaf
            witnesses = [parse_vkey(vkey) for vkey in vkeys]
            verify_proof(leaf, proof, parse_vkey(first), witnesses=witnesses, witness_count_min=1)
            assert decode_proof(proof).index == receipt.entry_index
            await refuses_other_proofs(http)
        bundle = tmp_path / "bundle"
        await export(
            store=store,
            log_directory=config.data / "log",
            directory=bundle,
            kind=BundleKind.PUBLIC,
            origin=config.origin,
            vkey=first,
            checkpoint_name="checkpoint.witnessed",
        )
        assert verify(bundle, Trust(policy=policy)).ok
        assert INDEPENDENT.verify(bundle, first)[0] == 0
        assert verify(bundle, Trust(vkeys=(first, second), policy=policy)).ok
        assert run(["audit", "verify", str(bundle), "--policy", str(rule), "--key", second]) == 0
        other = rule.read_text().replace("quorum w\n", "group two all w\nquorum two\n")
        assert verify(bundle, Trust(policy=parse_policy(other.encode()))).ok
        # A database restored from before the first entry, files and all.
        for path_ in sorted((config.data / "log").glob("checkpoint*")):
            path_.unlink()
        with pytest.raises(StoreError, match="ROLLED_BACK: witness w0: it cosigned"):
            async with Exchange(config, store=MemoryStore()):
                pass
    stranger = tmp_path / "stranger"
    args = ["witness", "init", "--state", str(stranger), "--name", "w.example", "--json"]
    assert run(args) == 0
    from iso_exchange.witness.state import read_keys

    keys = [key.to_vkey() for key in read_keys(stranger).note_keys]
    wrong = parse_policy(policy_text(config, logs, keys, "").encode())
    report = verify(bundle, Trust(policy=wrong))
    assert [step.name for step in report.failed] == ["CHECKPOINT"]
    assert "NOTE_TOO_FEW_WITNESSES" in report.failed[0].detail


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense\n", "POLICY_MALFORMED"),
        ("log {other}\nquorum none\n", "it lists logs, but not"),
        ("witness w {vkey}\nquorum w\n", "do not make the quorum"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_at_start(
    tmp_path: Path, parts: tuple[Config, Path, list[str]], text: str, reason: str
) -> None:
    config, logs, vkeys = parts
    key = parse_vkey(logs.read_text().split()[1])
    other = dataclasses.replace(key, name="other.example").to_vkey()
    rule = tmp_path / "witness.policy"
    rule.write_text(text.format(other=other, vkey=vkeys[0]))
    with pytest.raises(ConfigError, match=reason):
        Exchange(dataclasses.replace(config, witness_policy=rule), store=MemoryStore())
