"""Where the ledger is kept: one Protocol, a memory adapter here, PostgreSQL in the shell."""
