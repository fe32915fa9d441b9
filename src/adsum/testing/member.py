"""Members that a test starts: real processes under a name, which it kills, stops, and freezes."""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Unpack, cast

from .._validation import MetadataKeywords, parse_metadata
from ..admin import complete_id
from ..model import Entry, ProcessId
from ..registry import Registry
from .program import HeldProgram, Watcher, popen

# An interpreter that imports adsum, and registers, on a very busy machine.
START_SECONDS = 60.0
END_SECONDS = 10.0
# Where adsum is, for a process that would not find it there (a `pythonpath` in the configuration of pytest).
_PACKAGES = Path(__file__).resolve().parents[2]
# The keywords of `Registry.register` that are no metadata.
_OF_THE_CALL = ("replace", "owned_by", "everywhere", "timeout")
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from adsum.testing.member_program import main; main()"


class RegisterKeywords(MetadataKeywords, total=False):
    """The keywords of `Registry.register`."""

    replace: bool
    owned_by: str | ProcessId | Entry | None
    everywhere: bool
    timeout: float | None


class Member:
    """A process that is registered under a name. The fixture `adsum_member` makes it.

    - `id`: its `ProcessId`.
    - `process`: the `subprocess.Popen`; `pid` is short for its pid.
    - `registered`: its `Entry` at the registration.

    >>> worker = adsum_member("worker-1", capabilities={"counting"})
    >>> worker.id.local_id, worker.pid == worker.process.pid == worker.registered.pid
    ('worker-1', True)
    """

    def __init__(
        self, registry: Registry, process: subprocess.Popen[bytes], registered: Entry, watcher: Watcher | None = None
    ) -> None:
        self._registry = registry
        # Which is to watch the process before it is frozen; None where it is watched.
        self._watcher = watcher
        self.process = process
        self.registered = registered
        self.id: ProcessId = registered.process_id

    @property
    def pid(self) -> int:
        """The pid of its process.

        >>> worker = adsum_member("worker-1")
        >>> worker.pid == adsum_registry["worker-1"].pid
        True
        """
        return self.process.pid

    @property
    def entry(self) -> Entry | None:
        """Its present entry; None once it has ended, also where another member has its name now.

        >>> worker = adsum_member("worker-1")
        >>> worker.entry == worker.registered, worker.kill(), worker.entry
        (True, None, None)
        """
        entry = self._registry.lookup(self.id)
        return entry if entry is not None and entry.incarnation == self.registered.incarnation else None

    @property
    def is_alive(self) -> bool:
        """Whether the process has not exited. A frozen one has not.

        >>> worker = adsum_member("worker-1")
        >>> worker.is_alive, worker.kill(), worker.is_alive
        (True, None, False)
        """
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL), and wait for its end. It is not found from then on.

        >>> worker = adsum_member("worker-1")
        >>> worker.kill()
        >>> "worker-1" in adsum_registry
        False
        """
        self.process.kill()
        self._wait()

    def stop(self) -> int:
        """Ask it to end (SIGTERM), and wait for that. Returns its exit code. The process of a member without a
        `command` unregisters, and exits with 0. One that is frozen is thawed.

        Errors: `AssertionError` where it has not ended within 10 s; then it is killed.

        >>> worker = adsum_member("worker-1")
        >>> worker.stop()
        0
        """
        self.process.terminate()
        self.thaw()
        try:
            return self._wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"{self.id} (pid {self.pid}) did not end on SIGTERM within {END_SECONDS:g} s, and was killed; does its "
                "program handle SIGTERM? Then use kill()"
            ) from None

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP), and wait until it has stopped: it is alive and found, gives no heartbeat, and
        answers nothing.

        >>> worker = adsum_member("worker-1")
        >>> worker.freeze()
        >>> worker.is_alive, "worker-1" in adsum_registry
        (True, True)
        """
        if self._watcher is not None and self.process.poll() is None:
            # Frozen, it cannot see the end of this process.
            self._watcher.watch(self.pid)
            self._watcher = None
        self.process.send_signal(signal.SIGSTOP)
        # `send_signal` reaps a process that has ended, and sends nothing.
        ended = self.process.returncode is not None
        if not ended:
            state = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            ended = state is None or state.si_code != os.CLD_STOPPED
        if ended:
            raise AssertionError(f"{self.id} (pid {self.pid}) cannot be frozen: it has ended")

    def thaw(self) -> None:
        """Let it go on (SIGCONT).

        >>> worker = adsum_member("worker-1")
        >>> worker.freeze()
        >>> worker.thaw()
        >>> worker.stop()
        0
        """
        self.process.send_signal(signal.SIGCONT)

    def _wait(self) -> int:
        return self.process.wait(END_SECONDS)

    def close(self) -> None:
        """Kill it unless it has ended, and close what was needed to talk to it.

        >>> worker = adsum_member("worker-1")
        >>> worker.close()
        >>> worker.is_alive
        False
        """
        _end(self.process)

    def __repr__(self) -> str:
        return f"<Member {self.id}, pid {self.pid}, {'alive' if self.is_alive else 'ended'}>"


class MemberFactory:
    """The fixture `adsum_member`. Call it with an id and the metadata of a member.

    >>> worker = adsum_member("worker-1")
    >>> worker.is_alive
    True
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._started: list[Member] = []
        self._watcher = Watcher()

    def __call__(
        self,
        id: str | ProcessId = "member-1",
        *,
        command: Sequence[str] | None = None,
        **keywords: Unpack[RegisterKeywords],
    ) -> Member:
        """Start a process that registers itself under `id`, with the keywords of `Registry.register`, and wait until it
        is found.

        With a `command`, that program is registered and then started, as ``adsum run`` does it; where it cannot be
        registered, it never runs. Otherwise it is a Python process that does nothing but be a member. Errors: those of
        `Registry.register`; `OSError` where the program cannot be started; `AssertionError` where the process ends
        before it has registered.

        >>> sleeper = adsum_member("sleeper-1", command=["sleep", "60"])
        >>> adsum_registry["sleeper-1"].pid == sleeper.pid
        True
        """
        member = self._start(id, keywords) if command is None else self._run(id, command, keywords)
        self._started.append(member)
        return member

    def _run(self, id: str | ProcessId, command: Sequence[str], keywords: RegisterKeywords) -> Member:
        program = HeldProgram(command)
        try:
            # Before it is registered, and runs: from then on it ends with this process, however that ends.
            self._watcher.watch(program.process.pid)
            entry = self._registry.register(id, program.process, **keywords).entry
            program.release()
        except BaseException:
            program.abandon()
            raise
        return Member(self._registry, program.process, entry)

    def _start(self, id: str | ProcessId, keywords: RegisterKeywords) -> Member:
        process, entry = _registered(self._registry, id, keywords)
        return Member(self._registry, process, entry, self._watcher)

    def __enter__(self) -> MemberFactory:
        return self

    def __exit__(self, _kind: object, _error: object, _traceback: TracebackType | None) -> None:
        for member in self._started:
            member.close()
        self._watcher.close()


def _registered(
    registry: Registry, id: str | ProcessId, keywords: RegisterKeywords
) -> tuple[subprocess.Popen[bytes], Entry]:
    """A process that runs `member_program`, and its entry."""
    order = _order(registry, id, keywords)
    command = [sys.executable, "-c", _PROGRAM, str(_PACKAGES), str(registry.folder)]
    process = popen(command, subprocess.PIPE, subprocess.PIPE)
    try:
        with contextlib.suppress(BrokenPipeError):
            # Where it has ended already, its missing answer says so.
            stdin = cast("IO[bytes]", process.stdin)
            stdin.write(order + b"\n")
            stdin.flush()
        answer = pickle.loads(base64.b64decode(_answer(process)))
    except BaseException:
        _end(process)
        raise
    if isinstance(answer, Exception):
        _end(process)
        raise answer
    return process, answer


def _order(registry: Registry, id: str | ProcessId, keywords: RegisterKeywords) -> bytes:
    """What the process is to register, in one line. Errors: `InvalidMetadata`; `InvalidProcessId`."""
    metadata = dict(keywords)
    call = {name: metadata.pop(name) for name in _OF_THE_CALL if name in metadata}
    # "thread" is a word for the call that registers, and no value of an entry.
    call |= {name: metadata.pop(name) for name in ("heartbeat",) if isinstance(metadata.get(name), str)}
    if isinstance(owner := call.get("owned_by"), str):
        call["owned_by"] = complete_id(owner, registry.namespace, registry.node)
    process_id = complete_id(id, registry.namespace, registry.node)
    # Plain data: the process may not be able to import the classes of a test.
    return base64.b64encode(pickle.dumps((process_id, parse_metadata(metadata).given() | call)))


def _answer(process: subprocess.Popen[bytes]) -> bytes:
    """The line that it writes when it has registered, or cannot. Errors: `AssertionError` where none comes."""
    stdout = cast("IO[bytes]", process.stdout)
    ready = select.poll()
    ready.register(stdout, select.POLLIN)
    if not ready.poll(START_SECONDS * 1000):
        raise AssertionError(f"a member (pid {process.pid}) had not registered after {START_SECONDS:g} s")
    line = stdout.readline()
    if not line:
        raise AssertionError(
            f"a member (pid {process.pid}) has ended with {process.wait()} before it registered; its messages are in "
            "the captured standard error of the test"
        )
    return line


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process unless it has ended, reap it, and close its pipes."""
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            # A program may have ended without reading all of it.
            with contextlib.suppress(BrokenPipeError):
                stream.close()
