"""The exchange: services, processes, storage and tools around the pure cores."""
