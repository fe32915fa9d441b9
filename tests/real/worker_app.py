"""A WSGI application whose workers register themselves, once in each process that serves it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import adsum

registry = adsum.open(path=os.environ["ADSUM_TEST_FOLDER"], timeout=10)
_registered: set[int] = set()


def register() -> None:
    """Register the process that calls this. A worker that was forked after the import has a pid of its own."""
    if os.getpid() not in _registered:
        _registered.add(os.getpid())
        registry.register(f"worker-{os.getpid()}", capabilities={"work"})


def application(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    register()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
