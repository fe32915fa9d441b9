"""Child processes that a test starts, talks to line by line, and ends.

with Child(some_function, folder) as child:      # runs some_function(folder) in a fresh interpreter
    assert child.line() == "registered"          # it said print("registered")
    child.say("go on")                           # its input() returns
    child.kill()                                 # SIGKILL, and reaped

with Agent(folder) as agent:                     # has `registry` open, and runs what is sent to it
    agent.do("registry.register('a', capabilities={'x'})")
    assert agent.value("registry.count()") == 1  # values and errors are returned unchanged
    agent.signal(signal.SIGSTOP)
"""

from __future__ import annotations

import base64
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar, cast

from .waiting import WITHIN

C = TypeVar("C", bound="Child")
ROOT = Path(__file__).resolve().parents[2]


class ChildFailed(AssertionError):
    """The child ended, or printed no line in time; the message has its stderr."""


class Child:
    """A fresh interpreter that runs `what`: a module-level function, given `args` as strings, or a code string, which
    finds them in ``sys.argv[1:]``. `prefix` is a command that starts it. Its output is unbuffered. As a context manager
    it is killed and reaped at the end.
    """

    def __init__(
        self,
        what: Callable[..., object] | str,
        *args: object,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        **popen: Any,
    ) -> None:
        code = what if isinstance(what, str) else _call(what)
        # The tests' own folder comes from here, not from a PYTHONPATH that was set for another copy.
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-u", "-c", code, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
            bufsize=0,
            **popen,
        )
        streams = self.process.stdin, self.process.stdout, self.process.stderr
        self._input, self._output, self._errors = cast("tuple[IO[bytes], IO[bytes], IO[bytes]]", streams)
        self._heard = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, within: float = WITHIN) -> str:
        """The next line that it prints."""
        until = time.monotonic() + within
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while b"\n" not in self._heard:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise ChildFailed(f"child {self.pid} said nothing for {within:g} s{self._stderr()}")
            part = os.read(self._output.fileno(), 65536)
            if not part:
                raise ChildFailed(f"child {self.pid} ended with {self.process.wait()}{self._stderr()}")
            self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def expect(self, line: str, within: float = WITHIN) -> None:
        """Check that the next line is this one."""
        said = self.line(within)
        if said != line:
            raise ChildFailed(f"child {self.pid} said {said!r} instead of {line!r}{self._stderr()}")

    def say(self, line: str = "") -> None:
        """Send a line to its ``input()``."""
        self._input.write(line.encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """Send SIGSTOP, and wait until it has stopped."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL, and reap it."""
        self.process.kill()
        self.process.wait()

    def kill_unreaped(self) -> None:
        """Send SIGKILL, and leave it a zombie."""
        self.process.kill()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def wait(self, within: float = WITHIN) -> int:
        """Its exit code, once it has exited without a signal from the test."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"child {self.pid} still runs after {within:g} s{self._stderr()}") from None

    def finish(self, within: float = WITHIN) -> int:
        """Close its input, which ends a child that waits for a line, and return its exit code."""
        self._input.close()
        return self.wait(within)

    def close(self) -> None:
        """Kill it if it still runs, reap it, and close its pipes."""
        if self.process.poll() is None:
            self.kill()
        for stream in (self._input, self._output, self._errors):
            stream.close()

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, _kind: object, _error: object, _traceback: TracebackType | None) -> None:
        self.close()

    def _stderr(self) -> str:
        os.set_blocking(self._errors.fileno(), False)
        text = self._errors.read() or b""
        return f"; its stderr:\n{text.decode(errors='replace')}" if text else ""


class Agent(Child):
    """A child with a registry open in `folder`, as `registry`. It runs each statement that is sent, until its input
    ends."""

    def __init__(self, folder: Path | str, *, env: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(_agent, folder, _packed(options), env=env)

    def do(self, statements: str, within: float = WITHIN) -> None:
        """Run statements in the child. What they raise is raised here."""
        self._ask(f"exec {_packed(statements)}", within)

    def value(self, expression: str, within: float = WITHIN) -> Any:
        """The value of an expression in the child."""
        return self._ask(f"eval {_packed(expression)}", within)

    def _ask(self, line: str, within: float) -> Any:
        self.say(line)
        word, _, packed = self.line(within).partition(" ")
        value = _unpacked(packed)
        if word == "raised":
            raise value
        return value


def _call(function: Callable[..., object]) -> str:
    return f"import sys; from {function.__module__} import {function.__qualname__} as run; run(*sys.argv[1:])"


def _packed(value: object) -> str:
    return base64.b64encode(pickle.dumps(value)).decode()


def _unpacked(text: str) -> Any:
    return pickle.loads(base64.b64decode(text))


def _agent(folder: str, options: str) -> None:
    import adsum

    registry = adsum.open(path=folder, **{"timeout": 10, **_unpacked(options)})
    names: dict[str, object] = {"registry": registry, "adsum": adsum, "os": os}
    for line in sys.stdin:
        how, _, packed = line.partition(" ")
        try:
            value = eval(compile(_unpacked(packed), "<statement>", how), names)
            print("value", _packed(value))
        except Exception as error:  # noqa: BLE001 - the parent raises any error
            print("raised", _packed(error))
