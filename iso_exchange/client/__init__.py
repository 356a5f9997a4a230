"""Python SDK of the exchange: sign, send, read and watch.

What the command line, the demo and every program of a participant use. Commands are the
frozen values of ``iso_exchange.commands``; the client fills the header, signs the
envelope, picks the call and retries it with the same bytes, so that nothing is ever done
twice. Answers to reads are the messages of ``iso_exchange.api.v1``.

Example:
    async with Client.from_directory(Path("var/identities/lab-1")) as client:
        receipt = await client.send(
            CancelOrder(header=BLANK_HEADER, order_id="ord-1")
        )
        async for update in client.watch(cursor=receipt.entry_index):
            print(update.cursor, update.events)
"""

from iso_exchange.client.client import Client, Watched, WatchedAuction, WatchedBatch
from iso_exchange.client.errors import (
    ClientError,
    IdentityError,
    Refused,
    ServerFault,
    Unavailable,
    UntrustedAnswer,
)
from iso_exchange.client.identity import (
    Identity,
    load_exchange,
    load_identity,
)
from iso_exchange.client.reads import ExchangeTime, Reads, StatementWithLines
from iso_exchange.client.retry import Retry
from iso_exchange.client.signing import BLANK_HEADER, Receipt, Sealed
from iso_exchange.identity.directory import ExchangeAddress

__all__ = [
    "BLANK_HEADER",
    "Client",
    "ClientError",
    "ExchangeAddress",
    "ExchangeTime",
    "Identity",
    "IdentityError",
    "Reads",
    "Receipt",
    "Refused",
    "Retry",
    "Sealed",
    "ServerFault",
    "StatementWithLines",
    "Unavailable",
    "UntrustedAnswer",
    "Watched",
    "WatchedAuction",
    "WatchedBatch",
    "load_exchange",
    "load_identity",
]
