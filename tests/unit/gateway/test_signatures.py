"""The process that checks signatures gives the verdicts that this process would give."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from iso_exchange.gateway.signatures import FEW, SignatureWorker, WorkerEndedError
from iso_exchange.sequencer.refusals import Code
from iso_exchange.sequencer.sequencer import QUEUE_COUNT_MAX, StoppedError
from iso_exchange.services.errors import Refused, status_of
from iso_exchange.services.mutations import Mutations
from iso_exchange.signature_checks import LENGTH, SignatureCheck, checks_of, frame_of, holds
from settlement.ledger.keys import SigningKey

KEYS = tuple(SigningKey.from_seed(bytes([number]) * 32) for number in range(3))
SMALL_ORDER = bytes(31) + b"\x80"


def _checks(count: int) -> list[SignatureCheck]:
    """Good ones, and wrong keys, messages and signatures, and a key that signs everything."""
    found = []
    for number in range(count):
        key, message = KEYS[number % 3], b"order %d" % number * (number % 50)
        check = SignatureCheck(key.public, key.sign(message), message)
        spoilt = (
            check,
            check._replace(public=KEYS[(number + 1) % 3].public),
            check._replace(message=message + b"!"),
            check._replace(signature=bytes(64)),
            SignatureCheck(SMALL_ORDER, bytes(64), message),
        )
        found.append(spoilt[number % 5])
    return found


def test_a_frame_says_what_was_put_into_it() -> None:
    checks = _checks(60)
    frame = frame_of(checks)
    assert LENGTH.unpack_from(frame)[0] == len(frame) - LENGTH.size
    assert checks_of(frame[LENGTH.size :]) == checks
    assert frame_of(()) == LENGTH.pack(0)


async def test_the_worker_answers_every_caller_in_its_own_order() -> None:
    worker = SignatureWorker()
    await worker.start()
    running = asyncio.create_task(worker.run())
    calls = [_checks(count) for count in (1, FEW, FEW + 1, 40, 100)]
    found = await asyncio.gather(*(worker.check(checks) for checks in calls))
    assert found == [[holds(check) for check in checks] for checks in calls]
    assert found[-1].count(True) == 20
    assert worker.checking == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await worker.stop()


async def test_a_cancelled_call_does_not_shift_the_answers_of_others() -> None:
    worker = SignatureWorker()
    await worker.start()
    running = asyncio.create_task(worker.run())
    given_up = asyncio.create_task(worker.check(_checks(100)))
    kept = asyncio.create_task(worker.check(_checks(50)))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await kept == [holds(check) for check in _checks(50)]
    running.cancel()
    await asyncio.gather(running, given_up, return_exceptions=True)
    await worker.stop()


async def test_when_the_worker_dies_nobody_waits_for_ever() -> None:
    worker = SignatureWorker()
    await worker.start()
    assert worker._process is not None
    os.kill(worker._process.pid, signal.SIGSTOP)
    running = asyncio.create_task(worker.run())
    waiting = asyncio.create_task(worker.check(_checks(50)))
    await asyncio.sleep(0)
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(StoppedError):
        await waiting
    with pytest.raises(WorkerEndedError):
        await running
    with pytest.raises(StoppedError):
        await worker.check(_checks(50))
    await worker.stop()


async def test_what_waits_already_keeps_more_out_at_the_door() -> None:
    sequencer: Any = SimpleNamespace(waiting=QUEUE_COUNT_MAX - 100)
    signatures: Any = SimpleNamespace(checking=80)
    secrets: Any = None
    mutations = Mutations(sequencer=sequencer, secrets=secrets, signatures=signatures)
    mutations._refuse_overload(20)
    with pytest.raises(Refused) as refused:
        mutations._refuse_overload(21)
    assert refused.value.rejected.code is Code.OVERLOADED
    assert refused.value.status.name == "RESOURCE_EXHAUSTED"
    assert "RetryInfo" in str(status_of(refused.value))
