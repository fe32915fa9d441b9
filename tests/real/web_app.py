"""A WSGI application whose workers are members of a registry, for test_greenlets. It imports no test of adsum."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import adsum

registry = adsum.open(path=os.environ["WEB_APP_REGISTRY"], timeout=10)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """``/join`` registers the worker, ``/update`` writes, ``/members`` reads, ``/slow`` waits for an event."""
    path, name = environ["PATH_INFO"], f"worker-{os.getpid()}"
    if path == "/join":
        registry.get_or_register(name, capabilities={"web"})
    elif path == "/update":
        registry.update(name, custom={"requests": 1}, timeout=10)
    elif path == "/slow":
        with registry.watch("event") as watch:
            watch.next(timeout=10)
    members = ",".join(entry.process_id.local_id for entry in registry.find(capability="web"))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(members)))])
    return [members.encode()]
