"""One process that is starting a registrar: from its exec until it reports, ends, or is ended.

The process forks once it has imported everything, and exits; its child reports how the start went (see the registrar's
`background`). So a first process that is still there has not come that far.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import msgspec

from .._foreign import reraise_foreign
from .._os import log_file, polling
from .._os.forking import no_fork_during
from .._os.start_arguments import StartArguments
from ..errors import RegistrarUnavailable
from .launch import REMEDY, Launch, command_line, environment, undebugged

# An interpreter that has not come to its fork after this many seconds never will: it waits for something else.
PATIENCE_SECONDS = 8.0
_EXIT_SECONDS = 1.0
_SAID_CHARACTERS = 400


class StartingProcess:
    """Started by the constructor. Errors: `RegistrarUnavailable`."""

    def __init__(self, folder: Path, launch: Launch) -> None:
        self._folder = folder
        self._received = b""
        self.starter = os.getpid()
        command = command_line(launch.command)
        self._program = command[0]
        self._began = time.monotonic()
        no_fork_during(self._start, command, launch)

    def _start(self, command: list[str], launch: Launch) -> None:
        folder = self._folder
        self._report, writer_end = os.pipe2(os.O_CLOEXEC)
        limits = msgspec.json.encode(launch.limits).decode()
        arguments = StartArguments(str(folder), limits, writer_end).listed()
        try:
            with log_file.open_to_append(folder) as log, undebugged():
                self._log_offset = log.tell()
                self._process = subprocess.Popen(
                    [*command, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writer_end,),
                    start_new_session=True,
                    cwd="/",
                    env=environment(),
                )
        except (OSError, subprocess.SubprocessError) as error:
            os.close(self._report)
            reraise_foreign(error)
            raise RegistrarUnavailable(
                f"cannot start a registrar in {folder} with {self._program}: {error}; {REMEDY}"
            ) from error
        except BaseException:
            os.close(self._report)
            raise
        finally:
            os.close(writer_end)

    def report(self, until: float) -> str | None:
        """``ready``, ``other``, or the reason and message of an error; empty where it ended without a report. None at
        `until` (monotonic)."""
        poll = polling.wait_set()
        poll.register(self._report, polling.POLLIN)
        while poll.poll(max(0, int((until - time.monotonic()) * 1000))):
            part = os.read(self._report, 4096)
            self._received += part
            if not part or self._received == b"ready":
                return self._received.decode(errors="replace")
        return None

    @property
    def has_forked(self) -> bool:
        """Whether the first process has exited, so that a registrar may be on its way."""
        return self._process.poll() is not None

    @property
    def is_overdue(self) -> bool:
        return time.monotonic() - self._began >= PATIENCE_SECONDS

    def finish(self) -> None:
        """Reap the first process, which exits before the report; a wrapper around Python may stay, and is ended."""
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired as error:
            reraise_foreign(error)
            self._process.kill()
            self._process.wait()
        self.close()

    def kill(self) -> None:
        """End the process, and all that it has started."""
        if self._process.poll() is None:
            # It leads a session of its own and is not reaped, so its group is the one with its pid.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.close()

    def close(self) -> None:
        """Close the pipe. A registrar does not mind that no process reads its report."""
        os.close(self._report)

    def disown(self) -> None:
        """In a forked child, whose parent started the process: close this copy of the pipe."""
        self.close()
        # Only the parent can wait for it. Without a return code, `subprocess` would try to.
        self._process.returncode = 0

    def describe(self) -> str:
        """What became of the process, and what it wrote, as a phrase."""
        code = self._process.returncode
        if self.is_overdue:
            how = f"had started no registrar after {PATIENCE_SECONDS:g} s, so it was ended"
        elif code < 0:
            how = f"was ended by {_signal_name(-code)} before a registrar served"
        else:
            how = f"ended with exit status {code} before a registrar served"
            if code == 0:
                # It forks, and exits with 0; what became of its child, no process is told.
                how += " (if it started one that was killed: the kernel does that where no memory is left)"
        said = log_file.last_lines(self._folder, self._log_offset)[-_SAID_CHARACTERS:]
        return f"{self._program} {how}; it wrote{f': {said}' if said else ' nothing'}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
