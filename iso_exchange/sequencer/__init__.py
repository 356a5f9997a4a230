"""The single writer: a deterministic state machine behind a group commit."""
