"""``docs/verify_ledger.py``: independent of our code, content with honest bundles only.

Whatever is forged, it and ``iso audit verify`` both find it. ``make torture`` does the same a
thousand times.
"""

from __future__ import annotations

import ast
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from iso_exchange.audit.bundle import BundleKind
from iso_exchange.kinds import ENTRY_KINDS
from iso_exchange.sequencer.leaves import BATCH_PAYLOAD_TYPE
from tests.integration.bundles import (
    Made,
    change_entry,
    make_bundles,
    read_bundle,
    read_log,
    replaced,
    reseal,
    vkey_of,
    write_bundle,
    write_log,
)
from tests.integration.market_day import MarketDay, key_of
from tests.torture import forgery
from tests.torture.forgery import INDEPENDENT, STANDALONE

ROUNDS = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("day"))


@pytest.fixture
def bundle(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.auditor, tmp_path / "bundle"))


def run(*arguments: str) -> tuple[int, str]:
    """As an auditor runs it: alone, isolated from our packages."""
    done = subprocess.run(
        [sys.executable, "-I", str(STANDALONE), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def found(directory: Path, made: Made) -> str:
    """Its finding, once the other verifier has found something too."""
    both = forgery.findings(directory, made.vkey)
    assert all(both.values()), both
    return both["verify_ledger.py"]


def test_it_imports_the_standard_library_and_cryptography_only() -> None:
    tree = ast.parse(STANDALONE.read_text())
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names - sys.stdlib_module_names == {"cryptography"}


def test_it_knows_every_entry_kind_as_the_exchange_does() -> None:
    names = ("SUPPLIER", "BUYER", "METER", "AUDITOR", "OPERATOR", "COMMUNITY", "EXCHANGE")
    numbers = {name: number for number, name in enumerate(names, start=1)}
    assert INDEPENDENT.BATCH == BATCH_PAYLOAD_TYPE
    known = {
        INDEPENDENT.MEDIA + noun: (name, public, set(roles))
        for noun, (name, public, roles) in INDEPENDENT.KINDS.items()
    }
    for kind in ENTRY_KINDS.values():
        roles = {numbers[role.value] for role in kind.roles}
        assert known[kind.payload_type] == (kind.name, kind.public, roles)


def test_exit_codes_and_what_is_printed(made: Made, bundle: Path) -> None:
    code, line = run(str(made.auditor), "--key", made.vkey)
    assert code == 0
    size = read_bundle(made.auditor).size
    for part in (f"OK {size} leaves", "144 transfers", "17 statements", "2 community totals"):
        assert part in line
    code, line = run(str(made.public))
    assert code == 0
    assert "accounts not checked from entry 0 on" in line
    assert "own key was believed" in line
    forgery.flip_at(bundle, bundle / "log" / "checkpoint", random.Random(1))
    code, line = run(str(bundle), "--key", made.vkey)
    assert (code, line.split(":")[0]) == (1, "FAILED log/checkpoint")
    assert run(str(bundle.parent / "nothing"))[0] == 2


def test_every_file_of_both_bundles_is_read_to_the_bit(made: Made, tmp_path: Path) -> None:
    missed = []
    for number, whole in enumerate((made.auditor, made.public)):
        for file in ("bundle.json", *(file.path for file in read_bundle(whole).files)):
            directory = Path(shutil.copytree(whole, tmp_path / f"{number}"))
            forgery.flip_at(directory, directory / file, random.Random(file))
            if file != "bundle.json":
                reseal(directory)
            findings = forgery.findings(directory, made.vkey)
            missed += [f"{file}: {name}" for name, finding in findings.items() if not finding]
            shutil.rmtree(directory)
    assert missed == []


def test_no_random_forgery_passes_either_verifier(made: Made, tmp_path: Path) -> None:
    counts, missed = forgery.run(made, tmp_path, ROUNDS, seed=0)
    assert missed == []
    assert sum(counts.values()) == ROUNDS


def test_a_flipped_verifier_key_in_the_listing_is_found(made: Made, bundle: Path) -> None:
    """The listing's own key is nobody's authority, but it is part of what was exported."""
    reseal(bundle, vkey=vkey_of(key_of("forger")))
    assert "0 signatures" in found(bundle, made)


def test_a_forged_log_under_another_key(made: Made, bundle: Path) -> None:
    forger = key_of("forger")
    write_log(bundle, read_log(bundle), forger)
    reseal(bundle, vkey=vkey_of(forger))
    assert "never signed by the expected key" in found(bundle, made)
    assert run(str(bundle))[0] == 0  # consistent, but whose?


def test_every_statement_is_drawn_up_again(made: Made, tmp_path: Path) -> None:
    for number in range(forgery.count_of(made.auditor, "STATEMENT")):
        directory = Path(shutil.copytree(made.auditor, tmp_path / f"statement-{number}"))
        change = forgery.STATEMENTS[number % len(forgery.STATEMENTS)]
        forgery.restate_one(directory, number, change)
        code, line = INDEPENDENT.verify(directory, made.vkey)
        assert code == 1
        assert re.search(r"entry \d+: the statement of \S+ has another", line), line


def test_money_that_a_community_did_not_get(made: Made, bundle: Path) -> None:
    change_entry(
        bundle,
        "COMMUNITY_TOTAL",
        lambda entry: entry.signed_again(
            replaced(entry.command, surcharge=entry.command.surcharge + 1), "exchange"
        ),
    )
    assert "the postings give" in found(bundle, made)


def test_a_deposit_that_vanished(made: Made, bundle: Path) -> None:
    batches = read_log(bundle)
    deposits = [batch for batch in batches if batch.entries[0].kind == "DEPOSIT"]
    batches.remove(deposits[-1])
    write_log(bundle, batches)
    assert "statement" in found(bundle, made)


def test_an_order_that_vanished(made: Made, bundle: Path) -> None:
    batches = read_log(bundle)
    batches.remove([batch for batch in batches if batch.entries[0].kind == "ORDER"][-1])
    write_log(bundle, batches)
    assert "standing orders with root" in found(bundle, made)


async def test_a_sealed_bundle_is_followed_to_its_seal(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await day.trade()
        await day.publisher.publish()
        directory = tmp_path / "bundle"
        bundle = await write_bundle(day, directory, BundleKind.AUDITOR)
    code, line = INDEPENDENT.verify(directory, day.vkey)
    assert code == 0, line
    assert f"accounts not checked from entry {bundle.sealed_from} on" in line
    for first in (0, bundle.sealed_from - 1, bundle.sealed_from + 1, -1):
        reseal(directory, sealed_from=first)
        code, line = INDEPENDENT.verify(directory, day.vkey)
        assert code == 1, (first, line)
