"""Dialling: from a folder to a connection on which requests can be sent, through a new registrar if none serves."""

from __future__ import annotations

import _socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import _wire as wire
from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os import identity
from .._os.liveness import descriptors_needed
from ..errors import AdsumError, CorruptRegistry, RegistrarUnavailable, RegistryClosed, Timeout, VersionMismatch
from .connection import Connection
from .launch import Launch
from .replace import replace_older, require_unneeded
from .spawn import start_registrar

# How long a call without a timeout of its own waits for a registrar to start and to complete the handshake.
START_SECONDS = 10.0
# Between two attempts to connect to a registrar whose backlog is full.
BACKLOG_SECONDS = 0.005


def _always() -> bool:
    return True


def dial(
    folder: Path,
    launch: Launch,
    session: bytes,
    until: float,
    answer: float = START_SECONDS,
    *,
    may_start: Callable[[], bool] = _always,
) -> Connection:
    """A connection to the registrar of `folder`, after the handshake. Starts a registrar if none serves, for as long
    as it `may_start`. A registrar that serves has `answer` seconds to complete the handshake.

    Errors: `Timeout` at `until`; `RegistryClosed` where no registrar serves and none may be started;
    `RegistrarUnavailable`; any error that keeps a registrar from serving this folder; the registrar's refusal of this
    client (`PermissionDenied`, `VersionMismatch`, `WrongNamespace`); `SystemBusy`.
    """
    try:
        with descriptors_needed():
            return _dial(folder, launch, session, until, answer, may_start)
    except AdsumError:
        raise
    except OSError as error:
        reraise_foreign(error)
        raise RegistrarUnavailable(
            f"cannot reach or start the registrar of {folder}: {error}; try again, or run adsum doctor"
        ) from error


def _dial(
    folder: Path, launch: Launch, session: bytes, until: float, answer: float, may_start: Callable[[], bool]
) -> Connection:
    answered = min(until, time.monotonic() + answer)
    while True:
        sock = _connect(folder, answered)
        if sock is not None:
            try:
                return _shake_hands(sock, session, answered)
            except TimeoutError as error:
                sock.close()
                reraise_foreign(error)
                raise Timeout(
                    f"the registrar of {folder} does not answer (is it stopped?); nothing was changed. Try again; "
                    "adsum doctor says more"
                ) from error
            except ConnectionError as error:
                sock.close()
                # This registrar was leaving, or was killed: dial the next one.
                reraise_foreign(error)
            except VersionMismatch:
                sock.close()
                if not replace_older(folder, launch, until):
                    raise
                continue
            except BaseException:
                sock.close()
                raise
        if time.monotonic() >= until:
            raise Timeout(
                f"no registrar serves {folder} yet; nothing was changed. Try again, or with a longer timeout="
            )
        if not may_start():
            raise RegistryClosed("this registry was closed; open another")
        # It would make a registry of an older format anew, or migrate it. That needs a word of the operator where a
        # living process of the older version would notice.
        require_unneeded(folder)
        start_registrar(folder, launch, until)
        answered = until


def _connect(folder: Path, until: float) -> _socket.socket | None:
    """A connected socket, or None where no registrar listens."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        if not folders.check(folder):
            sock.close()
            return None
        with folders.short_path(folder) as reachable:
            sock.connect(f"{reachable}/{wire.SOCKET_NAME}")
        return sock
    except (FileNotFoundError, ConnectionError) as error:
        sock.close()
        reraise_foreign(error)
        return None
    except BlockingIOError as error:
        # The registrar's backlog is full (unix(7): EAGAIN).
        sock.close()
        reraise_foreign(error)
        if time.monotonic() >= until:
            raise Timeout(f"the registrar of {folder} takes no more connections at the moment; try again") from None
        time.sleep(BACKLOG_SECONDS)
        return _connect(folder, until)
    except AdsumError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        reraise_foreign(error)
        raise RegistrarUnavailable(f"cannot connect to the registrar of {folder}: {error}; run adsum doctor") from error


def _shake_hands(sock: _socket.socket, session: bytes, until: float) -> Connection:
    connection = Connection(sock, 0.0, wire.FrameBuffer())
    began = time.monotonic_ns()
    hello = wire.Hello(wire.VERSION, identity.pid_namespace(), session, identity.current())
    connection.send(wire.frame(hello), until)
    try:
        answer = wire.decode_welcome(connection.receive_first(until))
    except (msgspec.MsgspecError, ValueError) as error:
        reraise_foreign(error)
        raise CorruptRegistry(f"the process at the registrar's socket is not a registrar: {error}") from error
    if isinstance(answer, wire.Failed):
        raise wire.error_from(answer)
    if answer.version < wire.OLDEST:
        raise VersionMismatch(
            f"the registrar speaks protocol {answer.version}, this client {wire.VERSION}; run adsum registrar --replace"
        )
    connection.registration_timeout = answer.registration_timeout
    connection.clock_ahead = _clock_ahead(answer.clock, began, time.monotonic_ns())
    return connection


def _clock_ahead(clock: int, began: int, ended: int) -> float:
    """How many seconds the registrar's monotonic clock is ahead of this process's; they differ in different time
    namespaces (time_namespaces(7)). The registrar read `clock` in a handshake that `began` and `ended` then.

    Never too much: a deadline may come early by the time of the handshake, but no request is applied after it.
    """
    if not clock or began <= clock <= ended:
        return 0.0
    return (clock - ended) / 1e9
