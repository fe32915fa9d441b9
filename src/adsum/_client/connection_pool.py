"""Asking and waiting: a few connections, each with one request at a time.

A thread takes a free connection, asks, and waits for its reply itself, so no thread has to be woken by another. When
the registrar dies in between, the same request goes to the next one under the same number: if its change had been
committed, the reply was committed with it (see the registrar's `receipts`), so it never happens twice.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import _wire as wire
from .._os.forking import watch_forks
from ..errors import AdsumError, CorruptRegistry, InvalidMetadata, RegistryClosed, SystemBusy, Timeout
from ..model import Limits
from .dial import START_SECONDS, Connection, dial

MAX_CHANNELS = 8
# A reply that is on its way when the deadline passes is worth a moment: it says for certain what happened.
GRACE_SECONDS = 0.02


def framed(request: wire.AnyRequest, number: int, until: float) -> bytes:
    """A request as bytes. Raises `InvalidMetadata` where it is too large for one message."""
    try:
        data = wire.frame(wire.Envelope(number, int(until * 1e9), request))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidMetadata(
            f"metadata: cannot be sent ({error}); give plain data: None, bool, int, float, str, bytes, list and dict"
        ) from error
    if len(data) > wire.MAX_FRAME:
        raise InvalidMetadata(
            f"metadata: the request is {len(data)} bytes, at most {wire.MAX_FRAME} fit one message; split it"
        )
    return data


def expired(seconds: float) -> Timeout:
    return Timeout(
        f"no answer within {seconds:g} s. Past its deadline a request is not applied: lookup() tells whether this one "
        "was just before. Try again, or give a longer timeout="
    )


class Channel:
    """One session with the registrar, over as many connections as it takes."""

    def __init__(self, folder: Path, limits: Limits, dialled: Callable[[], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._dialled = dialled
        self._session = os.urandom(16)
        self._number = 0
        self._connection: Connection | None = None

    def ask(self, request: wire.AnyRequest, timeout: float | None) -> wire.Done:
        """Send one request and return its reply, or raise its error."""
        self._number += 1
        until = None if timeout is None else time.monotonic() + timeout
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._ask_once(request, timeout, until, give_up)
            except ConnectionError:
                # The registrar died, or has just left. The same number goes to the next one.
                self.close()

    def _ask_once(
        self, request: wire.AnyRequest, timeout: float | None, until: float | None, give_up: float
    ) -> wire.Done:
        connection = self._connection
        if connection is None:
            connection = (
                dial(self._folder, self._limits, self._session, give_up, self._limits.registration_timeout)
                if until is None
                else dial(self._folder, self._limits, self._session, until)
            )
            self._connection = connection
            self._dialled()
        seconds = connection.registration_timeout if until is None else max(0.0, until - time.monotonic())
        deadline = time.monotonic() + seconds
        data = framed(request, self._number, deadline)
        try:
            connection.send(data, deadline + GRACE_SECONDS)
            reply = self._reply(connection, deadline + GRACE_SECONDS)
        except TimeoutError as error:
            # Closing tells the registrar that nobody waits any more.
            self.close()
            raise expired(connection.registration_timeout if timeout is None else timeout) from error
        except (msgspec.MsgspecError, ValueError) as error:
            self.close()
            raise CorruptRegistry(f"what answers at the registrar's socket is no registrar: {error}") from error
        if isinstance(reply, wire.Failed):
            raise wire.error_from(reply)
        return reply

    def _reply(self, connection: Connection, until: float) -> wire.Done | wire.Failed:
        while True:
            for frame in connection.receive(until):
                reply: wire.AnyReply = wire.decode_reply(frame)
                if reply.number == self._number and not isinstance(reply, wire.Queued):
                    return reply

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ConnectionPool:
    """The channels that the threads of a process share, at most `MAX_CHANNELS`. Calls `dialled` after each new
    connection."""

    def __init__(self, folder: Path, limits: Limits, dialled: Callable[[], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._dialled = dialled
        self._closed = False
        self._reset()
        watch_forks(self)

    def _reset(self) -> None:
        self._free: list[Channel] = []
        # Weakly: a line that an interrupt took out of the hands of its thread is gone, and makes room for another.
        self._made: weakref.WeakSet[Channel] = weakref.WeakSet()
        # An interrupt may leave `with` a condition in the middle of its entry, and the lock taken; not so a lock.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def ask(self, request: wire.AnyRequest, timeout: float | None) -> wire.Done:
        """Send one request and wait for its reply. Errors: what the registrar says, `Timeout`, and `dial`'s."""
        channel = self._take(timeout)
        try:
            return channel.ask(request, timeout)
        except AdsumError:
            raise
        except BaseException:
            # Ctrl-C included: a reply may still be under way on it.
            channel.close()
            raise
        finally:
            with self._lock:
                if self._closed:
                    channel.close()
                self._free.append(channel)
                self._changed.notify()

    def _take(self, timeout: float | None) -> Channel:
        with self._lock:
            if self._closed:
                raise RegistryClosed("this registry was closed; open another")
            if not self._free and len(self._made) < MAX_CHANNELS:
                channel = Channel(self._folder, self._limits, self._dialled)
                self._made.add(channel)
                return channel
            if not self._changed.wait_for(lambda: self._free, START_SECONDS if timeout is None else timeout):
                raise SystemBusy(f"all {MAX_CHANNELS} connections of this process are in use; ask less at a time")
            return self._free.pop()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            # Those in use are closed by the threads that use them, when they have their replies.
            for channel in self._free:
                channel.close()

    def quiesce(self) -> None:
        self._lock.acquire()

    def at_exit(self) -> None:
        self._lock.acquire()
        for channel in self._free:
            channel.close()

    def after_fork(self, *, child: bool) -> None:
        if child:
            # The sockets are the parent's; closing our copies ends nothing of it.
            for channel in list(self._made):
                channel.close()
            self._reset()
        else:
            self._lock.release()


def seconds(timeout: object) -> float | None:
    """A checked timeout in seconds; None stands for the registry's own bound."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout < 1e9:
        raise ValueError(f"timeout={timeout!r}: give seconds from 0 to 1e9, or None for the registry's own bound")
    return float(timeout)
