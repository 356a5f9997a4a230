"""Replays of traces and scenarios: market days as pure data, driven through the services."""
