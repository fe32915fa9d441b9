"""Which member a program's own telemetry comes from: fields of log records, and the OpenTelemetry resource."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import adsum
import adsum.otel
from adsum import Registry, telemetry
from tests.support import Agent, eventually, remove_folder


@pytest.fixture
def output() -> Iterator[tuple[logging.Logger, logging.StreamHandler[io.StringIO]]]:
    """A logger, and a handler that writes the member into each line."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(member_id)s %(incarnation)d %(message)s"))
    logger = logging.getLogger("tests.members")
    logger.addHandler(handler)
    yield logger, handler
    logger.removeHandler(handler)


def test_records_have_the_member(
    either: Registry, output: tuple[logging.Logger, logging.StreamHandler[io.StringIO]]
) -> None:
    """Each record gets the id and the incarnation of the registration, and the message stays."""
    logger, handler = output
    registration = either.register("planner")
    handler.addFilter(telemetry.MemberFilter(registration))
    logger.error("late by %d s", 3)
    assert handler.stream.getvalue() == f"{registration.entry.id} 1 late by 3 s\n"


def test_records_follow_the_registration(
    registry: Registry, output: tuple[logging.Logger, logging.StreamHandler[io.StringIO]]
) -> None:
    """When the folder goes and the member is registered anew, later records have the new incarnation."""
    logger, handler = output
    registry.register("other")
    registration = registry.register("planner")
    handler.addFilter(telemetry.MemberFilter(registration))
    before = registration.entry
    remove_folder(registry.folder)
    eventually(lambda: registration.entry is not before)
    logger.error("back")
    assert handler.stream.getvalue() == f"{before.id} {registration.entry.incarnation} back\n"


def test_a_forked_child_is_no_member(
    registry: Registry, output: tuple[logging.Logger, logging.StreamHandler[io.StringIO]]
) -> None:
    """The records of a forked child have no member: it is another process."""
    logger, handler = output
    handler.addFilter(telemetry.MemberFilter(registry.register("planner")))
    if not (pid := os.fork()):
        logger.error("forked")
        os._exit(0 if handler.stream.getvalue() == " 0 forked\n" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_spans_have_the_resource_of_the_member(registry: Registry) -> None:
    """Spans of a provider with the resource say which member they are of."""
    registration = registry.register("planner-7", version="1.2")
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=adsum.otel.resource(registration.entry, "planner"), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("tests").start_as_current_span("plan"):
        pass
    (span,) = exporter.get_finished_spans()
    provider.shutdown()
    entry = registration.entry
    wanted = {
        "service.name": "planner",
        "service.namespace": "default",
        "service.version": "1.2",
        "service.instance.id": adsum.otel.instance_id(entry),
        "host.name": entry.process_id.node,
        "process.pid": os.getpid(),
        "adsum.id": entry.id,
        "adsum.incarnation": entry.incarnation,
    }
    assert wanted.items() <= dict(span.resource.attributes).items()


def test_the_instance_is_the_same_everywhere(registry: Registry) -> None:
    """Every process derives the same instance id from an entry; updates keep it, and a later registration of the id has
    another one. It is a UUID of version 5."""
    registration = registry.register("planner")
    first = adsum.otel.instance_id(registration.entry)
    with Agent(registry.folder) as other:
        other.do("import adsum.otel")
        assert other.value("adsum.otel.instance_id(registry['planner'])") == first
    registry.update("planner", doing="plans")
    assert adsum.otel.instance_id(registry["planner"]) == first
    registration.unregister()
    assert adsum.otel.instance_id(registry.register("planner").entry) != first
    assert uuid.UUID(first).version == 5


def test_the_environment_names_the_service(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME counts more than the local id, and less than an argument; other attributes are added."""
    entry = registry.register("planner-7").entry
    assert adsum.otel.resource(entry).attributes["service.name"] == "planner-7"
    assert "service.version" not in adsum.otel.resource(entry).attributes
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=a")
    found = adsum.otel.resource(entry).attributes
    assert (found["service.name"], found["team"]) == ("from-environment", "a")
    assert adsum.otel.resource(entry, "argument").attributes["service.name"] == "argument"


def test_without_the_sdk(registry: Registry) -> None:
    """Without OpenTelemetry's SDK, the error names the package to install; metrics need its API alone."""
    code = """
import sys
sys.modules["opentelemetry.sdk"] = None
import adsum, adsum.otel
registry = adsum.open(path=sys.argv[1], timeout=10)
entry = registry.register("a").entry
assert adsum.otel.instance_id(entry)
try:
    adsum.otel.resource(entry)
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, registry.folder], capture_output=True, text=True, timeout=60)
    assert "pip install opentelemetry-sdk" in done.stdout, done.stderr


def test_one_place() -> None:
    """`adsum.otel` is `adsum.telemetry.otel` under a shorter name."""
    assert adsum.otel.instrument is telemetry.otel.instrument
    assert set(adsum.otel.__all__) == set(telemetry.otel.__all__)
