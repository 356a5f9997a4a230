"""One market day, end to end: ``make demo``.

Starts the exchange as a process of its own on an embedded PostgreSQL, suppliers, labs
and meters as further processes that speak gRPC over a socket with signed messages, moves
a simulated clock through gate closure and 24 delivery hours, then exports the ledger,
verifies it offline and prints what the day came to. Exits with 1 when anything does not
balance or verify.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from clearing import codec
from clearing.units import UnixSeconds
from iso_exchange.api.v1 import auction_pb2
from iso_exchange.audit.report import Report
from iso_exchange.audit.verify import verify_and_replay
from iso_exchange.client import (
    Client,
    Refused,
    load_exchange,
)
from iso_exchange.client.errors import ClientError
from iso_exchange.commands import Command, Role
from iso_exchange.identity.ca import DevelopmentAuthority, write_private
from iso_exchange.replay import script
from iso_exchange.replay.agent import load_script
from iso_exchange.replay.printout import percent, print_audit, print_report
from iso_exchange.replay.report import DayReport, day_report
from iso_exchange.replay.script import HOUR_S, Script
from iso_exchange.replay.stage import Stage, StageError
from iso_exchange.secrets_file import DERIVATION_FILE

SCENARIO_DAY = 24
SEED = 1
DAY_START = UnixSeconds(1_760_918_400)
"""2025-10-20T00:00:00Z: the day of the list prices."""
AUCTION_ID = "day-ahead-2025-10-20"
START_SECONDS_MAX = 90
STEP_SECONDS_MAX = 180
AUDITOR_ID = "auditor-1"
RESTART_COUNT_MAX = 20
PLAIN_WIDTH = 132
"""Columns when the output goes to a file or a pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo is asked to do."""

    data: Path
    data_directory: Path | None
    scenario_day: int
    seed: int
    as_json: bool
    keep: bool


class Demo(Stage):
    """The stage manager: starts processes, plays the operator, moves the clock."""

    def __init__(self, options: DemoOptions, console: Console) -> None:
        """Prepare; nothing starts before ``run``."""
        clock = UnixSeconds(DAY_START - 12 * HOUR_S)
        super().__init__(options.data, clock, console)
        self._options = options
        self.checkpoint = ""
        """Signed checkpoint that the exported ledger was verified against."""

    async def run(self) -> tuple[DayReport, Report]:
        """Play the whole day.

        Raises:
            StageError: a process failed or a step took too long.
        """
        try:
            self._fix_tie_seed()
            await self.start()
            async with await self.operator() as operator:
                plan = load_script(
                    self._options.data_directory,
                    self._options.scenario_day,
                    self._options.seed,
                    origin=operator.origin,
                    day_start=DAY_START,
                    auction_id=AUCTION_ID,
                )
                await self._register(operator, plan)
                refusals = await self._agents(plan)
                self.say(f"orders are in; refused at the gate: {refusals or 'none'}")
                await operator.advance_time(plan.close_time)
                await self._await_state(operator, auction_pb2.AUCTION_STATE_PUBLISHED)
                self.say("gate closed, auction cleared, certificate verified, prices published")
                await self._deliver(operator, plan)
                await self._await_statements(operator, plan)
                vkey = load_exchange(self.identities / "operator").log_vkey
            return await self._audit(plan, vkey)
        finally:
            await self.stop()

    def _fix_tie_seed(self) -> None:
        """Derive tie seeds from the scenario's seed, so that the same day gives the same awards.

        Only here: a real exchange draws this secret by chance on its first start.
        """
        path = self._options.data / "secrets" / DERIVATION_FILE
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            text = f"iso-exchange demo {self._options.seed}".encode()
            write_private(path, hashlib.sha256(text).hexdigest().encode() + b"\n")

    # The operator's part ------------------------------------------------------------------

    async def _register(self, operator: Client, plan: Script) -> None:
        authority = DevelopmentAuthority.load_or_create(
            self._options.data / "ca", origin=operator.origin, now=datetime.now(UTC)
        )
        scenario = plan.scenario
        parties = [
            *(
                (item.supplier_id, item.name, Role.SUPPLIER, item.country)
                for item in scenario.suppliers
            ),
            *((item.lab_id, item.name, Role.BUYER, item.country) for item in scenario.labs),
            *(
                (item.community_id, item.name, Role.COMMUNITY, item.jurisdiction[:2])
                for item in scenario.communities
            ),
            (AUDITOR_ID, "Public auditor", Role.AUDITOR, ""),
        ]
        for party_id, name, role, country in parties:
            key = self.issue(authority, party_id)
            command = script.participant(plan, party_id, name, role, country, key.public)
            await operator.send(command)
        await self._send_all(operator, list(script.grid(plan)))
        for pool in scenario.pools:
            key = self.issue(authority, script.meter_id(pool))
            await operator.send(script.meter(plan, pool, key.public))
        await self._send_all(operator, list(script.deposits(plan)))
        commitment = await operator.seed_commitment(plan.auction_id)
        await operator.send(script.auction(plan, commitment))
        self.say(
            f"registered {len(scenario.suppliers)} suppliers, {len(scenario.labs)} labs, "
            f"{len(scenario.sites)} sites, {len(scenario.pools)} pools with "
            f"{scenario.capacity_chips:,} chips; auction {plan.auction_id} is open"
        )

    async def _send_all(self, operator: Client, commands: Sequence[Command]) -> None:
        for answer in await operator.send_many(commands):
            if isinstance(answer, Refused):
                raise answer

    def _scenario_arguments(self) -> tuple[str, ...]:
        options = self._options
        data = ("--data-directory", str(options.data_directory)) if options.data_directory else ()
        return (
            *data,
            *("--scenario-day", str(options.scenario_day), "--seed", str(options.seed)),
            *("--day-start", str(DAY_START), "--auction-id", AUCTION_ID),
        )

    async def _agents(self, plan: Script) -> str:
        """Start every supplier and lab, wait for all, and compare refusals with the scenario."""
        names = [
            *(item.supplier_id for item in plan.scenario.suppliers),
            *(item.lab_id for item in plan.scenario.labs),
        ]
        children = [
            await self.spawn(
                f"agent-{name}",
                "iso_exchange.replay.agent",
                *("--participant", name, "--identity", str(self.identities / name)),
                *("--contracts", str(self._options.data / "contracts")),
                *self._scenario_arguments(),
            )
            for name in names
        ]
        refused: list[tuple[str, str]] = []
        for name, child in zip(names, children, strict=True):
            output, _ = await asyncio.wait_for(child.communicate(), STEP_SECONDS_MAX)
            if child.returncode != 0:
                raise StageError(f"agent {name} failed: see {self._options.data}/logs")
            result = json.loads(output)
            refused.extend((item["what"], item["code"]) for item in result["refused"])
        expected = [(item.order_id, item.reason) for item in plan.scenario.expected_refusals]
        if sorted(refused) != sorted(expected):
            raise StageError(f"refused {refused}, expected {expected}")
        return ", ".join(f"{what} ({code})" for what, code in refused)

    async def _deliver(self, operator: Client, plan: Script) -> None:
        """Run the meters and move the clock hour by hour as settlement keeps up."""
        meters = [
            await self.spawn(
                f"meters-{supplier.supplier_id}",
                "iso_exchange.replay.meters",
                *("--supplier", supplier.supplier_id, "--identities", str(self.identities)),
                *self._scenario_arguments(),
            )
            for supplier in plan.scenario.suppliers
        ]
        for hour in range(1, 25):
            await operator.advance_time(plan.hour(hour))
            await self._await_settled(operator, hour, meters)
        for child in meters:
            await asyncio.wait_for(child.communicate(), STEP_SECONDS_MAX)
        self.say("24 hours delivered, metered and settled")

    async def _await_settled(
        self, operator: Client, count: int, meters: Sequence[asyncio.subprocess.Process]
    ) -> None:
        deadline = time.monotonic() + STEP_SECONDS_MAX
        while (await operator.auction(AUCTION_ID)).settled_interval_count < count:
            if any(child.returncode not in (None, 0) for child in meters):
                raise StageError(f"a meter failed: see {self._options.data}/logs")
            if time.monotonic() > deadline:
                raise StageError(f"hour {count} was not settled in time")
            await asyncio.sleep(0.05)

    async def _await_state(
        self, operator: Client, state: auction_pb2.AuctionState.ValueType
    ) -> None:
        deadline = time.monotonic() + STEP_SECONDS_MAX
        while (found := await operator.auction(AUCTION_ID)).state != state:
            if found.state == auction_pb2.AUCTION_STATE_FAILED:
                raise StageError(f"clearing failed: {found.reason}")
            if time.monotonic() > deadline:
                raise StageError("the auction was not published in time")
            await asyncio.sleep(0.1)

    async def _await_statements(self, operator: Client, plan: Script) -> None:
        """Wait until every community total, the settler's last step, is under a checkpoint."""
        deadline = time.monotonic() + STEP_SECONDS_MAX
        while True:
            totals = await operator.community_totals()
            published = (await operator.checkpoint()).tree_size
            if len(totals) == len(plan.scenario.sites) and all(
                total.entry_index < published for total in totals
            ):
                return
            if time.monotonic() > deadline:
                raise StageError("statements were not issued and published in time")
            await asyncio.sleep(0.1)

    # The auditor's part ---------------------------------------------------------------------

    async def _audit(self, plan: Script, vkey: str) -> tuple[DayReport, Report]:
        bundle = self._options.data / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        child = await self.spawn(
            "audit-export",
            "iso_exchange.cli",
            *("--data", str(self._options.data), "audit", "export", "--out", str(bundle)),
        )
        await asyncio.wait_for(child.communicate(), STEP_SECONDS_MAX)
        if child.returncode != 0:
            raise StageError(f"export failed: see {self._options.data}/logs")
        await self.stop()
        self.say("ledger exported; exchange stopped; verifying offline")
        self.checkpoint = (bundle / "log" / "checkpoint").read_text()
        report, state = verify_and_replay(bundle, vkey)
        if state is None:
            raise StageError(f"the ledger does not replay: {report.summary()}")
        return day_report(state, AUCTION_ID, plan.scenario), report


def main() -> None:
    """Run the demo from the command line."""
    options = _parse()
    console = Console(stderr=options.as_json, highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    if not options.keep:
        shutil.rmtree(options.data, ignore_errors=True)
    try:
        demo = Demo(options, console)
        day, audit = asyncio.run(demo.run())
    except (StageError, ClientError) as error:
        console.print(f"[red]The demo failed:[/red] {error}")
        raise SystemExit(1) from error
    if options.as_json:
        document = {
            "day": json.loads(codec.encode(day)),
            "checkpoint": demo.checkpoint,
            "audit": {"ok": audit.ok, **json.loads(codec.encode(audit))},
        }
        print(json.dumps(document))
    else:
        print_report(console, day)
        console.print(
            f"Certified welfare gap of the auction: {percent(divide_ppb(day.certified_gap_ppb), 4)}"
        )
        print_audit(console, audit)
        console.print(f"Signed checkpoint (origin, size, root):\n{demo.checkpoint}")
    if not audit.ok:
        raise SystemExit(1)


def divide_ppb(gap_ppb: int) -> int:
    """Parts per billion as parts per million, rounded up."""
    return -(-gap_ppb // 1_000)


def _parse() -> DemoOptions:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("var/demo"), help="working directory")
    parser.add_argument(
        "--data-directory",
        type=Path,
        default=None,
        help="real traces and prices (default: ISO_DATA_DIR, else the built-in scenario)",
    )
    parser.add_argument("--scenario-day", type=int, default=SCENARIO_DAY)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--keep", action="store_true", help="continue the day of an earlier run that was stopped"
    )
    arguments = parser.parse_args()
    named = os.environ.get("ISO_DATA_DIR")
    data_directory = arguments.data_directory or (Path(named) if named else None)
    return DemoOptions(
        data=arguments.data,
        data_directory=data_directory.resolve() if data_directory else None,
        scenario_day=arguments.scenario_day,
        seed=arguments.seed,
        as_json=arguments.json,
        keep=arguments.keep,
    )


if __name__ == "__main__":
    main()
