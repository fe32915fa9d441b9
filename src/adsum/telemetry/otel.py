"""OpenTelemetry metrics of a registry. Needs the extra: ``pip install 'adsum[otel]'``.

The extra brings OpenTelemetry's API. Metrics go nowhere until the application has an SDK too: ``opentelemetry-sdk``.

    instrumentation = adsum.telemetry.otel.instrument(registry)

`resource` makes the resource of a member, for the spans, metrics and logs of its own program.

Names follow OpenTelemetry's semantic conventions: dots, no units in names, units in UCUM.

=========================  ==========  =========  ==================================================
metric                     instrument  unit       attributes besides ``adsum.registry``
=========================  ==========  =========  ==================================================
adsum.call.duration        histogram   s          adsum.call, adsum.namespace, error.type if failed
adsum.call.rejected        counter     {call}     adsum.call, adsum.namespace, error.type
adsum.call.timeout         counter     {call}     adsum.call, adsum.namespace, error.type
adsum.entry.registered     counter     {entry}    adsum.namespace
adsum.entry.unregistered   counter     {entry}    adsum.namespace
adsum.entry.found          counter     {entry}    adsum.call, adsum.namespace
adsum.entry.died           counter     {entry}    adsum.namespace, adsum.type, adsum.health_status
adsum.death.detection      histogram   s          adsum.namespace
adsum.registrar.started    counter     {start}
adsum.registrar.stopped    counter     {stop}
adsum.entry.count          gauge       {entry}    adsum.namespace, adsum.type, adsum.health_status
adsum.owner.count          gauge       {process}
adsum.memory.usage         gauge       By
adsum.memory.limit         gauge       By
adsum.request.pending      gauge       {request}
adsum.registrar.uptime     gauge       s
adsum.cluster.connected    gauge       1
adsum.cluster.lag          gauge       {change}
adsum.cluster.heard        gauge       s
adsum.cluster.hosts        gauge       {host}
adsum.cluster.unreachable  gauge       {host}
adsum.cluster.entries      gauge       {entry}
adsum.bridge.up            gauge       1
adsum.bridge.writes        gauge       {entry}
=========================  ==========  =========  ==================================================

The gauges concern the whole registry and are read when they are collected. Deaths and registrars are those that this
process sees. All other metrics concern the calls that this process makes. So collect gauges and deaths in one process
of a machine, or expect them from several.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable

from .. import __version__
from .._os.locks import holding
from .._reads import RegistryReads
from ..errors import AdsumError
from . import attach, detach
from ._dispatch import (
    DIED,
    FIND,
    REGISTER,
    REJECTED,
    STARTED,
    STOPPED,
    TIMEOUT,
    UNREGISTER,
    Attributes,
    Measurements,
)
from ._resources import instance_id, resource
from ._state import EDGES, MAX_NAMESPACES, MetricNames, State, state_of

try:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter_provider
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"OpenTelemetry is not installed ({missing}); run: pip install 'adsum[otel]'", name=missing.name
    ) from missing

__all__ = ["Instrumentation", "instance_id", "instrument", "resource"]

_NAMES = {
    "registry": "adsum.registry",
    "namespace": "adsum.namespace",
    "call": "adsum.call",
    "type": "adsum.type",
    "gauge": "adsum.gauge",
    "health_status": "adsum.health_status",
    "reason": "error.type",
}


def instrument(
    registry: RegistryReads, meter_provider: MeterProvider | None = None, *, max_namespaces: int = MAX_NAMESPACES
) -> Instrumentation:
    """Export the metrics of a registry until `Instrumentation.uninstrument`.

    - `registry`: a `Registry` or `AsyncRegistry`. Calls through any object of this process on the same folder count, so
      instrument each folder once.
    - `meter_provider`: the global one by default.
    - `max_namespaces`: the first so many namespaces keep their names as `adsum.namespace`; all others are ``other``.

    Errors: `ValueError` where the folder is instrumented for that provider already; `TypeError` where `registry` is
    none.

    >>> instrumentation = adsum.telemetry.otel.instrument(registry)
    >>> instrumentation.uninstrument()
    """
    if not isinstance(registry, RegistryReads):
        raise TypeError(f"cannot instrument {registry!r}: give a Registry or an AsyncRegistry")
    if meter_provider is None:
        meter_provider = get_meter_provider()
    instrumentation = holding(_lock, _instrument, registry, meter_provider, MetricNames(max_namespaces))
    attach(instrumentation.record)
    return instrumentation


def _instrument(registry: RegistryReads, meter_provider: MeterProvider, names: MetricNames) -> Instrumentation:
    instruments = _instruments.get(meter_provider)
    if instruments is None:
        instruments = _instruments[meter_provider] = _Instruments(meter_provider.get_meter("adsum", __version__))
    if any(one.registry == str(registry.folder) for one in instruments.active):
        raise ValueError(f"{registry.folder} is instrumented already; uninstrument() it first")
    instrumentation = Instrumentation(registry, instruments, names)
    instruments.active = (*instruments.active, instrumentation)
    return instrumentation


class Instrumentation:
    """The exported metrics of one registry. Made by `instrument`. It does not keep the registry open.

    >>> instrumentation = adsum.telemetry.otel.instrument(registry)
    >>> instrumentation.registry == str(registry.folder)
    True
    >>> instrumentation.uninstrument()
    """

    def __init__(self, registry: RegistryReads, instruments: _Instruments, names: MetricNames) -> None:
        self.registry = str(registry.folder)
        self._read = weakref.ref(registry)
        self._instruments = instruments
        self._names = names

    def uninstrument(self) -> None:
        """Stop exporting. Calling it twice is fine.

        >>> instrumentation = adsum.telemetry.otel.instrument(registry)
        >>> instrumentation.uninstrument()
        >>> instrumentation.uninstrument()
        """
        detach(self.record)
        holding(_lock, self._leave)

    def _leave(self) -> None:
        self._instruments.active = tuple(one for one in self._instruments.active if one is not self)

    def state(self) -> State | None:
        """The state of the registry now; None where it is closed or cannot be read.

        >>> registration = registry.register("planner-1")
        >>> instrumentation = adsum.telemetry.otel.instrument(registry)
        >>> instrumentation.state().stats.owners, instrumentation.uninstrument()
        (1, None)
        """
        registry = self._read()
        try:
            return None if registry is None else state_of(registry, self._names)
        except AdsumError:
            # A program that uses the registry gets this error there; a collection has no caller to raise it to.
            return None

    def record(self, event: str, measurements: Measurements, attributes: Attributes) -> None:
        """The handler.

        >>> instrumentation = adsum.telemetry.otel.instrument(registry)
        >>> adsum.telemetry.attach(instrumentation.record)
        >>> instrumentation.uninstrument()
        """
        if attributes["registry"] != self.registry:
            return
        if "namespace" in attributes:
            attributes["namespace"] = self._names.namespaces.name(attributes["namespace"])
        made = self._instruments
        if event != STARTED and "duration" in measurements:
            made.duration.record(measurements["duration"], _only(attributes, "namespace", "call", "reason"))
        if "detection" in measurements:
            made.detection.record(measurements["detection"], _only(attributes, "namespace"))
        if event in made.counters:
            counter, names = made.counters[event]
            counter.add(measurements.get("count", 1), _only(attributes, *names))


class _Instruments:
    """The instruments of one meter provider, shared by its registries: a meter makes each instrument once."""

    def __init__(self, meter: Meter) -> None:
        self.active: tuple[Instrumentation, ...] = ()
        self.duration = meter.create_histogram(
            "adsum.call.duration", "s", "Duration of calls.", explicit_bucket_boundaries_advisory=EDGES
        )
        self.detection = meter.create_histogram(
            "adsum.death.detection",
            "s",
            "From the kernel's word of a death to the end of its entries.",
            explicit_bucket_boundaries_advisory=EDGES,
        )
        self.counters = {
            event: (meter.create_counter(name, unit, description), names)
            for event, name, unit, description, names in _COUNTERS
        }
        for name, unit, description, number in _GAUGES:
            meter.create_observable_gauge(name, [self._observer(number)], unit, description)
        for name, unit, description, field in _CLUSTER_GAUGES:
            meter.create_observable_gauge(name, [self._cluster_observer(field)], unit, description)
        meter.create_observable_gauge("adsum.entry.count", [self._entries], "{entry}", "Living entries.")
        for index, (what, description) in enumerate(_MEMBER_GAUGES):
            meter.create_observable_gauge(f"adsum.gauge.{what}", [self._member_gauges(index)], "1", description)

    def _observer(self, number: Callable[[State], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for one in self.active:
                if (state := one.state()) is not None:
                    yield Observation(number(state), {"adsum.registry": one.registry})

        return observe

    def _cluster_observer(self, field: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for one in self.active:
                if (state := one.state()) is not None and state.cluster is not None:
                    yield Observation(float(getattr(state.cluster, field)), {"adsum.registry": one.registry})

        return observe

    def _member_gauges(self, index: int) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for one in self.active:
                if (state := one.state()) is not None:
                    for group, totals in state.gauges.items():
                        yield Observation(
                            totals[index], _only({"registry": one.registry, **group._asdict()}, *group._fields)
                        )

        return observe

    def _entries(self, _: CallbackOptions) -> Iterable[Observation]:
        for one in self.active:
            if (state := one.state()) is not None:
                for group, number in state.entries.items():
                    kind = {name: str(value) for name, value in group._asdict().items()}
                    yield Observation(number, _only({"registry": one.registry, **kind}, *kind))


def _only(attributes: Attributes, *names: str) -> Attributes:
    return {_NAMES[name]: attributes[name] for name in ("registry", *names) if name in attributes}


_COUNTERS = (
    (REJECTED, "adsum.call.rejected", "{call}", "Calls that were refused.", ("namespace", "call", "reason")),
    (TIMEOUT, "adsum.call.timeout", "{call}", "Calls that ran out of time.", ("namespace", "call", "reason")),
    (REGISTER, "adsum.entry.registered", "{entry}", "Entries that this process registered.", ("namespace",)),
    (UNREGISTER, "adsum.entry.unregistered", "{entry}", "Entries that this process removed.", ("namespace",)),
    (FIND, "adsum.entry.found", "{entry}", "Entries that searches gave.", ("namespace", "call")),
    (DIED, "adsum.entry.died", "{entry}", "Entries whose process died.", ("namespace", "type", "health_status")),
    (STARTED, "adsum.registrar.started", "{start}", "Registrars that this process started.", ()),
    (STOPPED, "adsum.registrar.stopped", "{stop}", "Registrars that this process saw end.", ()),
)
_GAUGES: tuple[tuple[str, str, str, Callable[[State], float]], ...] = (
    ("adsum.owner.count", "{process}", "Processes that own entries.", lambda state: state.stats.owners),
    ("adsum.memory.usage", "By", "Table pages in use.", lambda state: state.stats.bytes_used),
    ("adsum.memory.limit", "By", "Table pages that may be in use.", lambda state: state.stats.bytes_limit),
    ("adsum.request.pending", "{request}", "Requests that wait in the registrar.", lambda state: state.stats.pending),
    ("adsum.registrar.uptime", "s", "Age of the registrar; 0 where none runs.", lambda state: state.stats.uptime),
)

# Each with a field of `ClusterState`; there where the registry is part of a cluster.
_CLUSTER_GAUGES = (
    ("adsum.cluster.connected", "1", "Whether the bridge has heard from the cluster in time.", "connected"),
    ("adsum.cluster.lag", "{change}", "Changes that are not published for certain.", "lag"),
    ("adsum.cluster.heard", "s", "Time since the bridge last heard from the cluster.", "heard_seconds"),
    ("adsum.cluster.hosts", "{host}", "Other hosts that are known here.", "hosts"),
    ("adsum.cluster.unreachable", "{host}", "Other hosts that cannot be reached.", "unreachable_hosts"),
    ("adsum.cluster.entries", "{entry}", "Entries of other hosts.", "entries"),
    ("adsum.bridge.up", "1", "Whether a bridge runs.", "bridge_up"),
    ("adsum.bridge.writes", "{entry}", "Changes that the bridge has written since it started.", "bridge_writes"),
)

# In the order of `GaugeTotals`.
_MEMBER_GAUGES = (
    ("members", "Living members that have a gauge of this name."),
    ("sum", "Sum of the present values of a gauge."),
    ("max", "Largest of the present values of a gauge."),
)

_instruments: weakref.WeakKeyDictionary[MeterProvider, _Instruments] = weakref.WeakKeyDictionary()
_lock = threading.RLock()
