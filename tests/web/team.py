"""A team as one might run, for the pages to show: processes that sleep, and entries that say what they would do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adsum import Registry


def sleeping() -> subprocess.Popen[bytes]:
    """A process that does nothing for a while."""
    return subprocess.Popen(["sleep", "3600"])


_MODELS = ("small", "large", "small", "medium")

# id, and its metadata.
TEAM: list[tuple[str, dict[str, Any]]] = [
    (
        "coordinator",
        {
            "type": "coordinator",
            "capabilities": {"planning", "delegation", "reporting"},
            "description": "Splits a question into tasks, hands them out, and writes the answer.",
            "doing": "waiting for 4 of 12 sections",
            "version": "3.2.0",
            "protocols": {"a2a", "http"},
            "endpoint": "http://127.0.0.1:9001",
            "custom": {"model": "large", "budget": {"tokens": 180_000, "used": 96_412}},
            "resources": {"tokens": 83588},
        },
    ),
    (
        "planner-1",
        {
            "capabilities": {"planning"},
            "doing": "breaking down: migrate billing to events",
            "version": "1.8.1",
            "custom": {"model": "large"},
            "resources": {"tokens": 21000},
        },
    ),
    *(
        (
            f"coder-{n}",
            {
                "capabilities": {"coding", "python"} | ({"rust"} if n % 2 else {"typescript", "review"}),
                "doing": doing,
                "version": "2.4.0",
                "health_status": health,
                "custom": {"model": _MODELS[n % 4]},
                "resources": {"tokens": 3000 * n},
                "gauges": {"load": load},
                "slots": 2,
            },
        )
        for n, (doing, health, load) in enumerate(
            [
                ("writing tests for the ledger", "healthy", 0.72),
                ("running the suite, 212 of 480", "healthy", 0.94),
                ("reading src/payments", "healthy", 0.31),
                ("waiting for a review", "healthy", 0.05),
                ("third attempt at a failing merge", "degraded", 0.88),
                ("", "healthy", 0.0),
            ],
            1,
        )
    ),
    *(
        (
            f"reviewer-{n}",
            {
                "capabilities": {"review", "python"},
                "doing": doing,
                "version": "2.4.0",
                "custom": {"model": "medium"},
                "gauges": {"load": load},
            },
        )
        for n, (doing, load) in enumerate([("reviewing #1841", 0.4), ("reviewing #1836", 0.61), ("", 0.0)], 1)
    ),
    *(
        (
            f"searcher-{n}",
            {
                "capabilities": {"search", "summaries"},
                "doing": doing,
                "version": "0.9.3",
                "protocols": {"mcp"},
                "endpoint": f"http://127.0.0.1:{9100 + n}/mcp",
                "gauges": {"load": 0.2 * n},
            },
        )
        for n, doing in enumerate(["indexing the design records", "summing up 14 threads", ""], 1)
    ),
    (
        "browser",
        {
            "capabilities": {"browsing", "screenshots"},
            "doing": "page does not answer, 4th try",
            "health_status": "unhealthy",
            "version": "1.1.0",
        },
    ),
    (
        "gpu-0",
        {
            "type": "resource_manager",
            "capabilities": {"gpu", "embeddings"},
            "description": "One accelerator with 24 GiB; claim it before use.",
            "slots": 4,
            "resources": {"memory_gib": 24},
            "gauges": {"load": 0.55},
        },
    ),
    (
        "store",
        {
            "type": "service",
            "capabilities": {"storage"},
            "description": "Keeps the sections of the answer.",
            "version": "5.0.2",
            "protocols": {"grpc"},
            "endpoint": "unix:/run/agents/store.sock",
        },
    ),
    ("notifier", {"type": "service", "capabilities": {"messages"}, "description": "Sends what people wait for."}),
]
EVALUATION: list[tuple[str, dict[str, Any]]] = [
    (f"judge-{n}", {"capabilities": {"evaluation"}, "doing": f"scoring run 57, case {31 * n}", "version": "0.4.0"})
    for n in range(1, 4)
]


@contextmanager
def running(registry: Registry) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The team, registered, by id; its processes are ended after it."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for local_id, metadata in TEAM:
            processes[local_id] = sleeping()
            registry.register(local_id, processes[local_id], **metadata)
        for local_id, metadata in EVALUATION:
            processes[local_id] = sleeping()
            registry.register(("evaluation", registry.node, local_id), processes[local_id], **metadata)
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
