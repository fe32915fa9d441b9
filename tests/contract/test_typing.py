"""What a type checker says about calls of adsum: mistakes in keywords are found before the program runs."""

from __future__ import annotations

import re
from pathlib import Path

from adsum._amendment import UpdateKeywords
from adsum._validation import AsyncMetadataKeywords, MetadataFields, MetadataKeywords
from tests.support import mypy

# A line that ends with `# error: code` is a mistake, and mypy must report exactly these.
PROGRAM = """
import asyncio
import multiprocessing
import subprocess
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

import adsum
from adsum import Entry, MetadataKeywords, UpdateKeywords


@dataclass
class Job:
    number: int


@dataclass
class Named:
    pid: str


class Task(msgspec.Struct):
    number: int


def right(registry: adsum.Registry, names: list[str]) -> None:
    slots = {"slots": 4}
    registration = registry.register(
        "a", type="service", capabilities=names, resources=slots, coordination_variables={"x"}, endpoint=None,
        health_status=adsum.HealthStatus.degraded, node_affinity=["b"], created_at=datetime.now(UTC),
        last_health_check=datetime.now(UTC), custom={"a": [1, None]}, heartbeat=5, timeout=1,
    )
    registration.update(capabilities=("b",), heartbeat=None)
    registry.register("e", description="Plans.", version="1.2", protocols={"mcp"}, doing="plans")
    registry.update("e", merge=True, protocols={"a2a": True, "mcp": None}, doing="waits")
    registry.register("d", custom=Job(1))
    job: Job = registry["d"].custom_as(Job)
    registry.update("d", custom=Task(job.number))
    document: dict[str, object] = registry["d"].to_dict()
    registry.stand_by("b", capabilities=frozenset(names)).result().update_health("healthy")
    registry.find(where=lambda entry: entry.pid > 1, limit=3, capability={"a"}, node="here")
    chosen: Entry | None = registry.choose(by="round_robin", capability="a")
    waited: list[Entry] = registry.wait_for(count=2, capability="a", timeout=1)
    state: Entry = registry.wait_for("a", health_status="healthy", where=lambda entry: True)
    gone: Entry | None = registry.wait_until_gone("a", timeout=1)
    registry.find(
        custom={"model": "x", "stats": {"done": adsum.at_least(1)}},
        resources={"tokens": adsum.between(1, 2.5), "zone": "n", "absent": None},
        any_capability={"a"},
        not_capability="b",
        id_prefix="worker-",
        namespace=adsum.ALL,
        pid=1,
        text="report",
    )
    print(state, gone)
    one: Entry = registry.wait_for("a", 1)
    registry.register("b", heartbeat="thread")
    mine: MetadataKeywords = {"type": "service", "heartbeat": 1.0}
    registry.register("c", **mine)
    changes: UpdateKeywords = {"resources": {"gpu": None}, "capabilities": {"a": True, "b": None}}
    registry.update("c", merge=True, add={"custom.done": 1, "resources.load": 0.5}, if_revision=one.revision, **changes)
    with registry.watch(type="service") as watch:
        for event in watch:
            if event.entry is not None:
                print(event.kind, event.entry.process_id, event.revision, chosen, waited, one)


def right_processes(
    registry: adsum.Registry, popen: subprocess.Popen[bytes], child: multiprocessing.Process, seconds: float
) -> None:
    registry.register("a", popen, heartbeat=seconds)
    registry.register_nowait("a", child, heartbeat=5)
    registry.get_or_register("a", threading.current_thread(), heartbeat=None)
    registry.register("a", 4711, health_status=adsum.HealthStatus.degraded)
    registry.register("a", None, health_status="healthy")
    registry.claim("a", popen)
    registry.register("b").hand_over(child)
    pairs: list[tuple[str, MetadataKeywords]] = [("a", {"type": "service"}), ("b", {"heartbeat": "thread"})]
    registry.register_many(pairs, popen)
    registry.register_many([("a", {"capabilities": ["x"]}), (("other", "node", "b"), {})])
    registry.update_many([("a", {"health_status": "degraded", "heartbeat": None})])
    registry.update_health("a", adsum.HealthStatus.healthy)
    registry.find_by_health("degraded")


def right_modules() -> None:
    adsum.telemetry.attach(print, ["adsum.register"])
    adsum.telemetry.prometheus.Collector
    print(adsum.admin.stop_registrar, adsum.asgi.lifespan, adsum.otel.resource, adsum.web.app)
    try:
        print()
    except adsum.AlreadyRegistered as error:
        print(error.reason)


def wrong_names(registry: adsum.Registry) -> None:
    adsum.opne(3)  # error: attr-defined
    adsum.telemetry.attach(3)  # error: arg-type
    adsum.telemetry.atach(print)  # error: attr-defined
    adsum.admin.foo()  # error: attr-defined
    adsum.web.foo  # error: attr-defined
    try:
        print(registry)
    except adsum.AlreadyRegisterd:  # error: attr-defined
        print()


def wrong_processes(registry: adsum.Registry, registration: adsum.Registration) -> None:
    registry.register("a", "me")  # error: arg-type
    registry.register("a", Named("1"))  # error: arg-type
    registry.register_nowait("a", 1.5)  # error: arg-type
    registry.get_or_register("a", threading.Lock())  # error: arg-type
    registry.register_many([], "me")  # error: arg-type
    registry.claim("a", threading.current_thread())  # error: arg-type
    registration.hand_over(threading.current_thread())  # error: arg-type
    registration.hand_over(None)  # error: arg-type


def wrong_values(registry: adsum.Registry, registration: adsum.Registration) -> None:
    registry.register("a", health_status="helthy")  # error: arg-type
    registry.update("a", health_status="helthy")  # error: arg-type
    registration.update(health_status="helthy")  # error: arg-type
    registry.update_health("a", "helthy")  # error: arg-type
    registration.update_health("helthy")  # error: arg-type
    registry.find(health_status="helthy")  # error: arg-type
    registry.find_by_health("helthy")  # error: arg-type
    registry.register_many([("a", {"capabilites": ["x"]})])  # error: typeddict-unknown-key
    registry.register_many([("a", {"health_status": "helthy"})])  # error: typeddict-item
    registry.update_many([("a", {"helth_status": "healthy"})])  # error: typeddict-unknown-key
    registry.update_many([("a", {"heartbeat": "thread"})])  # error: typeddict-item
    registry.update_many([("a", {"gauges": {"load": 1.0}})])  # error: typeddict-unknown-key


def wrong(registry: adsum.Registry, registration: adsum.Registration) -> None:
    registry.register("a", capabilites={"x"})  # error: call-arg
    registry.register("a", capabilities="x")  # error: arg-type
    registry.register("a", heartbeat="five")  # error: arg-type
    registry.register("a", heartbeat="loop")  # error: arg-type
    registry.update("a", heartbeat="thread")  # error: arg-type
    registry.register("a", custom=3)  # error: arg-type
    registry.register("a", resources=["slots"])  # error: arg-type
    registry.register("a", endpoint=8080)  # error: arg-type
    registry.register("a", created_at="now")  # error: arg-type
    registry.register("a", timeout="soon")  # error: arg-type
    registry.register_nowait("a", capabilites={"x"})  # error: call-arg
    registry.get_or_register("a", custom=3)  # error: arg-type
    registry.stand_by("a", heartbeat="five")  # error: arg-type
    registry.update("a", capabilites={"x"})  # error: call-arg
    registry.update("a", custom=3)  # error: arg-type
    registry.update("a", add={"custom.done": "1"})  # error: dict-item
    registry.update("a", merge=True, capabilities={"x": False})  # error: dict-item
    registry.register("a", capabilities={"x": None})  # error: arg-type
    registry.register("a", resources={"x": None})  # error: dict-item
    registration.update(if_revision="1")  # error: arg-type
    registration.update(capabilites={"x"})  # error: call-arg
    registration.update(heartbeat="five")  # error: arg-type
    registry.find(capabilites="x")  # error: call-arg
    registry.find(capability=3)  # error: arg-type
    registry.find(where="x")  # error: arg-type
    registry.find(custom="x")  # error: arg-type
    registry.find(resources={"tokens": [1]})  # error: dict-item
    registry.find(resources={"tokens": adsum.at_least("x")})  # error: arg-type
    registry.find(any_capabilty="x")  # error: call-arg
    registry.count(pid="1")  # error: arg-type
    registry.wait_for("a", helth_status="healthy")  # error: call-overload
    registry.wait_until_gone(1)  # error: arg-type
    registry.count(health="healthy")  # error: call-arg
    registry.choose(by="fastest")  # error: arg-type
    registry.watch(capabilites="x")  # error: call-arg
    registry.wait_for(capabilites="x")  # error: call-overload
    for event in registry.watch():
        print(event.entry.pid)  # error: union-attr


async def right_async(registry: adsum.AsyncRegistry) -> None:
    registration = await registry.register("a", heartbeat="loop", capabilities={"x"})
    await registration.update(heartbeat=1.0)
    await registration.update(merge=True, capabilities={"x": None}, add={"custom.done": 1}, if_revision=3)
    (await registry.stand_by("b", heartbeat="loop")).entry
    await registry.register("c", heartbeat="thread")
    await registry.register("d", asyncio.current_task(), health_status="degraded")
    child = await asyncio.create_subprocess_exec("true")
    await registry.register_many([("e", {"type": "service"})], child)
    await registry.update_many([("e", {"health_status": adsum.HealthStatus.healthy})])
    await registry.update_health("e", "healthy")
    await registration.hand_over(child)
    async with registry.claim("e", child):
        print()
    one: Entry = await registry.wait_for("a", timeout=1)
    async with registry.watch(capability="x") as watch:
        async for event in watch:
            if event.entry is not None:
                print(event.kind, event.entry.process_id, one)


async def wrong_async(registry: adsum.AsyncRegistry, registration: adsum.AsyncRegistration) -> None:
    await registry.register("a", capabilites={"x"})  # error: call-arg
    await registry.register("a", heartbeat="five")  # error: arg-type
    registry.register_nowait("a", custom=3)  # error: arg-type
    await registry.get_or_register("a", capabilites={"x"})  # error: call-arg
    await registry.stand_by("a", custom=3)  # error: arg-type
    await registry.update("a", capabilites={"x"})  # error: call-arg
    await registry.update("a", heartbeat="loop")  # error: arg-type
    await registration.update(custom=3)  # error: arg-type
    registry.find(capabilites="x")  # error: call-arg
    await registry.wait_for(capabilites="x")  # error: call-overload
    async for event in registry.watch(capabilites="x"):  # error: call-arg
        print(event)
    await registry.register("a", "me")  # error: arg-type
    registry.register_nowait("a", asyncio.Event())  # error: arg-type
    await registry.get_or_register("a", asyncio.get_running_loop().create_future())  # error: arg-type
    await registry.register_many([("a", {"capabilites": ["x"]})])  # error: typeddict-unknown-key
    await registry.update_many([("a", {"helth_status": "healthy"})])  # error: typeddict-unknown-key
    await registry.update("a", health_status="helthy")  # error: arg-type
    await registry.update_health("a", "helthy")  # error: arg-type
    await registration.update_health("helthy")  # error: arg-type
    await registration.hand_over("me")  # error: arg-type
    registry.claim("a", asyncio.current_task())  # error: arg-type


async def main() -> None:
    async with adsum.open_async() as registry:
        await right_async(registry)


asyncio.run(main())
"""


def test_mistakes_are_found_and_nothing_else(tmp_path: Path) -> None:
    """`mypy --strict` reports each mistyped keyword and wrong value of each call, and accepts the documented ways."""
    (tmp_path / "program.py").write_text(PROGRAM)
    found = {(int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]")) for line in mypy(tmp_path)}
    expected = {
        (number, mark[1])
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if (mark := re.search(r"# error: ([a-z-]+)$", line))
    }
    assert found == expected


def test_the_keywords_are_the_fields() -> None:
    """What a type checker knows as keywords of `register` is what `register` accepts."""
    fields = set(MetadataFields.__struct_fields__)
    assert MetadataKeywords.__optional_keys__ == AsyncMetadataKeywords.__optional_keys__ == fields
    # The names of gauges stay as they were registered.
    assert UpdateKeywords.__optional_keys__ == fields - {"gauges"}
    assert not MetadataKeywords.__required_keys__ | AsyncMetadataKeywords.__required_keys__
