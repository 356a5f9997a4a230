"""One thin file per gRPC service: authenticate, convert, call, convert."""
