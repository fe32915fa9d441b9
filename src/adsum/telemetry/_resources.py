"""The OpenTelemetry resource of a member: which service its spans, metrics and logs come from, and which instance.

``service.instance.id`` distinguishes the instances of one service. OpenTelemetry's conventions ask for a UUID; one that
can be derived again is of version 5, in the namespace that they name (semantic conventions, "Service"). It is made of
the id, the incarnation and the time of the registration. So every process that finds the member can say which telemetry
is its, and a later holder of the same id is another instance.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from ..model import Entry

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

# The namespace for ``service.instance.id`` in OpenTelemetry's semantic conventions.
_NAMESPACE = uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320")


def instance_id(entry: Entry) -> str:
    """The ``service.instance.id`` of a member, a UUID of version 5: the same in every process that asks, and another
    one for each registration.

    >>> import adsum.otel
    >>> first = registry.register("planner-1").entry
    >>> adsum.otel.instance_id(first) == adsum.otel.instance_id(registry["planner-1"])
    True
    """
    return str(uuid.uuid5(_NAMESPACE, f"{entry.id}/{entry.incarnation}/{entry.registered_at.isoformat()}"))


def resource(entry: Entry, service_name: str | None = None) -> Resource:
    """The OpenTelemetry resource of a member, for the providers of its process: ``TracerProvider(resource=...)``.

    - `entry`: that of a registration, ``registration.entry``.
    - `service_name`: what several instances have in common, such as ``"planner"``; by default ``OTEL_SERVICE_NAME``,
      else the local id.

    It has ``service.name``, ``service.namespace``, ``service.instance.id`` (`instance_id`), ``service.version`` where
    the member states one, ``host.name`` (the node), ``process.pid``, ``adsum.id``, ``adsum.incarnation``, and what
    ``OTEL_RESOURCE_ATTRIBUTES`` adds. Needs OpenTelemetry's SDK: ``pip install opentelemetry-sdk``.

    >>> import adsum.otel
    >>> registration = registry.register("planner-1", version="1.2")
    >>> attributes = adsum.otel.resource(registration.entry, "planner").attributes
    >>> attributes["service.name"], attributes["service.version"], attributes["adsum.incarnation"]
    ('planner', '1.2', 1)
    """
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"a resource needs OpenTelemetry's SDK ({missing}); run: pip install opentelemetry-sdk", name=missing.name
        ) from missing
    namespace, node, local_id = entry.process_id
    attributes: dict[str, str | int] = {
        "service.name": local_id,
        "service.namespace": namespace,
        "service.instance.id": instance_id(entry),
        "host.name": node,
        "process.pid": entry.pid,
        "adsum.id": entry.id,
        "adsum.incarnation": entry.incarnation,
    }
    if entry.metadata.version:
        attributes["service.version"] = entry.metadata.version
    # What the user says in the environment counts more than what is derived, and less than an argument.
    known = Resource.create(attributes).merge(OTELResourceDetector().detect())
    return known if service_name is None else known.merge(Resource({"service.name": service_name}))
