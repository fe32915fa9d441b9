"""Instrument points: where this process reports what its registries do. The idea is trio's `Instrument`.

A point is an attribute of `instrument`: None while no handler listens, else a function. The code in the path checks it
in the open:

    if instrument.lookup is not None:
        return self._observed_lookup(id)

So a point without a listener costs two loads and a comparison; `benchmarks/telemetry.py` measures what that is of a
lookup. A listener assigns its function to a point, and None to end; `adsum.telemetry` is the only one.

==================  ================================================  ==============================================
point               called                                            in which thread
==================  ================================================  ==============================================
lookup, find        when a read begins; `Observer` when it ends       the caller's
register, update,   when a write begins, before its arguments are     the caller's; `Observer` in the pipeline's where
unregister,         checked; `Observer` when it ends                  the caller does not wait in its own thread
heartbeat, claim,
release
wait_timed_out      when a wait for a state has timed out             the caller's
client_opened       when a registry was opened                        the caller's
registrar_started   when a registrar that this process started        the caller's, or the pipeline's
                    serves
==================  ================================================  ==============================================

A function at a point must not block: a lookup takes a microsecond, and the pipeline's thread serves all other calls of
its registry. What it raises goes to the caller, so it raises nothing but interrupts, and nothing at all where
`background` is true.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

from .errors import AdsumError


class Observer(Protocol):
    """Follows one call from its beginning to its end. One of its methods is called, once. None is called where the call
    was cancelled or interrupted, or fails with an error that is not adsum's.

    `background`: the caller does not wait in this thread.
    """

    def succeeded(self, entries: int, *, changed: bool = False, background: bool = False) -> None:
        """The call returns, with so many entries; `changed`: the registry did."""

    def failed(self, error: AdsumError, *, background: bool = False) -> None:
        """The call raises `error`."""


class CallPoint(Protocol):
    """A call begins: the name of the call, the registry's folder, the id as the caller gave it (any object; None where
    the call has none) and the namespace that is meant where the id names no other."""

    def __call__(self, call: str, folder: Path, id: object, namespace: str) -> Observer: ...


class Observation:
    """A context manager around a call, or around the part of it that runs in its caller's thread.

    It reports an error of adsum's to `observer`, which is None where no handler listens.
    """

    __slots__ = ("observer",)

    def __init__(self, begin: CallPoint | None, call: str, folder: Path, id: object, namespace: str) -> None:
        self.observer = None if begin is None else begin(call, folder, id, namespace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self.observer is not None and isinstance(error, AdsumError):
            self.observer.failed(error)

    def succeeded(self, entries: int) -> None:
        """A read gives so many entries."""
        if self.observer is not None:
            self.observer.succeeded(entries)


class TimeoutPoint(Protocol):
    """The call, `wait_for` or `wait_until_gone`, raises `error` after `seconds`."""

    def __call__(self, call: str, folder: Path, namespace: str, seconds: float, error: AdsumError) -> None: ...


class ClientPoint(Protocol):
    """There is a new `Client`; which, says `_client.client.clients`."""

    def __call__(self) -> None: ...


class StartPoint(Protocol):
    """This process has started a registrar for `folder`, which took `seconds`."""

    def __call__(self, folder: Path, seconds: float) -> None: ...


class Instrument:
    """The points. Slots, because those are the quickest attributes to load."""

    __slots__ = (
        "claim",
        "client_opened",
        "find",
        "heartbeat",
        "lookup",
        "register",
        "registrar_started",
        "release",
        "unregister",
        "update",
        "wait_timed_out",
    )

    def __init__(self) -> None:
        self.lookup: CallPoint | None = None
        self.find: CallPoint | None = None
        self.register: CallPoint | None = None
        self.update: CallPoint | None = None
        self.unregister: CallPoint | None = None
        self.heartbeat: CallPoint | None = None
        self.claim: CallPoint | None = None
        self.release: CallPoint | None = None
        self.wait_timed_out: TimeoutPoint | None = None
        self.client_opened: ClientPoint | None = None
        self.registrar_started: StartPoint | None = None


instrument = Instrument()
