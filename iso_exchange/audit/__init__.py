"""The audit: an evidence bundle of the whole log, and its verification from files alone."""
