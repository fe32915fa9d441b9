"""A program in which a library has replaced parts of the standard library before adsum was imported.

It prints one line for each step; `STEPS` are the lines that are right everywhere. ``while`` steps say whether other
threads (or greenlets) went on during a call that waits. This module imports nothing that imports adsum.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adsum import Registry

STEPS = [
    "no registry, others went on True",
    "registered True",
    "found 1",
    "no event, others went on True",
    "event updated",
    "died None",
    "granted True",
    "registrar stopped, others went on True",
    "thread True",
    "thread None",
    "awaited me",
    "closed",
]


def removed() -> None:
    """As gevent does: what cannot let other greenlets run is removed."""
    del select.epoll
    del select.poll


def replaced() -> None:
    """As eventlet does: nothing but a `select.select` of its own is left."""
    removed()
    kernel_select = select.select

    def green_select(*arguments: Any) -> object:
        return kernel_select(*arguments)

    select.select = green_select  # type: ignore[assignment]
    os.read, os.write = _waiting_for_ever(os.read), _waiting_for_ever(os.write)


def _waiting_for_ever(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, which waits where the kernel says EAGAIN, for what never comes."""

    def green_call(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except BlockingIOError:
            threading.Event().wait()

    return green_call


def old_headers() -> None:
    """Not a library: a Python that was compiled with the headers of an old system."""
    del os.pidfd_open
    del signal.pidfd_send_signal


def gevent() -> None:
    importlib.import_module("gevent.monkey").patch_all()


def eventlet() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Its DNS loads dnspython, whose httpcore2 loads trio, which cannot be loaded beside eventlet 0.41.3.
        os.environ["EVENTLET_NO_GREENDNS"] = "yes"
        importlib.import_module("eventlet").monkey_patch()


def run(patch: str, folder: str) -> None:
    """Replace with the function named `patch`, and use a registry in every way that waits."""
    globals()[patch]()
    import adsum

    with adsum.open(path=folder, timeout=10) as registry:
        _wait_for_registry(registry)
        _read_and_follow(registry)
        _succeed(registry)
        _outwait(registry)
        _register_thread(registry)
        print("awaited", registry.wait_for("me", timeout=10).process_id.local_id)
    print("closed")


def serve(patch: str, folder: str) -> None:
    """Replace, and be the registrar."""
    from pathlib import Path

    globals()[patch]()
    import adsum.admin

    adsum.admin.serve(Path(folder), adsum.Limits())


class _Others:
    """Counts how often another thread ran."""

    def __init__(self) -> None:
        self.rounds = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(0.01)
            self.rounds += 1

    def went_on(self, call: Callable[[], object]) -> bool:
        """Whether the other thread ran more than once during a call that times out."""
        import adsum

        before = self.rounds
        try:
            call()
        except adsum.Timeout:
            return self.rounds > before + 1
        raise AssertionError("the call did not time out")


def _after(seconds: float, action: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def _wait_for_registry(registry: Registry) -> None:
    others = _Others()
    print("no registry, others went on", others.went_on(lambda: registry.wait_for("me", timeout=0.3)))


def _read_and_follow(registry: Registry) -> None:
    me = registry.register("me")
    print("registered", registry.lookup("me") == me.entry)
    print("found", len(registry.find()))
    with registry.watch() as watch:
        others = _Others()
        print("no event, others went on", others.went_on(lambda: watch.next(timeout=0.3)))
        _after(0.05, lambda: me.update(custom={"changed": True}))
        print("event", watch.next(timeout=10).kind.value)


def _succeed(registry: Registry) -> None:
    """A death is noticed, and a standby follows."""
    leader = subprocess.Popen(["sleep", "60"])
    registry.register("leader", leader)
    with registry.watch("leader") as watch:
        granted = registry.stand_by("leader")
        _after(0.05, leader.kill)
        print(watch.next(timeout=10).kind.value, registry.lookup("not there"))
    print("granted", granted.result(10).entry.pid == os.getpid())
    leader.wait()


def _outwait(registry: Registry) -> None:
    """A registrar that does not answer costs nothing but the call."""
    others, registrar = _Others(), registry.stats().registrar_pid
    assert registrar is not None
    os.kill(registrar, signal.SIGSTOP)
    try:
        went_on = others.went_on(lambda: registry.update("me", custom={}, timeout=0.3))
    finally:
        os.kill(registrar, signal.SIGCONT)
    print("registrar stopped, others went on", went_on)


def _register_thread(registry: Registry) -> None:
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    registry.register("thread", thread)
    print("thread", "thread" in registry)
    with registry.watch("thread") as watch:
        go_on.set()
        thread.join()
        watch.next(timeout=10)
    print("thread", registry.lookup("thread"))
