"""The auctioneer: closes gates, clears in a worker process, publishes."""
