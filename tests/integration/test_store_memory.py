from __future__ import annotations

import pytest

from settlement.storage.memory import MemoryStore
from settlement.storage.store import LedgerStore
from tests.integration.store_suite import StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> LedgerStore:
        return MemoryStore()
