"""The ledger in PostgreSQL: embedded server, pool, migrations and the adapter."""
