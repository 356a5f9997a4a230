"""One supplier or lab of a scenario as a process of its own.

It knows only its own identity and its own part of the scenario. Base-load contracts are
bilateral: the supplier signs first and hands the half-signed envelope over in a
directory, which stands for whatever the two use between them; the lab countersigns the
same bytes and registers the contract.

Run as ``python -m iso_exchange.replay.agent --participant lab-1 ...``; prints one JSON
line: what was accepted, and each refusal with its reason.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

from clearing.errors import InvariantError
from clearing.units import UnixSeconds
from iso_exchange.client import Client, Receipt, Refused, Retry, Sealed
from iso_exchange.commands import RegisterEntitlement
from iso_exchange.convert import payload_of
from iso_exchange.replay import scenario, script
from iso_exchange.replay.script import Script
from settlement.ledger import envelope
from settlement.ledger.envelope import Envelope, Signature
from settlement.ledger.keys import SigningKey

PATIENCE = Retry(attempts=40)
"""Covers a restart of the exchange in the middle of the day."""

COUNTERPARTY_SECONDS_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What an agent is started with.

    Attributes:
        identity: Identity directory.
        contracts: Directory in which half-signed contracts are handed over.
        data_directory: Real traces and prices, None for the built-in scenario.
    """

    participant_id: str
    identity: Path
    contracts: Path
    data_directory: Path | None
    scenario_day: int
    seed: int
    day_start: int
    auction_id: str


def add_scenario_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say which scenario runs on which calendar day."""
    parser.add_argument("--data-directory", type=Path, default=None)
    parser.add_argument("--scenario-day", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--day-start", type=int, required=True, help="seconds since the epoch")
    parser.add_argument("--auction-id", required=True)


def load_script(
    data_directory: Path | None,
    scenario_day: int,
    seed: int,
    *,
    origin: str,
    day_start: int,
    auction_id: str,
) -> Script:
    """The scenario on its calendar; the same arguments give the same script in every process."""
    return Script(
        scenario=scenario.build(data_directory, scenario_day, seed),
        origin=origin,
        day_start=UnixSeconds(day_start),
        auction_id=auction_id,
    )


async def run(options: AgentOptions) -> dict[str, object]:
    """Say everything this party has to say before gate closure.

    Returns:
        Count of accepted statements and the refusals.
    """
    async with Client.from_directory(options.identity, retry=PATIENCE) as client:
        plan = load_script(
            options.data_directory,
            options.scenario_day,
            options.seed,
            origin=client.origin,
            day_start=options.day_start,
            auction_id=options.auction_id,
        )
        suppliers = {item.supplier_id for item in plan.scenario.suppliers}
        if options.participant_id in suppliers:
            answers = await _supplier(client, plan, options)
        else:
            answers = await _lab(client, plan, options)
    return {
        "participant": options.participant_id,
        "accepted": sum(isinstance(answer, Receipt) for _, answer in answers),
        "refused": [
            {"what": what, "code": answer.code, "field": answer.field, "advice": answer.advice}
            for what, answer in answers
            if isinstance(answer, Refused)
        ],
    }


async def _supplier(
    client: Client, plan: Script, options: AgentOptions
) -> list[tuple[str, Receipt | Refused]]:
    for command in script.entitlements(plan):
        if command.supplier_id == options.participant_id:
            _hand_over(options.contracts, command, client.identity.signing_key)
    offers = script.offers(plan, options.participant_id)
    answers = await client.send_many(offers)
    return [(offer.order_id, answer) for offer, answer in zip(offers, answers, strict=True)]


async def _lab(
    client: Client, plan: Script, options: AgentOptions
) -> list[tuple[str, Receipt | Refused]]:
    answers: list[tuple[str, Receipt | Refused]] = []
    for command in script.entitlements(plan):
        if command.holder_id == options.participant_id:
            half_signed = await _await_file(options.contracts / f"{command.entitlement_id}.json")
            sealed = countersign(command, half_signed, client.identity.signing_key)
            answers.append((command.entitlement_id, await _send(client, sealed)))
    for nomination in script.nominations(plan, options.participant_id):
        sealed = await client.prepare(nomination)
        answers.append((nomination.nomination_id, await _send(client, sealed)))
    bids = script.bids(plan, options.participant_id)
    sent = await client.send_many(bids)
    answers.extend((bid.order_id, answer) for bid, answer in zip(bids, sent, strict=True))
    return answers


async def _send(client: Client, sealed: Sealed) -> Receipt | Refused:
    try:
        return await client.send_sealed(sealed)
    except Refused as refused:
        return refused


def countersign(command: RegisterEntitlement, half_signed: bytes, key: SigningKey) -> Sealed:
    """Add the holder's signature to what the supplier signed, after comparing every byte."""
    parsed = envelope.decode(half_signed)
    payload_type, payload = payload_of(command)
    if (parsed.payload_type, parsed.payload) != (payload_type, payload):
        message = f"the supplier signed another contract than {command.entitlement_id}"
        raise InvariantError(message)
    own = Signature(keyid=key.key_id, sig=key.sign(envelope.pae(payload_type, payload)))
    return Sealed(
        command=command,
        envelope=envelope.encode(
            Envelope(
                payload_type=payload_type,
                payload=payload,
                signatures=(*parsed.signatures, own),
            )
        ),
    )


def _hand_over(directory: Path, command: RegisterEntitlement, key: SigningKey) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    payload_type, payload = payload_of(command)
    temporary = directory / f".{command.entitlement_id}.{os.getpid()}"
    temporary.write_bytes(envelope.sign(payload_type, payload, [key]))
    temporary.rename(directory / f"{command.entitlement_id}.json")


async def _await_file(path: Path) -> bytes:
    for _ in range(COUNTERPARTY_SECONDS_MAX * 10):
        content = _content(path)
        if content is not None:
            return content
        await asyncio.sleep(0.1)
    message = f"the counterparty did not sign {path.name} within {COUNTERPARTY_SECONDS_MAX} s"
    raise TimeoutError(message)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def main() -> None:
    """Run one agent from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participant", required=True)
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument("--contracts", type=Path, required=True)
    add_scenario_arguments(parser)
    arguments = parser.parse_args()
    result = asyncio.run(
        run(
            AgentOptions(
                participant_id=arguments.participant,
                identity=arguments.identity,
                contracts=arguments.contracts,
                data_directory=arguments.data_directory,
                scenario_day=arguments.scenario_day,
                seed=arguments.seed,
                day_start=arguments.day_start,
                auction_id=arguments.auction_id,
            )
        )
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
