"""Settlement core: metering, double entry and the public log, as pure functions."""
