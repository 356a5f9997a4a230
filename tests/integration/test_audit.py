"""An exported market day verifies, for auditors completely, for everybody as far as it can."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.database import open_for_reading
from iso_exchange.audit.export import ExportError, export
from iso_exchange.audit.report import NUMBERS, Result, Step, percent_text
from iso_exchange.audit.verify import CONFIDENTIAL_STEPS, verify
from iso_exchange.cli import audit as commands
from iso_exchange.cli.session import Settings
from iso_exchange.storage.embedded import Embedded
from iso_exchange.storage.migrate import migrate
from iso_exchange.storage.postgres import PostgresStore
from iso_exchange.storage.programs import EmbeddedError
from settlement.storage.memory import MemoryStore
from settlement.storage.store import StoreError
from tests.integration.bundles import Made, make_bundles, read_bundle, vkey_of, write_bundle
from tests.integration.market_day import ORIGIN, MarketDay, key_of

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundles(tmp_path_factory.mktemp("day"))


def test_steps_are_numbered_from_one_in_order() -> None:
    assert list(NUMBERS.values()) == list(range(1, len(Step) + 1))
    assert Step.FILES.number == 1
    assert Step.COMMUNITIES.number == 16


def test_the_reference_page_lists_every_step() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "audit.md"
    rows = re.findall(r"^\| (\d+) \| `([A-Z]+)`( \*)? \|", page.read_text(), re.MULTILINE)
    assert [(int(number), name) for number, name, _ in rows] == [
        (step.number, step.name) for step in Step
    ]
    assert {name for _, name, star in rows if star} == {step.name for step in CONFIDENTIAL_STEPS}


def test_auditor_bundle_passes_every_step(made: Made) -> None:
    report = verify(made.auditor, made.vkey)
    assert [(step.name, step.result, step.detail) for step in report.steps] == [
        (step.name, Result.OK, "") for step in Step
    ]
    assert report.ok
    assert not report.trusts_own_key
    assert report.entries == read_bundle(made.auditor).size
    assert (report.auctions, report.hours, report.meter_gaps) == (1, 2, 2)
    assert report.statements > 10
    assert report.largest_gap_ppb > 0


def test_every_step_looked_at_something(made: Made) -> None:
    report = verify(made.auditor, made.vkey)
    assert [step.name for step in report.steps if not step.checked] == []
    # Every leaf is a batch header or an entry that the rules accepted.
    checked = {step.name: step.checked for step in report.steps}
    assert checked["TREE"] == checked["BATCHES"] + checked["REPLAY"]
    assert checked["SIGNATURES"] == checked["REPLAY"]


def test_summary_is_one_line_with_the_gap_and_the_meter_gaps(made: Made) -> None:
    report = verify(made.auditor, made.vkey)
    gap = percent_text(report.largest_gap_ppb)
    assert report.summary() == (
        f"{report.entries:,} entries: chain ok, signatures ok, "
        f"1 auctions ok (largest welfare gap {gap}), books balance, 2 meter gaps"
    )


@pytest.mark.parametrize(
    ("ppb", "text"),
    [
        (0, "0 %"),
        (1, "0.0000001 %"),
        (21_000, "0.0021 %"),
        (10**9, "100 %"),
        (-5 * 10**6, "-0.5 %"),
    ],
)
def test_a_gap_is_written_exactly(ppb: int, text: str) -> None:
    assert percent_text(ppb) == text


def test_public_bundle_never_says_ok_to_what_needs_openings(made: Made) -> None:
    report = verify(made.public, made.vkey)
    assert report.ok
    assert {step.name for step in report.not_checkable} == {s.name for s in CONFIDENTIAL_STEPS}
    assert all("openings" in step.detail for step in report.not_checkable)
    assert report.step(Step.SIGNATURES).result is Result.OK
    assert report.step(Step.RESULTS).checked == 1
    assert report.step(Step.SIGNATURES).unit == "public envelopes"
    closed = report.step(Step.COMMITMENTS).checked
    assert report.summary() == (
        f"{report.entries} entries: chain ok, public signatures ok, "
        f"{closed} commitments not checkable"
    )


def test_public_bundle_holds_no_opening_and_only_public_documents(made: Made) -> None:
    paths = [file.path for file in read_bundle(made.public).files]
    assert "openings.jsonl" not in paths
    documents = [made.public / path for path in paths if path.startswith("documents/")]
    assert len(documents) == 1
    text = documents[0].read_text()
    assert "tie_seed" in text
    assert "lab-1" not in text
    assert "sup-a" not in text


def test_the_bundles_own_key_is_said_to_be_its_own(made: Made) -> None:
    report = verify(made.auditor)
    assert report.ok
    assert report.trusts_own_key
    assert report.vkey == made.vkey


def test_another_key_fails_checkpoint_and_batches(made: Made) -> None:
    report = verify(made.auditor, vkey_of(key_of("somebody else")))
    assert [step.name for step in report.failed] == ["CHECKPOINT", "BATCHES"]


def test_an_unreadable_key_is_a_finding(made: Made) -> None:
    report = verify(made.auditor, "no key")
    assert [step.name for step in report.failed] == ["CHECKPOINT"]
    assert report.step(Step.TREE).result is Result.NOT_CHECKABLE


async def test_export_refuses_a_directory_in_use(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await day.publisher.publish()
        used = tmp_path / "used"
        used.mkdir()
        (used / "file").write_text("mine")
        with pytest.raises(ExportError, match="DIRECTORY_NOT_EMPTY"):
            await write_bundle(day, used, BundleKind.AUDITOR)
        assert [path.name for path in used.iterdir()] == ["file"]


async def test_export_names_what_is_missing(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        with pytest.raises(ExportError, match="NOTHING_PUBLISHED"):
            await write_bundle(day, tmp_path / "a", BundleKind.PUBLIC)
        await day.open_market()
        await day.publisher.publish()
        other = vkey_of(key_of("somebody else"))
        for vkey, store, code in (
            (other, day.store, "CHECKPOINT_REFUSED"),
            (day.vkey, MemoryStore(), "ENTRIES_MISSING"),
        ):
            with pytest.raises(ExportError, match=code):
                await export(
                    store=store,
                    log_directory=day.log_directory,
                    directory=tmp_path / code,
                    kind=BundleKind.AUDITOR,
                    origin=ORIGIN,
                    vkey=vkey,
                )
        next((day.log_directory / "tile" / "entries").rglob("*.p/*")).unlink()
        with pytest.raises(ExportError, match="LOG_FILE_MISSING"):
            await write_bundle(day, tmp_path / "b", BundleKind.PUBLIC)


async def test_a_day_that_is_not_over_verifies_too(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        for number, parts in enumerate(((day.open_market,), (day.trade, day.clear))):
            for part in parts:
                await part()
            await day.publisher.publish()
            directory = tmp_path / str(number)
            await write_bundle(day, directory, BundleKind.AUDITOR)
            report = verify(directory, day.vkey)
            assert [step.name for step in report.steps if step.result is not Result.OK] == []


async def test_a_bundle_ends_at_the_published_checkpoint(tmp_path: Path) -> None:
    async with MarketDay(directory=tmp_path) as day:
        await day.open_market()
        await day.publisher.publish()
        published = day.sequencer.size
        await day.trade()
        bundle = await write_bundle(day, tmp_path / "bundle", BundleKind.AUDITOR)
    assert bundle.size == published < day.sequencer.size
    assert verify(tmp_path / "bundle", day.vkey).ok


def test_verify_command_prints_table_key_and_summary(made: Made) -> None:
    done = RUNNER.invoke(commands.app, ["verify", str(made.auditor)])
    assert done.exit_code == 0, done.output
    assert "trusting the bundle's own key" in done.output
    assert "books balance, 2 meter gaps" in done.output
    assert "COMMUNITIES" in done.output
    public = RUNNER.invoke(commands.app, ["verify", str(made.public), "--key", made.vkey])
    assert public.exit_code == 0, public.output
    assert "NOT CHECKABLE" in public.output
    assert "not checkable: steps 6, 8, 9, 10, 11, 12, 13, 14, 15, 16" in public.output
    assert "own key" not in public.output


def test_verify_command_as_json_and_with_another_key(made: Made) -> None:
    done = RUNNER.invoke(commands.app, ["verify", str(made.auditor), "--json"])
    document = json.loads(done.output)
    assert document["ok"] is True
    assert [step["result"] for step in document["steps"]] == ["OK"] * len(Step)
    other = vkey_of(key_of("somebody else"))
    failed = RUNNER.invoke(commands.app, ["verify", str(made.auditor), "--key", other, "--json"])
    assert failed.exit_code == 1
    assert json.loads(failed.output)["ok"] is False


async def test_export_command_reads_a_working_and_a_stopped_exchange(
    server_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "postgres").symlink_to(server_directory)
    async with Embedded(server_directory) as server:
        await migrate(server.url)
        store = await PostgresStore.open(server.url)
        async with MarketDay(directory=tmp_path, store=store) as day:
            await day.run()
        async with open_for_reading(tmp_path) as reading:
            assert await reading.tree_state() == await store.tree_state()
            await export(
                store=reading,
                log_directory=day.log_directory,
                directory=tmp_path / "working",
                kind=BundleKind.AUDITOR,
                origin=ORIGIN,
                vkey=day.vkey,
            )
            with pytest.raises(StoreError, match="read-only"):
                await reading.take_over()
        await store.close()
    assert verify(tmp_path / "working", day.vkey).ok
    done = await asyncio.to_thread(
        RUNNER.invoke,
        commands.app,
        ["export", "--out", str(tmp_path / "stopped"), "--log-key", day.vkey, "--json"],
        obj=Settings(data=tmp_path, identity=""),
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["tree_size"] == day.sequencer.size
    listing = read_bundle(tmp_path / "working")
    assert read_bundle(tmp_path / "stopped") == listing


async def test_there_is_no_database_to_read(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="NO_DATABASE"):
        async with open_for_reading(tmp_path):
            pass
    done = RUNNER.invoke(
        commands.app,
        ["verify", str(tmp_path / "absent")],
        obj=Settings(data=tmp_path, identity=""),
    )
    assert done.exit_code != 0
