"""A client or a registrar whose system calls fail one at a time, and the library that makes a call fail.

`failing_calls.c` is compiled by the test and preloaded. A trace function tells it which line of adsum a thread
executes.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

import adsum
from adsum import AdsumError

if TYPE_CHECKING:
    from adsum import Registry

CALLS = {
    "open": (errno.EMFILE, errno.ENOMEM, errno.EIO, errno.EDQUOT),
    "socket": (errno.EMFILE, errno.ENOMEM),
    "connect": (errno.EAGAIN, errno.ECONNREFUSED, errno.ENOMEM),
    "send": (errno.EAGAIN, errno.ENOMEM, errno.EPIPE),
    "recv": (errno.EAGAIN, errno.ENOMEM, errno.ECONNRESET),
    "recvmsg": (errno.EAGAIN, errno.ENOMEM, errno.EMFILE),
    "poll": (errno.ENOMEM, errno.EINTR),
    "epoll_create": (errno.EMFILE, errno.ENOMEM),
    "epoll_ctl": (errno.ENOSPC, errno.ENOMEM),
    "epoll_wait": (errno.EINTR,),
    "eventfd": (errno.EMFILE, errno.ENOMEM),
    "read": (errno.EIO, errno.EINTR),
    "write": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "fstat": (errno.ENOMEM,),
    "stat": (errno.ENOMEM, errno.EACCES),
    "lstat": (errno.ENOMEM, errno.EACCES),
    "mkdir": (errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    "flock": (errno.ENOLCK, errno.EAGAIN),
    "mmap": (errno.ENOMEM,),
    "pipe": (errno.EMFILE,),
    "thread": (errno.EAGAIN,),
    "pidfd": (errno.EMFILE, errno.ENOMEM),
    "accept": (errno.EMFILE, errno.ENOMEM, errno.ECONNABORTED),
    "sendmsg": (errno.EAGAIN, errno.ENOMEM, errno.EPIPE),
    "bind": (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM),
    "rename": (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM),
    "unlink": (errno.ENOMEM,),
    "link": (errno.ENOSPC, errno.EDQUOT),
    "fallocate": (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM),
    "ftruncate": (errno.ENOSPC, errno.EFBIG),
    "statvfs": (errno.ENOMEM,),
}
_NAMES = list(CALLS)
_SOURCES = str(Path(adsum.__file__).parent)

Case: TypeAlias = "tuple[str, str, int]"


class Lines:
    """Numbers the lines of adsum that are executed, and names the present one to the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.numbers: dict[str, int] = {}
        self._at = library.failing_calls_at

    def number_of(self, place: str) -> int:
        return self.numbers.setdefault(place, len(self.numbers) + 1)

    def trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(_SOURCES):
            return None
        if event != "return":
            self._name(frame)
        elif frame.f_back is not None and frame.f_back.f_code.co_filename.startswith(_SOURCES):
            self._name(frame.f_back)
        else:
            self._at(0)
        return self.trace

    def _name(self, frame: FrameType) -> None:
        self._at(self.number_of(f"{frame.f_code.co_filename[len(_SOURCES) + 1 :]}:{frame.f_lineno}"))


class Life:
    """A client's life in steps that may be repeated."""

    def __init__(self, kind: type[Registry], folder: str) -> None:
        self.kind = kind
        self.folder = folder
        self.leader = subprocess.Popen(["sleep", "60"])
        self.go_on = threading.Event()
        self.thread = threading.Thread(target=self.go_on.wait, daemon=True)
        self.thread.start()

    def steps(self) -> list[Callable[[], object]]:
        return [
            self.open,
            lambda: self.registry.get_or_register("me", heartbeat=60.0),
            lambda: self.registry.get_or_register("leader", self.leader),
            lambda: (self.registry.lookup("me"), self.registry.lookup("leader")),
            lambda: self.registry.find(),
            lambda: self.registry.stats(),
            self.watch,
            lambda: self.registry.update("me", custom={"updated": True}),
            lambda: self.events.next(10),
            lambda: self.registry.heartbeat("me"),
            lambda: self.registry.register_nowait("later").result(10) if "later" not in self.registry else None,
            self.stand_by,
            lambda: self.registry.get_or_register("thread", self.thread),
            lambda: self.registry.unregister("later"),
        ]

    def run(self) -> tuple[list[str], list[str]]:
        """All steps, a second time where one raises an `AdsumError`; these errors, and the ids that were found."""
        errors = []
        for number, step in enumerate(self.steps()):
            try:
                step()
            except AdsumError as error:
                errors.append(f"{number}: {error!r}")
                step()
        found = sorted(entry.process_id.local_id for entry in self.registry.find())
        self.end()
        return errors, found

    def open(self) -> None:
        self.registry = self.kind(path=self.folder, timeout=10)

    def watch(self) -> None:
        self.events = self.registry.watch()

    def stand_by(self) -> None:
        if self.registry["leader"].pid != os.getpid():
            granted = self.registry.stand_by("leader")
            self.leader.kill()
            granted.result(10)

    def end(self) -> None:
        self.events.close()
        self.registry.close()

    def stop(self) -> None:
        self.go_on.set()
        self.thread.join()
        self.leader.kill()
        self.leader.wait()


class Failure:
    """The failure that `armed` names as JSON, or none (``null``), for as long as it is traced."""

    def __init__(self, library: str, armed: str) -> None:
        self._loaded = ctypes.CDLL(library)
        self._lines = Lines(self._loaded)
        case: Case | None = json.loads(armed)
        if case is not None:
            place, call, code = case
            self._loaded.failing_calls_arm(self._lines.number_of(place), _NAMES.index(call), code)

    def __enter__(self) -> None:
        threading.settrace(self._lines.trace)
        sys.settrace(self._lines.trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def seen(self) -> list[tuple[str, str]]:
        """The calls from each line."""
        return [
            (place, call)
            for place, number in list(self._lines.numbers.items())
            for index, call in enumerate(_NAMES)
            if self._loaded.failing_calls_seen(number, index)
        ]


def live(library: str, folder: str, armed: str) -> None:
    """Live once as a client, with a failure or without one. Prints what happened as JSON: the calls from each line, and
    the steps that raised an `AdsumError`."""
    faulthandler.dump_traceback_later(60, exit=True)
    # Imported now: a module that cannot be read is no affair of adsum's.
    life = Life(adsum.Registry, folder)
    failure = Failure(library, armed)
    with failure:
        errors, found = life.run()
    life.stop()
    print(json.dumps({"seen": failure.seen(), "errors": errors, "found": found}))


def use(folder: str) -> None:
    """Live once as a client, while the registrar may fail."""
    faulthandler.dump_traceback_later(60, exit=True)
    life = Life(adsum.Registry, folder)
    errors, found = life.run()
    life.stop()
    print(json.dumps({"errors": errors, "found": found}))


def serve(library: str, folder: str, armed: str) -> None:
    """Be the registrar, with a failure or without one, until SIGTERM. Prints the calls from each line."""
    import adsum._registrar.start
    import adsum.admin

    failure = Failure(library, armed)
    with failure:
        adsum.admin.serve(Path(folder), adsum.Limits())
    print(json.dumps({"seen": failure.seen()}))
