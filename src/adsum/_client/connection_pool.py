"""Calls that wait: a pool of channels, each with one request in flight at a time.

A thread takes a free channel, sends its request, and waits for the reply itself, so no thread has to wake another. When
the registrar dies in between, the channel sends the same request to the next one under the same number. A change that
was committed was committed together with its reply (see the registrar's `receipts`), so it is applied exactly once
(RIFL: Lee et al., "Implementing Linearizability at Large Scale and Low Latency", SOSP 2015).
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
from .._foreign import reraise_foreign
from .._os.forking import add_fork_aware, notice_fork, own
from .._os.locks import locked
from ..errors import AdsumError, CorruptRegistry, RegistryClosed, SystemBusy, Timeout
from .connection import GRACE_SECONDS, Connection, expired, framed
from .dial import START_SECONDS, dial
from .drops import Drops
from .launch import Launch

MAX_CHANNELS = 8


class Channel:
    """One session with the registrar, over as many connections as it takes. Used by one thread at a time."""

    def __init__(self, folder: Path, launch: Launch, dialled: Callable[[], int]) -> None:
        self._folder = folder
        self._launch = launch
        self._dialled = dialled
        # That of the registry to which the connection leads.
        self.epoch = 0
        self._session = os.urandom(16)
        self._number = 0
        self._connection: Connection | None = None
        # The drops of the call under way; None before the first.
        self._drops: Drops | None = None

    def ask(self, request: wire.AnyRequest, timeout: float | None) -> wire.Done:
        """Send one request and return its reply, or raise its error."""
        self._number += 1
        until = None if timeout is None else time.monotonic() + timeout
        give_up = time.monotonic() + START_SECONDS
        self._drops = None
        while True:
            try:
                return self._ask_once(request, timeout, until, give_up)
            except ConnectionError as error:
                reraise_foreign(error)
                # The registrar died, or left when it was idle. The next one gets the same number.
                self._drops = self._drops or Drops()
                try:
                    self._drops.note(self._folder, self._connection, error)
                finally:
                    self.close()

    def _ask_once(
        self, request: wire.AnyRequest, timeout: float | None, until: float | None, give_up: float
    ) -> wire.Done:
        if self._connection is not None and not self._connection.is_ours():
            self.close()
        connection = self._connection or self._connect(until, give_up)
        seconds = connection.registration_timeout if until is None else max(0.0, until - time.monotonic())
        deadline = time.monotonic() + seconds
        data = framed(request, self._number, deadline + connection.clock_ahead)
        try:
            connection.send(data, deadline + GRACE_SECONDS)
            reply = self._reply(connection, deadline + GRACE_SECONDS)
        except TimeoutError as error:
            reraise_foreign(error)
            # The registrar takes no requests from a connection that was closed.
            self.close()
            raise expired(connection.registration_timeout if timeout is None else timeout) from error
        except OSError as error:
            reraise_foreign(error)
            if isinstance(error, ConnectionError) or connection.is_ours():
                raise
            # Not asked again: the reply may have been in the socket, and then there is no receipt any more.
            self.close()
            raise Timeout(
                f"this program closed the connection of a call that was under way ({error}); it may have been carried "
                "out: look before you ask again"
            ) from error
        except (msgspec.MsgspecError, ValueError) as error:
            reraise_foreign(error)
            self.close()
            raise CorruptRegistry(f"the process at the registrar's socket is not a registrar: {error}") from error
        if isinstance(reply, wire.Failed):
            if reply.number == 0:
                # The registrar could not read the request, and ends the connection.
                self.close()
            raise wire.error_from(reply)
        return reply

    def _connect(self, until: float | None, give_up: float) -> Connection:
        if until is not None:
            self._connection = dial(self._folder, self._launch, self._session, until)
        else:
            answer = self._launch.limits.registration_timeout
            self._connection = dial(self._folder, self._launch, self._session, give_up, answer)
        if self._drops is not None:
            self._drops.connected(self._connection, give_up if until is None else until)
        self.epoch = self._dialled()
        return self._connection

    def _reply(self, connection: Connection, until: float) -> wire.Done | wire.Failed:
        while True:
            for frame in connection.receive(until):
                reply: wire.AnyReply = wire.decode_reply(frame)
                if isinstance(reply, wire.Queued):
                    continue
                if reply.number == self._number or reply.number == 0:
                    return reply

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ConnectionPool:
    """The channels that the threads of a process share, at most `MAX_CHANNELS`. Calls `dialled` after each new
    connection, which returns the epoch of the registry."""

    def __init__(self, folder: Path, launch: Launch, dialled: Callable[[], int]) -> None:
        self._folder = folder
        self._launch = launch
        self._dialled = dialled
        self._closed = False
        self._reset()
        add_fork_aware(self)

    def _reset(self) -> None:
        self._free: list[Channel] = []
        # Weak references: a channel that an interrupted thread dropped makes room for another.
        self._made: weakref.WeakSet[Channel] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def ask(self, request: wire.AnyRequest, timeout: float | None) -> wire.Done:
        """Send one request and wait for its reply. `timeout` in seconds; None for the registry's own bound.

        Errors: the registrar's; `Timeout`; those of `dial`; `SystemBusy` where no channel becomes free.
        """
        return self.ask_there(request, timeout)[0]

    def ask_there(self, request: wire.AnyRequest, timeout: float | None) -> tuple[wire.Done, int]:
        """`ask`, and the epoch of the registry that has answered; 0 where it is not known."""
        if not own[0]:
            notice_fork()
        channel = self._take(timeout)
        try:
            return channel.ask(request, timeout), channel.epoch
        except AdsumError:
            raise
        except BaseException:
            # Ctrl-C, for one: the reply may still arrive on this connection, and belongs to no later request.
            channel.close()
            raise
        finally:
            self._give_back(channel)

    @locked
    def _give_back(self, channel: Channel) -> None:
        if self._closed:
            channel.close()
        self._free.append(channel)
        self._changed.notify()

    @locked
    def _take(self, timeout: float | None) -> Channel:
        if self._closed:
            raise RegistryClosed("this registry was closed; open another")
        if not self._free and len(self._made) < MAX_CHANNELS:
            channel = Channel(self._folder, self._launch, self._dialled)
            self._made.add(channel)
            return channel
        seconds = START_SECONDS if timeout is None else timeout
        if not self._free and not self._changed.wait_for(self._has_free_channel, seconds):
            raise SystemBusy(f"all {MAX_CHANNELS} connections of this process are in use; ask less at a time")
        return self._free.pop()

    def _has_free_channel(self) -> bool:
        return bool(self._free)

    @locked
    def close(self) -> None:
        """Close the free channels now; a thread that uses one closes it when it has its reply."""
        self._closed = True
        for channel in self._free:
            channel.close()

    def quiesce(self) -> None:
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        if child:
            # The sockets belong to the parent; the child closes its copies, which ends no connection.
            for channel in list(self._made):
                channel.close()
            self._reset()
        else:
            self._lock.release()


def seconds(timeout: object) -> float | None:
    """A checked timeout in seconds; None means the registry's own bound."""
    return None if timeout is None else _checked(timeout, "the registry's own bound")


def seconds_or(timeout: object, usual: float) -> float:
    """A checked timeout in seconds, `usual` for None."""
    return usual if timeout is None else _checked(timeout, f"{usual:g} s")


def _checked(timeout: object, default: str) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout < 1e9:
        raise ValueError(f"timeout={timeout!r}: give seconds from 0 to 1e9, or None for {default}")
    return float(timeout)
