"""A witness: cosigns checkpoints of logs that only ever grow."""
