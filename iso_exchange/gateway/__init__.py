"""The gateway: gRPC server, interceptors, read model of the log, metrics and log files over HTTP."""
