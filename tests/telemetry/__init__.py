"""Telemetry of a registry: handlers of events, OpenTelemetry, Prometheus, logs."""
