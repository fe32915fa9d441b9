"""`Gauges`: the gauges of a registration, as a mapping that can be set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ._client.gauge_writer import GaugeWriter
from ._client.keeper import Holder
from ._gauges import no_gauge, value_of
from ._of_one_process import OfOneProcess
from .model import Entry


class EntryHolder:
    """Has the newest entry of a member. The keeper gives it another where the member is registered anew."""

    __slots__ = ("__weakref__", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry


class Gauges(OfOneProcess, Mapping[str, float]):
    """The gauges of one registration: names with the present values. Setting one is a store into shared memory: it asks
    no other process, and every reader finds the value at once.

    The names are those of ``gauges=`` at the registration, at most 8, and stay. A value is a float64, and is never read
    half written. Setting a gauge makes no event and no revision: for what others should be notified of, use `update`.

    Errors of setting: `InvalidQuery`, a `ValueError`, for a name that the member does not have; `InvalidMetadata`, a
    `ValueError`, for NaN and for what is no number; `NotRegistered` and `Stale` where the registration is over;
    `RegistryClosed`; `RegistrarUnavailable` where the registrar is of an older version.

    >>> registration = registry.register("worker-1", gauges={"load": 0.0, "queue": 12})
    >>> registration.gauges["load"] = 0.7
    >>> registration.gauges["queue"] -= 1
    >>> dict(registry["worker-1"].gauges)
    {'load': 0.7, 'queue': 11.0}
    """

    _instead = "pass dict(gauges) for the values, or the id, and call set_gauge() of a registry there"

    __slots__ = ("_calls", "_holder", "_set")

    def __init__(self, calls: object, holder: Holder, writer: GaugeWriter) -> None:
        # It keeps the client open.
        self._calls = calls
        self._holder = holder
        self._set = writer.set

    def __setitem__(self, name: str, value: float) -> None:
        self._set(self._holder.entry, name, value)

    def __getitem__(self, name: str) -> float:
        value = value_of(self._holder.entry, name)
        if value is None:
            raise KeyError(str(no_gauge(self._holder.entry, name)))
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._holder.entry.metadata.gauges)

    def __len__(self) -> int:
        return len(self._holder.entry.metadata.gauges)

    def __repr__(self) -> str:
        return f"<Gauges {dict(self)}>"
