"""What is told of a registry to whoever attaches: events, OpenTelemetry, Prometheus, logs."""
