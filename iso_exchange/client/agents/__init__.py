"""Reference agents: what a newcomer starts from, and what the replays use."""
