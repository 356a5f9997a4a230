"""The gateway: gRPC server, interceptor, read model of the log, HTTP for metrics and log files."""
