"""Attaching and detaching: which handlers are notified, what a bad handler causes, and what is left behind."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import adsum
from adsum import AsyncRegistry, Registry, telemetry
from adsum._instrument import instrument
from adsum.telemetry import EVENTS, Attributes, Measurements
from tests.support import Child, eventually

from .event_log import EventLog

CALLS = {"lookup", "find", "register", "update", "unregister", "heartbeat", "claim", "release"}
CLASSES = [*Registry.__mro__, *AsyncRegistry.__mro__]


def test_the_events_are_these() -> None:
    """The names of the events are part of the interface."""
    assert EVENTS == (
        "adsum.register",
        "adsum.lookup",
        "adsum.find",
        "adsum.update",
        "adsum.unregister",
        "adsum.claim",
        "adsum.release",
        "adsum.died",
        "adsum.rejected",
        "adsum.timeout",
        "adsum.registrar.started",
        "adsum.registrar.stopped",
    )


def test_only_the_events_that_are_wanted(registry: Registry) -> None:
    """A handler is called for the events that it was attached to, one name or several, and for no others."""
    several, one = EventLog(), EventLog()
    telemetry.attach(several, ["adsum.lookup", "adsum.find"])
    telemetry.attach(one, "adsum.find")
    registry.register("a")
    registry.lookup("a")
    registry.find()
    assert several.events == ["adsum.lookup", "adsum.find"]
    assert one.events == ["adsum.find"]


def test_attached_twice_is_told_once(registry: Registry) -> None:
    """Attaching a handler again changes its set of events; it is called once for each event."""
    log = EventLog()
    telemetry.attach(log, ["adsum.find"])
    telemetry.attach(log, ["adsum.lookup"])
    registry.find()
    registry.lookup("a")
    assert log.events == ["adsum.lookup"]


def test_a_bound_method_is_the_same_handler_each_time(registry: Registry) -> None:
    """A bound method can be detached by accessing it on its object again."""
    log = EventLog()
    telemetry.attach(log.__call__)
    telemetry.attach(log.__call__)
    registry.lookup("a")
    telemetry.detach(log.__call__)
    registry.lookup("a")
    assert log.events == ["adsum.lookup"]


def test_detaching_who_is_not_attached_is_fine() -> None:
    """Detaching a handler that is not attached is no error."""
    telemetry.detach(EventLog())


def test_unknown_events_are_refused() -> None:
    """An unknown event name raises an error that lists the known names, and attaches nothing."""
    log = EventLog()
    with pytest.raises(
        ValueError, match=r"no such event: adsum\.regster; .*adsum\.register, .*adsum\.registrar\.stopped"
    ):
        telemetry.attach(log, ["adsum.find", "adsum.regster"])
    assert _listening() == set()
    with pytest.raises(TypeError, match="callable"):
        telemetry.attach("adsum.find")  # type: ignore[arg-type]


POINTS = {
    "lookup",
    "find",
    "register",
    "update",
    "unregister",
    "heartbeat",
    "claim",
    "release",
    "wait_timed_out",
    "client_opened",
    "registrar_started",
}


def _listening() -> set[str]:
    """The instrument points that have a listener."""
    return {point for point in POINTS if getattr(instrument, point) is not None}


def test_the_instrument_points_are_these() -> None:
    """Each instrument point is None until a handler needs it."""
    assert set(instrument.__slots__) == POINTS
    assert _listening() == set()


def test_attaching_fills_the_points_and_detaching_empties_them(registry: Registry) -> None:
    """A handler of all events listens at all points; without a handler there is no listener, and no event."""
    log = EventLog()
    telemetry.attach(log)
    assert _listening() == POINTS
    telemetry.detach(log)
    assert _listening() == set()
    registry.lookup("a")
    assert log.of("adsum.lookup") == []


@pytest.mark.parametrize(
    ("event", "points"),
    [
        ("adsum.register", {"register"}),
        ("adsum.lookup", {"lookup"}),
        ("adsum.find", {"find"}),
        ("adsum.update", {"update"}),
        ("adsum.unregister", {"unregister"}),
        ("adsum.claim", {"claim"}),
        ("adsum.release", {"release"}),
        ("adsum.died", {"client_opened"}),
        ("adsum.rejected", CALLS),
        ("adsum.timeout", CALLS | {"wait_timed_out"}),
        ("adsum.registrar.started", {"client_opened", "registrar_started"}),
        ("adsum.registrar.stopped", {"client_opened"}),
    ],
)
def test_a_handler_listens_only_where_it_has_to(event: str, points: set[str]) -> None:
    """A handler listens only at the points that its events need: one for registrations costs lookups nothing."""
    telemetry.attach(EventLog(), event)
    assert _listening() == points


def test_attaching_changes_no_class() -> None:
    """The classes of a registry do not change when a handler is attached or detached."""
    before = [dict(vars(kind)) for kind in CLASSES]
    log = EventLog()
    telemetry.attach(log)
    assert [dict(vars(kind)) for kind in CLASSES] == before
    telemetry.detach(log)
    assert [dict(vars(kind)) for kind in CLASSES] == before


def test_a_patch_from_before_attaching_stays(registry: Registry) -> None:
    """A method that a program has replaced, for example with a mock, stays replaced when handlers come and go."""
    log = EventLog()
    with mock.patch.object(Registry, "lookup", return_value=None) as patched:
        telemetry.attach(log)
        registry.lookup("a")
        telemetry.detach(log)
        registry.lookup("b")
        assert patched.call_count == 2
    assert registry.lookup("a") is None
    assert log.events == []


def test_a_patch_from_between_attaching_and_detaching_stays(registry: Registry) -> None:
    """Detaching restores nothing that a program replaced meanwhile, and the patch can be undone afterwards."""
    log = EventLog()
    original = Registry.lookup
    telemetry.attach(log)
    with mock.patch.object(Registry, "lookup", autospec=True, side_effect=original) as patched:
        registry.lookup("a")
        telemetry.detach(log)
        registry.lookup("b")
        assert patched.call_count == 2
    assert Registry.lookup is original
    assert log.events == ["adsum.lookup"]


def test_a_method_taken_before_attaching_is_observed(registry: Registry) -> None:
    """A bound method is observed even if the program obtained it before a handler was attached."""
    look = registry.lookup
    log = EventLog()
    telemetry.attach(log)
    look("a")
    telemetry.detach(log)
    look("a")
    assert log.events == ["adsum.lookup"]


def test_an_observed_read_raises_what_the_plain_one_raises(registry: Registry) -> None:
    """Invalid ids and conditions raise the same error with and without a handler."""
    bad: list[Any] = ["", "a\0b", (1, 2, 3), ("ns", "n"), ([], "n", "a"), 5, None]
    plain = [_error(registry, id) for id in bad]
    telemetry.attach(EventLog(), ["adsum.lookup", "adsum.find"])
    assert [_error(registry, id) for id in bad] == plain


def _error(registry: Registry, id: Any) -> tuple[type[BaseException], str]:
    with pytest.raises(adsum.InvalidProcessId) as caught:
        registry.lookup(id)
    return type(caught.value), str(caught.value)


def test_a_handler_that_raises_is_detached_and_logged(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """If a handler raises, the call still returns, other handlers are called, and the log has traceback and fields."""

    def broken(event: str, measurements: Measurements, attributes: Attributes) -> None:
        told.append(event)
        raise LookupError("broken handler")

    told: list[str] = []
    telemetry.attach(broken)
    log = EventLog()
    telemetry.attach(log, ["adsum.register", "adsum.lookup"])
    registry.register("a")
    assert registry.lookup("a") is not None
    assert registry.lookup("a") is not None
    assert set(log.events) == {"adsum.register", "adsum.lookup"}
    eventually(lambda: len(caplog.records) == 1)
    (record,) = caplog.records
    assert record.name == "adsum.telemetry"
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert vars(record)["event"] == told[0]
    assert "broken" in vars(record)["handler"]
    assert len(told) == 1


def test_what_awaited_calls_tell_cannot_end_the_registrys_thread(registry: Registry) -> None:
    """A handler that raises even `SystemExit` in a thread of adsum is only detached."""

    def leaves(event: str, measurements: Measurements, attributes: Attributes) -> None:
        sys.exit("leaving")

    telemetry.attach(leaves, ["adsum.register"])
    registry.register_nowait("a").result(10)
    telemetry.attach(leaves, ["adsum.rejected"])
    with pytest.raises(adsum.AlreadyRegistered):
        registry.register_nowait("a").result(10)
    assert registry.register_nowait("b").result(10).process_id.local_id == "b"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(registry: Registry, interrupt: type[BaseException]) -> None:
    """Ctrl-C inside a handler reaches the caller, and the handler stays attached."""

    def interrupted(event: str, measurements: Measurements, attributes: Attributes) -> None:
        told.append(event)
        raise interrupt

    told: list[str] = []
    telemetry.attach(interrupted, ["adsum.lookup"])
    for _ in range(2):
        with pytest.raises(interrupt):
            registry.lookup("a")
    assert told == ["adsum.lookup"] * 2


def test_handlers_have_what_they_are_given_to_themselves(registry: Registry) -> None:
    """A handler that changes its arguments does not affect the next handler."""

    def vandal(event: str, measurements: Measurements, attributes: Attributes) -> None:
        measurements.clear()
        attributes.clear()

    log = EventLog()
    telemetry.attach(vandal)
    telemetry.attach(log, ["adsum.lookup"])
    registry.lookup("a")
    assert log.one("adsum.lookup", result="absent").measurements["duration"] > 0


def test_what_a_handler_asks_is_not_told(registry: Registry) -> None:
    """A read that a handler makes emits no event, so there is no endless recursion."""

    def curious(event: str, measurements: Measurements, attributes: Attributes) -> None:
        told.append(event)
        registry.lookup("a")

    told: list[str] = []
    telemetry.attach(curious, ["adsum.lookup"])
    registry.lookup("a")
    assert told == ["adsum.lookup"]


def test_a_handler_may_detach_itself(registry: Registry) -> None:
    """A handler can detach itself, with effect from the next event on."""

    def once(event: str, measurements: Measurements, attributes: Attributes) -> None:
        told.append(event)
        telemetry.detach(once)

    told: list[str] = []
    telemetry.attach(once, ["adsum.lookup"])
    registry.lookup("a")
    registry.lookup("a")
    assert told == ["adsum.lookup"]


def test_attaching_while_others_call(registry: Registry) -> None:
    """Threads that attach and detach do not disturb threads that call; at the end no point has a listener."""
    over = threading.Event()
    wrong: list[BaseException] = []

    def guarded(work: threading.Thread | None = None) -> None:
        try:
            while not over.is_set():
                entry = registry.lookup("a")
                assert entry is not None
                assert registry.count() == 1
        except BaseException as error:  # noqa: BLE001 - passed on to the test
            wrong.append(error)

    def attach() -> None:
        try:
            for _ in range(200):
                log = EventLog()
                telemetry.attach(log, [event for event in EVENTS if "registrar" not in event and event != "adsum.died"])
                telemetry.detach(log)
        except BaseException as error:  # noqa: BLE001 - passed on to the test
            wrong.append(error)

    registry.register("a")
    readers = [threading.Thread(target=guarded) for _ in range(2)]
    writers = [threading.Thread(target=attach) for _ in range(3)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    for thread in readers:
        thread.join()
    assert wrong == []
    assert _listening() == set()


def _loaded_after(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    )


def test_who_does_not_ask_for_it_does_not_import_it(registry_folder: Path) -> None:
    """A program that opens, registers and looks up imports neither telemetry nor the libraries of its extras."""
    loaded = _loaded_after(
        f"import adsum\nwith adsum.open(path={str(registry_folder)!r}, timeout=10) as r: r.register('a'); r['a']"
    )
    assert not {name for name in loaded if name.startswith(("adsum.telemetry", "opentelemetry", "prometheus_client"))}


def test_importing_it_imports_no_extra() -> None:
    """``import adsum`` makes `adsum.telemetry` available without importing OpenTelemetry, Prometheus or asyncio."""
    loaded = _loaded_after("import adsum; adsum.telemetry.attach")
    assert "adsum.telemetry" in loaded
    assert not {name for name in loaded if name.startswith(("opentelemetry", "prometheus_client", "asyncio"))}


def _quiet(folder: str) -> None:
    def broken(event: str, measurements: Measurements, attributes: Attributes) -> None:
        raise LookupError

    telemetry.attach(broken, ["adsum.lookup"])
    with adsum.open(path=folder, timeout=10) as registry:
        registry.lookup("a")


def test_logs_are_quiet_by_default(registry_folder: Path) -> None:
    """Without logging set up, a program prints no log output of adsum, not even an error."""
    with Child(_quiet, registry_folder) as child:
        assert child.process.communicate(timeout=30) == (b"", b"")


def test_events_as_log_records(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """`telemetry.log` turns events into log records with measurements and attributes as fields; reads are DEBUG."""
    telemetry.attach(telemetry.log, ["adsum.register", "adsum.lookup", "adsum.rejected"])
    with caplog.at_level(logging.DEBUG, "adsum"):
        registry.register("a")
        registry.lookup("a")
        with pytest.raises(adsum.AlreadyRegistered):
            registry.register("a")
    register, lookup, rejected = caplog.records
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.DEBUG, logging.WARNING]
    assert {record.name for record in caplog.records} == {"adsum.telemetry"}
    assert register.getMessage().startswith("adsum.register registry=")
    fields = vars(register)
    assert fields["event"] == "adsum.register"
    assert fields["count"] == 1
    assert fields["namespace"] == "default"
    assert vars(lookup)["result"] == "found"
    assert vars(rejected)["reason"] == "already_registered"
