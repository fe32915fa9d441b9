"""The program of a process that does nothing but be a member: `adsum_member` starts it.

It reads what to register from standard input, answers with its entry or with the error, and lives until its standard
input ends: so it ends with the process of the tests, however that ends. On SIGTERM it unregisters, and exits with 0.
"""

from __future__ import annotations

import base64
import os
import pickle
import select
import signal
import sys

from ..errors import AdsumError
from ..opening import open as open_registry


def main() -> None:
    """Be a member of the registry in the folder that the last argument names."""
    end = _end_of_life()
    process_id, keywords = pickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    with open_registry(path=sys.argv[-1]) as registry:
        try:
            registration = registry.register(process_id, **keywords)
        except (AdsumError, ValueError, TypeError) as error:
            _say(error)
            return
        with registration:
            _say(registration.entry)
            end.poll()


def _end_of_life() -> select.poll:
    """What becomes readable at SIGTERM, and at the end of standard input. An exception from a signal handler would not
    do: a signal that comes just before a system call does not end that call."""
    signalled, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    end = select.poll()
    for descriptor in (signalled, sys.stdin.fileno()):
        end.register(descriptor, select.POLLIN)
    return end


def _say(answer: object) -> None:
    sys.stdout.buffer.write(base64.b64encode(pickle.dumps(answer)) + b"\n")
    sys.stdout.buffer.flush()
