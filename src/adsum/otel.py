"""OpenTelemetry: another name of `adsum.telemetry.otel`, which see.

import adsum.otel

provider = TracerProvider(resource=adsum.otel.resource(registration.entry))
"""

from __future__ import annotations

from .telemetry.otel import Instrumentation, instance_id, instrument, resource

__all__ = ["Instrumentation", "instance_id", "instrument", "resource"]
