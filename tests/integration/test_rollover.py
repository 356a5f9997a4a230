"""A log is closed, another one continues it, and the audit crosses the boundary."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from clearing.units import MicroUsdPerChipHour
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.export import export
from iso_exchange.audit.log_keys import Trust
from iso_exchange.audit.report import Result, Step, StepReport
from iso_exchange.audit.verify import verify, verify_and_replay
from iso_exchange.clock import SimulatedClock
from iso_exchange.commands import RegisterSite
from iso_exchange.rollover import RolloverError, Side, begin, close
from iso_exchange.secrets_file import ExchangeSecrets
from iso_exchange.sequencer.succession import carried_amount
from settlement.ledger import accounts
from settlement.storage.memory import MemoryStore
from tests.integration.bundles import change_entry, write_bundle
from tests.integration.market_day import ORIGIN, MarketDay, header, key_of
from tests.integration.test_released_book import DUE

NEXT = "iso-exchange.example/next-year"


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Years:
    """Rolled over once; who changes a store takes a copy of it."""
    with patch("os.fsync"):
        return asyncio.run(roll_over(tmp_path_factory.mktemp("years")))


@pytest.fixture(autouse=True)
def unsynced() -> Iterator[None]:
    with patch("os.fsync"):
        yield


def side(store: MemoryStore, origin: str, directory: Path, prefix: str = "") -> Side:
    return Side(
        store=store,
        origin=origin,
        secrets=ExchangeSecrets(
            log_key=key_of(f"{prefix}log"),
            service_key=key_of(f"{prefix}exchange"),
            derivation=b"d" * 32,
        ),
        operator_key=key_of("operator"),
        directory=directory,
        clock=SimulatedClock(1_900_000_000_000_000),
        new_salt=bytes,
        code_version="test",
    )


async def bundle_of(side_: Side, directory: Path, kind: BundleKind = BundleKind.AUDITOR) -> Path:
    await export(
        store=side_.store,
        log_directory=side_.directory,
        directory=directory,
        kind=kind,
        origin=side_.origin,
        vkey=side_.vkey,
    )
    return directory


def step(bundle: Path, trust: Trust) -> StepReport:
    report = verify(bundle, trust)
    assert [item.name for item in report.failed if item.name != "PREDECESSOR"] == []
    return report.step(Step.PREDECESSOR)


@dataclasses.dataclass(frozen=True)
class Years:
    old: Side
    new: Side
    old_bundle: Path
    new_bundle: Path

    def trust(self, *previous: Path) -> Trust:
        return Trust(vkeys=(self.new.vkey,), previous=previous)


async def roll_over(folder: Path) -> Years:
    store = MemoryStore()
    async with MarketDay(directory=folder / "old", store=store) as day:
        await day.run()
    old = side(store, ORIGIN, folder / "old" / "log")
    new = side(MemoryStore(), NEXT, folder / "new" / "log", "next ")
    for _ in range(2):  # every step may be repeated
        await close(old, successor_origin=NEXT, successor_key=new.secrets.log_key.public)
    old_bundle = await bundle_of(old, folder / "old-bundle")
    for _ in range(2):
        carried = await begin(new, bundle=old_bundle, old_log_key=old.secrets.log_key)
    assert carried.deposits > 0
    new_bundle = await bundle_of(new, folder / "new-bundle")
    return Years(old=old, new=new, old_bundle=old_bundle, new_bundle=new_bundle)


async def test_the_next_log_begins_where_the_last_one_ends(tmp_path: Path, years: Years) -> None:
    assert step(years.new_bundle, years.trust(years.old_bundle)).result is Result.OK
    alone = step(years.new_bundle, years.trust())
    assert alone.result is Result.NOT_CHECKABLE
    assert ORIGIN in alone.detail
    _, old = verify_and_replay(years.old_bundle, years.old.vkey)
    _, new = verify_and_replay(years.new_bundle, years.new.vkey)
    assert old is not None
    assert new is not None
    assert old.closed == NEXT
    assert new.predecessor == ORIGIN
    assert old.sites.keys() == new.sites.keys()
    assert old.pools == new.pools
    assert old.meters == new.meters
    assert old.participants.keys() == new.participants.keys()
    for name, participant in old.participants.items():
        kept = new.participants[name]
        assert kept.roles == participant.roles
        if name != "exchange":
            assert kept.keys == participant.keys
        assert new.books.balance(accounts.collateral(name)).posted == carried_amount(old, name)
    # The other way round nothing fits, and on a public bundle balances are not compared.
    lost = step(years.old_bundle, Trust(vkeys=(years.old.vkey,), previous=(years.new_bundle,)))
    assert lost.result is Result.FAILED
    for kind in BundleKind:
        public = await bundle_of(years.old, tmp_path / f"public-{kind.value}", BundleKind.PUBLIC)
        found = step(years.new_bundle, years.trust(public))
        assert found.result is Result.NOT_CHECKABLE
        assert "auditor bundles" in found.detail


async def test_nothing_follows_in_a_closed_log_but_books(tmp_path: Path, years: Years) -> None:
    shutil.copytree(years.old.directory, tmp_path / "old" / "log")
    old = dataclasses.replace(
        years.old, store=copy.deepcopy(years.old.store), directory=tmp_path / "old" / "log"
    )
    with pytest.raises(RolloverError, match="closed for"):
        await close(old, successor_origin="other.example", successor_key=bytes(32))
    async with MarketDay(directory=tmp_path / "old", store=old.store) as day:
        command = RegisterSite(
            header=header("operator", "late"),
            site_id="late",
            community_id="town-a",
            surcharge=MicroUsdPerChipHour(0),
            power_limit=None,
            region="x",
            country="US",
        )
        with pytest.raises(AssertionError, match="this log is closed"):
            await day.send("operator", command)
        await day.advance(max(DUE, 1_900_000_000))
        await day.work()  # sees that every notice was given
        await day.work()
        assert all(item.released for item in day.sequencer.state.auctions.values())
        assert day.sequencer.size > 0
    # The old log grew after its end; what the new one commits to is still part of it.
    later = await bundle_of(old, tmp_path / "later")
    assert step(years.new_bundle, years.trust(later)).result is Result.OK


async def test_a_log_with_open_business_is_not_closed(tmp_path: Path) -> None:
    store = MemoryStore()
    async with MarketDay(directory=tmp_path / "old", store=store) as day:
        await day.open_market()
        await day.trade()
        await day.publisher.publish()
    old = side(store, ORIGIN, tmp_path / "old" / "log")
    with pytest.raises(RolloverError, match=r"everything in it is settled \(got auction day-1"):
        await close(old, successor_origin=NEXT, successor_key=key_of("next log").public)
    new = side(MemoryStore(), NEXT, tmp_path / "new" / "log", "next ")
    async with MarketDay(directory=tmp_path / "open") as day:
        await day.run()
        bundle = tmp_path / "open-bundle"
        await write_bundle(day, bundle, BundleKind.AUDITOR)
    with pytest.raises(RolloverError, match="closed for no log"):
        await begin(new, bundle=bundle, old_log_key=key_of("log"))
    assert (await new.store.tree_state()).size == 0


@pytest.mark.parametrize("what", ["balance", "root", "key"])
async def test_a_false_beginning_is_found(tmp_path: Path, years: Years, what: str) -> None:
    """The operator carries over other balances, or commits to another end."""
    forged = side(MemoryStore(), NEXT, tmp_path / "forged" / "log", "next ")

    def amount(state: object, name: str) -> int:
        found = carried_amount(state, name)  # type: ignore[arg-type]
        return found + 1 if found else found

    if what == "balance":
        with patch("iso_exchange.rollover.carried_amount", amount):
            await begin(forged, bundle=years.old_bundle, old_log_key=key_of("log"))
    elif what == "root":
        shutil.copytree(years.old_bundle, tmp_path / "other")
        change_entry(tmp_path / "other", "SITE", lambda entry: entry)
        await begin(forged, bundle=tmp_path / "other", old_log_key=key_of("log"))
    else:
        stranger = dataclasses.replace(
            forged,
            secrets=dataclasses.replace(forged.secrets, log_key=key_of("stranger")),
        )
        await begin(stranger, bundle=years.old_bundle, old_log_key=key_of("log"))
        forged = stranger
    bundle = await bundle_of(forged, tmp_path / "forged-bundle")
    found = step(bundle, Trust(vkeys=(forged.vkey,), previous=(years.old_bundle,)))
    assert found.result is Result.FAILED
    expected = {"balance": "micro-USD", "root": "another root", "key": "or for another key"}
    assert expected[what] in found.detail
