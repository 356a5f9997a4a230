"""A market day over real processes while the server is killed again and again.

The server (``python -m iso_exchange.server`` with its own PostgreSQL) gets SIGKILL at seeded
random moments and is started again with the same arguments. Participants and meters are SDK
clients, each a task of its own, that send the same bytes until they are answered. In the end
every receipt stands, nothing is done twice, and an auditor finds nothing.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from clearing.types import ServiceClass
from iso_exchange.api.v1 import auction_pb2
from iso_exchange.audit.bundle import BundleKind
from iso_exchange.audit.database import open_for_reading
from iso_exchange.audit.export import export
from iso_exchange.audit.report import Result
from iso_exchange.audit.verify import verify_and_replay
from iso_exchange.client import Client, Receipt, Retry, Unavailable, load_exchange
from iso_exchange.clock import MICROSECONDS
from iso_exchange.commands import (
    Command,
    PublishChipTable,
    RegisterEntitlement,
    RegisterParticipant,
    StepBidTerms,
    SubmitReadings,
)
from iso_exchange.identity.ca import DevelopmentAuthority
from iso_exchange.identity.directory import signing_key, write_identity
from iso_exchange.secrets_file import load_or_create
from iso_exchange.sequencer.state import AuctionState, State
from iso_exchange.server import EXIT_OK
from settlement import invariants
from settlement.ledger import merkle
from settlement.ledger.checkpoint import Checkpoint, open_checkpoint
from settlement.ledger.keys import parse_vkey
from settlement.ledger.tiles import TileReader
from settlement.types import Contract, MeterBatch, Reading
from tests.integration import market_day
from tests.integration.bundles import Batch, read_leaves, read_log
from tests.integration.market_day import AUCTION, CELL, FIRST, GATE, HOUR, HOURS, MORNING, ORIGIN
