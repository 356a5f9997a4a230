"""The publisher as a process of its own: ``iso serve --role publisher``.

It needs the database and the data directory, and nothing of the sequencer: what it publishes it
reads back and hashes. There is one at a time, others stand by; each publication is a
compare-and-swap all the same. It serves the published log and its own metrics over HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog

from iso_exchange import config as configuration
from iso_exchange.clock import MICROSECONDS, SystemClock
from iso_exchange.config import Config, ConfigError
from iso_exchange.gateway.http_server import HttpServer
from iso_exchange.publisher.keys import LogKeys
from iso_exchange.publisher.publisher import Publisher
from iso_exchange.publisher.witnesses import Witnesses
from iso_exchange.secrets_file import LOG_FILE, SECOND_LOG_FILE, read_seed
from iso_exchange.storage.leader import leadership
from iso_exchange.storage.postgres import PostgresStore
from settlement.ledger.mldsa import MlDsaKey

LEADER: Final = "iso publisher"
STANDBY_SECONDS: Final = 0.5

log = structlog.get_logger("publisher")


async def publish_until(config: Config, stop: asyncio.Event) -> None:
    """Publish until told to stop; what was committed by then is published.

    Raises:
        ConfigError: there is no exchange here to publish for.
        StoreError: the database is gone, is behind what was published, or another publisher was
            faster: start again.
        Exception: whatever else ended it.
    """
    assert config.database_url is not None, "checked by the configuration"
    secrets = config.data / "secrets"
    if not (secrets / LOG_FILE).exists():
        message = f"{secrets} holds no log key: start the sequencer on this data directory first"
        raise ConfigError(message)
    async with AsyncExitStack() as stack:
        store = await PostgresStore.open(config.database_url, application_name=LEADER)
        stack.push_async_callback(store.close)
        http = HttpServer(listen=config.http, directory=config.data / "log")
        http.start()
        stack.push_async_callback(asyncio.to_thread, http.stop)
        leading = leadership(config.database_url, f"{LEADER} of {config.origin}")
        lost = await _or_stop(stack.enter_async_context(leading), stop)
        if lost is None:
            return
        publisher = _publisher(config, store)
        await publisher.start()
        log.info("publisher started", http=http.url, data=str(config.data))
        parts = [publisher.run(), publisher.run_witnesses(), _fail_with(lost)]
        if config.timestamp_url:
            parts.append(_stamp(config, publisher))
        await _run_until(parts, stop)
        await publisher.catch_up()
        await publisher.publish()
        await publisher.collect()


def _publisher(config: Config, store: PostgresStore) -> Publisher:
    secrets, clock = config.data / "secrets", SystemClock()
    policy = configuration.read_policy(config.witness_policy, config.origin)
    second = secrets / SECOND_LOG_FILE
    keys = LogKeys(secrets)
    return Publisher(
        store=store,
        origin=config.origin,
        key=keys.key(),
        directory=config.data / "log",
        second_key=MlDsaKey.from_seed(read_seed(second)) if second.exists() else None,
        witnesses=(
            None if policy is None else Witnesses(policy=policy, seconds_max=config.witness_seconds)
        ),
        now_seconds=lambda: clock.now_us() // MICROSECONDS,
        log_keys=keys,
    )


async def _stamp(config: Config, publisher: Publisher) -> None:
    from iso_exchange.publisher.timestamps import Timestamps  # noqa: PLC0415 - an extra

    await Timestamps(
        publisher=publisher,
        url=config.timestamp_url,
        seconds=config.timestamp_seconds,
        directory=config.data / "log",
    ).run()


async def _run_until(parts: Sequence[Coroutine[None, None, None]], stop: asyncio.Event) -> None:
    """Run parts that never end by themselves; what one of them raises is raised."""
    stopped = asyncio.create_task(stop.wait())
    running = [asyncio.create_task(part) for part in parts]
    done, _ = await asyncio.wait({stopped, *running}, return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, *running):
        task.cancel()
    await asyncio.gather(stopped, *running, return_exceptions=True)
    for task in running:
        if task in done:
            task.result()


async def _fail_with(lost: asyncio.Future[None]) -> None:
    await asyncio.shield(lost)


async def _or_stop(
    waiting: Coroutine[None, None, asyncio.Future[None]], stop: asyncio.Event
) -> asyncio.Future[None] | None:
    """What is waited for, or None when told to stop before."""
    task, stopped = asyncio.ensure_future(waiting), asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait({task}, timeout=STANDBY_SECONDS)
        if not done:
            log.info("standing by: another publisher publishes this log")
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None
    finally:
        stopped.cancel()
