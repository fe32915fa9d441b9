"""Telemetry of a registry: events for attached handlers, OpenTelemetry, Prometheus and logs."""
