"""``make replay``: a real trace through the real exchange, on a simulated clock.

Starts the exchange on an embedded PostgreSQL, opens a spot market, lets labs and suppliers speak
for themselves over gRPC with signed messages, clears every five minutes, meters, settles, exports
the ledger and verifies it offline. Prints what it came to, writes a page with plots, and exits
with 1 when a reach is missed, the books do not balance or verification fails.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from clearing.units import MicroUsdPerChipHour, UnixSeconds
from iso_exchange.audit.report import Report
from iso_exchange.audit.verify import verify_and_replay
from iso_exchange.client import Client, Refused, load_exchange
from iso_exchange.client.agents.curve import CurveLab
from iso_exchange.client.agents.jobs import Job
from iso_exchange.client.agents.lab import Lab, Policy
from iso_exchange.client.errors import ClientError
from iso_exchange.commands import Command, RegisterParticipant, Role
from iso_exchange.identity.ca import DevelopmentAuthority
from iso_exchange.replay.agent import PATIENCE
from iso_exchange.replay.errors import DataError
from iso_exchange.replay.stage import Stage, StageError
from iso_exchange.replay.trace import faults, setup
from iso_exchange.replay.trace.asks import asks_of
from iso_exchange.replay.trace.base_load import Base, base_plan
from iso_exchange.replay.trace.bound import fluid_bound
from iso_exchange.replay.trace.drive import AnyLab, Replay, drive
from iso_exchange.replay.trace.earth import (
    CurveDemand,
    curve_bound,
    curve_demand,
    read_curves,
)
from iso_exchange.replay.trace.exchange_market import ExchangeMarket, MarketError
from iso_exchange.replay.trace.figures import Reach, figures_of, reaches
from iso_exchange.replay.trace.incidents import (
    FLOOD_ORDERS,
    OPERATOR_ID,
    Incident,
    Kind,
    Log,
    draw,
    parse,
)
from iso_exchange.replay.trace.layout import CHIPS_PER_NODE, Layout, layout_of
from iso_exchange.replay.trace.page import Money, Summary, page
from iso_exchange.replay.trace.printout import print_summary
from iso_exchange.replay.trace.regime import (
    DAY_S,
    FIRM_SHARE,
    Demand,
    Regime,
    demand_of,
    window_of,
)
from iso_exchange.replay.trace.silo import silo_curves, silo_queue
from iso_exchange.replay.trace.troubled import TroubledMarket
from iso_exchange.replay.traces import (
    SILO_PERCENT,
    TRACE_DAYS,
    hourly_demand,
    percentile,
    read_jobs,
)
from iso_exchange.sequencer.state import State
from iso_exchange.server import CLOCK_FILE
from settlement.ledger import accounts
from settlement.types import USD

START: Final = UnixSeconds(1_760_918_400)
"""2025-10-20T00:00:00Z, a day of the list prices, is second 0 of the trace."""

PREPARE_S: Final = 3_600
SETTLE_SECONDS_MAX: Final = 600
FIRM_LIMIT: Final = 12_000_000
INTERRUPTIBLE_LIMIT: Final = 5_000_000
LIMIT_STEP: Final = 100_000
"""Micro-USD per chip-hour. Assumptions: above every ask with surcharge and fee, and not equal
between labs, so that who gives way is a matter of price."""

EARTH_DAYS: Final = 15

BASE_PRICE: Final = MicroUsdPerChipHour(2_200_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a replay is asked to do."""

    trace: str
    data: Path
    regime: Regime
    days: int
    work: Path
    out: Path
    seed: int
    faults: bool
    kinds: frozenset[Kind] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is known before the first run."""

    demand: Demand | CurveDemand
    layout: Layout
    hourly: Mapping[str, Sequence[int]]
    asks: Mapping[str, MicroUsdPerChipHour]
    faults: faults.Faults
    policies: Mapping[str, Policy]
    incidents: tuple[Incident, ...] = ()
    flood_orders: int = FLOOD_ORDERS
    base: Base = field(default_factory=dict)
    """Base load of day 0, which has no past to take it from."""

    @property
    def jobs(self) -> Sequence[tuple[str, Job]]:
        """Jobs by submission; a trace of curves has none."""
        return self.demand.jobs if isinstance(self.demand, Demand) else ()

    def labs(self) -> dict[str, AnyLab]:
        """An agent for each tenant."""
        if isinstance(self.demand, Demand):
            return {name: Lab(name, policy, {}) for name, policy in self.policies.items()}
        firm_ppm = int(FIRM_SHARE * 1_000_000)
        return {
            name: CurveLab(name, policy, self.demand.curves[name], firm_ppm=firm_ppm)
            for name, policy in self.policies.items()
        }


Played = tuple[Replay, Mapping[str, AnyLab], State, Report, Mapping[str, float]]
"""What happened, the labs, the state that the verified ledger gives, its report, wall seconds by
phase."""


class TraceReplay(Stage):
    """A trace on the stage."""

    def __init__(self, options: Options, plan: Plan, console: Console) -> None:
        """Prepare; nothing starts before ``run``."""
        super().__init__(options.work, UnixSeconds(START - PREPARE_S), console)
        self._options = options
        self._plan = plan
        self._clients: dict[str, Client] = {}
        self.incidents = Log()

    async def run(self) -> Played:
        """Play the whole trace.

        Raises:
            StageError: a process failed, or a step took too long.
            MarketError: a run was not published.
        """
        plan = self._plan
        try:
            await self.start()
            async with AsyncExitStack() as stack:
                operator = await stack.enter_async_context(await self.operator())
                calendar = setup.Calendar(origin=operator.origin, start=START)
                await self._register(operator, calendar, stack)
                market = ExchangeMarket(
                    operator=operator,
                    clients=self._clients,
                    calendar=calendar,
                    layout=plan.layout,
                    asks=plan.asks,
                    policies=plan.policies,
                    end_s=plan.demand.window.end_s + DAY_S,
                )
                await market.open()
                labs = plan.labs()
                troubled = TroubledMarket(
                    market=market,
                    stage=self,
                    clients={**self._clients, OPERATOR_ID: operator},
                    calendar=calendar,
                    layout=plan.layout,
                    faults=plan.faults,
                    incidents=plan.incidents,
                    flood_orders=plan.flood_orders,
                )
                self.incidents = troubled.log
                days = _Days(self, calendar, labs, market)
                await days.begin(plan.base)
                began = time.perf_counter()
                replay = await drive(
                    troubled,
                    plan.layout,
                    labs,
                    plan.jobs,
                    plan.faults,
                    plan.demand.window.end_s,
                    base=days,
                )
                spent = {**market.clock.spent, "all": time.perf_counter() - began}
                if market.refused:
                    raise StageError(f"the exchange refused {market.refused[0]}")
                end_s = plan.demand.window.end_s
                await operator.send(setup.closing(calendar, end_s))
                await market.deliver_rest(end_s)
                await self._await_settled(operator)
                replay.firm_lost = market.firm_lost
                await troubled.sum_up()
                replay.incidents.extend(troubled.log.lines)
                vkey = load_exchange(self.identities / "operator").log_vkey
            began = time.perf_counter()
            report, state = await self._audit(vkey)
            spent["audit"] = time.perf_counter() - began
            return replay, labs, state, report, spent
        finally:
            await self.stop()

    async def _register(
        self, operator: Client, calendar: setup.Calendar, stack: AsyncExitStack
    ) -> None:
        plan = self._plan
        authority = DevelopmentAuthority.load_or_create(
            self._data / "ca", origin=operator.origin, now=datetime.now(UTC)
        )
        members = list(setup.parties(sorted(plan.policies)))
        for name, role in members:
            key = self.issue(authority, name)
            await operator.send(
                RegisterParticipant(
                    header=calendar.header("operator", f"participant/{name}"),
                    participant_id=name,
                    display_name=name,
                    roles=(role,),
                    public_key=key.public,
                )
            )
        await self._send_all(operator, list(setup.grid(calendar, plan.layout)))
        names = [name for name, role in members if role is not Role.COMMUNITY]
        for pool in plan.layout.pools:
            key = self.issue(authority, setup.meter_id(pool))
            await operator.send(setup.meter(calendar, pool, key.public))
        await self._send_all(operator, list(setup.deposits(calendar, names)))
        anchor = await operator.seed_anchor(setup.MARKET_ID, setup.CHAIN_LENGTH)
        await operator.send(setup.market(calendar, anchor))
        for name in (*names, *(setup.meter_id(pool) for pool in plan.layout.pools)):
            client = Client.from_directory(self.identities / name, retry=PATIENCE)
            self._clients[name] = await stack.enter_async_context(client)
        self.say(f"registered {len(names)} suppliers and labs; market {setup.MARKET_ID} is open")

    async def _send_all(self, client: Client, commands: Sequence[Command]) -> None:
        for answer in await client.send_many(commands):
            if isinstance(answer, Refused):
                raise answer

    async def entitle(
        self, calendar: setup.Calendar, day: int, plan: Base | None = None
    ) -> Mapping[str, Mapping[str, int]]:
        """Register the base load of a day, signed by both sides.

        Args:
            plan: None for what the days before make of it.
        """
        if plan is None:
            plan = base_plan(self._plan.hourly, self._plan.layout, day)
        for command in setup.entitlements(calendar, plan, self._plan.layout, day, BASE_PRICE):
            cosigner = self._clients[command.supplier_id].identity.signing_key
            await self._clients[command.holder_id].send(command, cosigners=[cosigner])
        return plan

    async def _await_settled(self, operator: Client) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        end = UnixSeconds(START + self._plan.demand.window.end_s)
        await operator.advance_time(UnixSeconds(end + 2 * PREPARE_S))
        while time.monotonic() < deadline:
            entries = (await operator.checkpoint()).tree_size
            await asyncio.sleep(2)
            if (await operator.checkpoint()).tree_size == entries:
                return
        raise StageError("settlement did not come to rest")

    async def _audit(self, vkey: str) -> tuple[Report, State]:
        bundle = self._data / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        child = await self.spawn(
            "audit-export",
            "iso_exchange.cli",
            *("--data", str(self._data), "audit", "export", "--out", str(bundle)),
        )
        await asyncio.wait_for(child.communicate(), SETTLE_SECONDS_MAX)
        if child.returncode != 0:
            raise StageError(f"export failed: see {self._data}/logs")
        await self.stop()
        self.say("ledger exported; exchange stopped; verifying offline")
        report, state = verify_and_replay(bundle, vkey)
        if state is None:
            raise StageError(f"the ledger does not replay: {report.summary()}")
        return report, state


class _Days:
    """Base load by day: registered the day before, held from midnight on."""

    def __init__(
        self,
        stage: TraceReplay,
        calendar: setup.Calendar,
        labs: Mapping[str, AnyLab],
        market: ExchangeMarket,
    ) -> None:
        self._stage = stage
        self._calendar = calendar
        self._labs = labs
        self._market = market
        self._plans: dict[int, Mapping[str, Mapping[str, int]]] = {}
        self.chip_hours = 0

    async def begin(self, base: Base) -> None:
        """Register base load of day 0 before it begins."""
        if base:
            self._plans[0] = await self._stage.entitle(self._calendar, 0, base)

    async def at(self, start_s: int) -> None:
        """Call at the start of every interval, after its run was published."""
        day, rest = divmod(start_s, DAY_S)
        if rest == DAY_S // 2:
            self._plans[day + 1] = await self._stage.entitle(self._calendar, day + 1)
        if rest == 0:
            plan = self._plans.get(day, {})
            nodes = sum(sum(places.values()) for places in plan.values())
            self.chip_hours += nodes * CHIPS_PER_NODE * 24
            for name, lab in self._labs.items():
                lab.set_base(plan.get(name, {}))
            by_pool: dict[str, int] = defaultdict(int)
            for places in plan.values():
                for pool_id, count in places.items():
                    by_pool[pool_id] += count
            self._market.expect_base(by_pool)


def prepare(options: Options) -> Plan:
    """Read the data and lay out the grid.

    Raises:
        DataError: data is absent or malformed, or too little is asked for.
    """
    demand: Demand | CurveDemand
    if options.trace == "earth":
        curves = read_curves(options.data)
        demand = curve_demand(curves, options.regime, window_of(options.days))
        hours = options.days * 24
        hourly: Mapping[str, Sequence[int]] = {
            name: (row[: hours * 60].reshape(-1, 60).sum(axis=1) * 60).tolist()
            for name, row in curves.items()
        }
        tenants = sorted(curves)
    else:
        if options.days > TRACE_DAYS:
            raise DataError("TOO_LONG", "DAYS", options.days, f"the trace has {TRACE_DAYS} days")
        trace = read_jobs(options.data)
        length_s = TRACE_DAYS * DAY_S
        demand = demand_of(trace, options.regime, options.days, length_s=length_s)
        hourly = hourly_demand(trace, options.days * 24)
        tenants = sorted({name for name, _ in demand.jobs})
    first = demand.window.start_s // 3_600
    peaks = {name: percentile(row[first:], SILO_PERCENT) for name, row in hourly.items()}
    layout = layout_of(demand.capacity_chips, peaks)
    none = faults.Faults(failures=(), site_id="", outage_start_s=0, outage_end_s=0)
    drawn = faults.draw(layout, options.days, seed=options.seed) if options.faults else none
    found: tuple[Incident, ...] = ()
    if options.kinds:
        window = demand.window.start_s, demand.window.end_s
        drawn, found = draw(options.kinds, drawn, layout, hourly, window)
    return Plan(
        demand=demand,
        layout=layout,
        hourly=hourly,
        asks=asks_of(options.data, layout, datetime.fromtimestamp(START, UTC)),
        faults=drawn,
        incidents=found,
        policies={
            name: Policy(
                firm_limit=FIRM_LIMIT,
                interruptible_limit=INTERRUPTIBLE_LIMIT + LIMIT_STEP * (place * 7 % 11),
            )
            for place, name in enumerate(tenants)
        },
    )


def sum_up(
    options: Options,
    plan: Plan,
    replay: Replay,
    labs: Mapping[str, AnyLab],
    state: State,
    audit: Report,
) -> Summary:
    """Figures of a replay that is over."""
    demand, layout = plan.demand, plan.layout
    saturated = options.regime is Regime.SATURATED
    if isinstance(demand, Demand):
        bound = fluid_bound([job for _, job in demand.jobs], layout.chips, demand.window)
        alone = Policy(firm_limit=1, interruptible_limit=1)
        silo = silo_queue(demand.jobs, layout, plan.faults, alone, demand.window)
    else:
        bound = curve_bound(demand, layout.chips)
        silo = silo_curves(demand, layout, plan.faults)
    figures = figures_of(
        options.regime,
        demand.window,
        replay.hours.values(),
        [run for lab in labs.values() for run in lab.all_runs()],
        load=demand.mean_chips * (2 if saturated else 1) / layout.chips,
        bound=bound,
    )
    starts = range(demand.window.start_s, demand.window.end_s, 300)
    missing = (-1, -1)
    return Summary(
        title=f"{options.trace.upper()} trace, {options.regime.value}, {options.days} days",
        layout=layout,
        figures=figures,
        silo=silo,
        reaches=reaches(figures, base_curtailments=replay.base_curtailed),
        prices={
            pool.pool_id: [replay.prices[at].get(pool.pool_id, missing)[0] for at in starts]
            for pool in layout.pools
        },
        money=money_of(state, sorted(labs), audit),
        notes=notes(plan, replay),
    )


def money_of(state: State, labs: Sequence[str], audit: Report) -> Money:
    """Who paid and earned what, from the books of the verified ledger, payouts left out."""
    moved: dict[str, int] = defaultdict(int)
    for balance in state.books.balances():
        if balance.asset == USD:
            moved[balance.account] += balance.posted
    for issued in state.statements.values():
        moved[issued.account] += issued.payout
    suppliers = set(setup.SUPPLIERS.values())
    return Money(
        paid={name: -moved[accounts.cash(name)] for name in labs},
        earned={name: moved[accounts.cash(name)] for name in suppliers},
        communities={site_id: moved[accounts.community(site_id)] for site_id in setup.SITES},
        fee=moved[accounts.OPERATOR_FEE],
        pool=moved[accounts.POOL],
        verified=audit.summary(),
    )


def notes(plan: Plan, replay: Replay) -> list[str]:
    """How it was set up."""
    demand, layout = plan.demand, plan.layout
    rows = ", ".join(f"{pool.pool_id} {pool.chips}" for pool in layout.pools)
    if isinstance(demand, Demand):
        firm = f"{float(demand.firm_chips):.0f} of {float(demand.mean_chips):.0f} chips"
        rule = f"Firm by a hash of the job until demand is 0.65 of the saturated capacity: {firm}."
    else:
        rule = (
            "Firm is 0.65 of each curve, in whole nodes; what is not served in its minute is gone."
        )
    silos = ", ".join(f"{name} {nodes * 8}" for name, nodes in layout.silo_nodes.items())
    return [
        f"{layout.chips} chips in {len(layout.pools)} pools: {rows}.",
        f"Silos with the same chips, by each tenant's own p95: {silos}.",
        rule,
        f"Base load: trailing P10 over 7 days; {replay.base_chip_hours:,} chip-hours.",
        f"{len(plan.faults.failures)} nodes fail, 0.004 a node and day; each is repaired in 4 h.",
        f"Site lost for two hours: {plan.faults.site_id or 'none'}.",
        f"{replay.notices} notices for {replay.reclaimed} nodes.",
        f"{replay.firm_lost} node-intervals of firm work were found down.",
        *replay.incidents,
    ]


def main() -> None:
    """Run a replay from the command line."""
    options = _parse()
    console = Console(highlight=False, emoji=False)
    try:
        plan = prepare(options)
        _clear(options.work)
        replay, labs, state, audit, spent = asyncio.run(TraceReplay(options, plan, console).run())
    except (DataError, StageError, MarketError, ClientError) as error:
        console.print(f"[red]The replay failed:[/red] {error}")
        raise SystemExit(1) from error
    summary = sum_up(options, plan, replay, labs, state, audit)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(summary))
    print_summary(console, summary, spent)
    console.print(f"Page: {options.out}")
    missed: list[Reach] = [reach for reach in summary.reaches if not reach.met]
    if missed or not audit.ok:
        raise SystemExit(1)


def _clear(work: Path) -> None:
    """Take an earlier replay away; a directory of anything else is left alone.

    Raises:
        StageError: the directory holds something, and no replay made it.
    """
    if work.exists() and any(work.iterdir()):
        if not (work / CLOCK_FILE).is_file():
            raise StageError(f"{work} is not empty and holds no replay: name another --work")
        shutil.rmtree(work)


def _parse() -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", choices=("itp", "earth"), default="itp")
    parser.add_argument("--data", type=Path, default=None, help="default: ISO_DATA_DIR")
    parser.add_argument("--regime", choices=[item.value for item in Regime], required=True)
    parser.add_argument("--days", type=int, default=None, help="default: the whole trace")
    parser.add_argument("--work", type=Path, default=Path("var/replay"), help="working directory")
    parser.add_argument("--out", type=Path, default=None, help="page to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument(
        "--faults",
        default="",
        help="what goes wrong instead of the usual failures, with commas between: "
        + ", ".join(kind.value for kind in Kind),
    )
    arguments = parser.parse_args()
    named = os.environ.get("ISO_DATA_DIR")
    data = arguments.data or (Path(named) if named else None)
    if data is None:
        parser.error("say where the data is: --data, or ISO_DATA_DIR")
    regime = Regime(arguments.regime)
    out = arguments.out or Path(f"var/replay-{arguments.trace}-{regime.value}.html")
    return Options(
        trace=arguments.trace,
        data=data,
        regime=regime,
        days=arguments.days or (EARTH_DAYS if arguments.trace == "earth" else TRACE_DAYS),
        work=arguments.work,
        out=out,
        seed=arguments.seed,
        faults=not arguments.no_faults,
        kinds=parse(arguments.faults),
    )


if __name__ == "__main__":
    main()
