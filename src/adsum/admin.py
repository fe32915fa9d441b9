"""For tools of operators: the folders of registries, the header of a registry's page, and its registrar.

    import adsum.admin

    folder = adsum.admin.registry_folder("default")
    print(adsum.admin.ping(folder))  # seconds until the registrar answered
    adsum.admin.stop_registrar(folder)  # waits for it; the tables keep everything; the next write starts another

The command `adsum` uses only modules that the reference documents, this one among them: other tools can be built of the
same parts. These functions delegate to the internal modules. None of them writes a table.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from . import _wire as wire
from ._client import exit_reports, replace, spawn
from ._client.connection_pool import seconds_or
from ._client.launch import Launch
from ._os import folder as folders
from ._os import identity
from ._os.presence import lock_holders
from ._store import locations
from ._store import page as pages
from ._store.room import fitted_to
from ._validation import parse_id
from .model import Limits, Owner, ProcessId
from .registration import Registration
from .registry import Registry

PING_SECONDS = 2.0
STOP_SECONDS = 10.0
# The files that a registrar opens for writing, and those that it puts into place by rename(2) or link(2).
WRITTEN_FILES = ("starting", "lock", "registrar.log")
_PAGE_FILES = ("page", "page.new", "page.replaced", "board", "board.new")
RENAMED_FILES = (wire.SOCKET_NAME, f"{wire.SOCKET_NAME}.new", *_PAGE_FILES)
LOG_NAME = "registrar.log"


class PageHeader(NamedTuple):
    """The part of a registry's page that describes the registrar and its kernel.

    - `registrar`: pid, start time and pidfd inode of the newest registrar, which may have exited since; pid 0 before
      the first one.
    - `started_ns`: when it began to serve, in nanoseconds on the monotonic clock; 0 once it has left in order.
    - `restarts`: how many registrars took over from one that died.
    - `format`: the version of the table format.
    - `boot_id`: the boot of the machine in which the registry was created (random(4)); a registry ends with it.
    - `pid_namespace`: the inode of the PID namespace to which its pids belong (pid_namespaces(7)).
    """

    registrar: Owner
    started_ns: int
    restarts: int
    format: int
    boot_id: str
    pid_namespace: int


def base_folder() -> Path:
    """The folder that holds this user's registries: ``$ADSUM_DIR``, else ``/dev/shm/adsum-<uid>`` in every environment
    (``/run/user/<uid>/adsum`` on a machine without ``/dev/shm``).

    >>> adsum.admin.base_folder() == adsum.open().folder.parent
    True
    """
    return locations.base()


def registry_folder(name: str = "default", path: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a registry, as `adsum.open` finds it. It need not exist. Errors: `InvalidName`.

    >>> adsum.admin.registry_folder("default") == adsum.open().folder
    True
    """
    return locations.locate(name, path)


def other_registries(folder: Path) -> list[Path]:
    """The registries of the same name that live in this user's other default location, in
    ``/run/user/<uid>/adsum`` for one: an earlier version of adsum made them there. Empty where ``$ADSUM_DIR`` or a path
    chose the folder.

    >>> adsum.admin.other_registries(adsum.open().folder)
    []
    """
    return locations.elsewhere(folder)


def describe_other_registries(folder: Path) -> str:
    """What errors say about `other_registries`, as a phrase: where they live, and how to choose one. Empty where there
    is none.

    >>> adsum.admin.describe_other_registries(adsum.open().folder)
    ''
    """
    return locations.describe_others(folder)


def check_folder(folder: Path) -> bool:
    """Whether the folder exists. Errors: `PermissionDenied` unless it belongs to this user alone; `InvalidName` where
    it holds other things and no registry.

    >>> adsum.admin.check_folder(adsum.admin.base_folder() / "no-such-registry")
    False
    """
    return folders.check(folder)


def memory_limit_in(folder: Path) -> int:
    """The memory limit in bytes of a registry made with the default limits in this existing folder. It is less than
    `Limits.max_memory_bytes` in a small file system.

    >>> from pathlib import Path
    >>> adsum.admin.memory_limit_in(Path("/dev/shm")) <= adsum.Limits().max_memory_bytes
    True
    """
    return fitted_to(folder, Limits()).max_memory_bytes


def create_folder(folder: Path) -> None:
    """Make a folder that belongs to this user alone, with the base folder above it. Errors: `PermissionDenied`.

    >>> adsum.admin.create_folder(adsum.admin.registry_folder("mine"))
    >>> adsum.admin.check_folder(adsum.admin.registry_folder("mine"))
    True
    """
    folders.create(folder)


def short_path(folder: Path) -> contextlib.AbstractContextManager[str]:
    """A short path to a folder, valid inside the ``with`` block: a socket's address holds 107 bytes (unix(7)).

    >>> with adsum.admin.short_path(adsum.admin.base_folder().parent) as path:
    ...     len(path) < 40
    True
    """
    return folders.short_path(folder)


def page_header(folder: Path) -> PageHeader | None:
    """The header of the registry's page, of any format; None where there is no registry of this boot.

    Errors: `WrongNamespace` for a registry of another PID namespace; `CorruptRegistry`.

    >>> registration = adsum.open().register("worker-1")
    >>> adsum.admin.page_header(adsum.open().folder).registrar.pid == adsum.open().stats().registrar_pid
    True
    """
    page = pages.peek(folder)
    if page is None:
        return None
    # `peek` has compared boot and PID namespace with those of this process.
    boot_id = str(uuid.UUID(bytes=identity.boot_id()))
    return PageHeader(page.registrar, page.started_ns, page.restarts, page.format, boot_id, identity.pid_namespace())


def remedy_for_damage(folder: Path) -> str:
    """The advice that errors about a damaged registry give, as a phrase.

    >>> "remove the folder" in adsum.admin.remedy_for_damage(adsum.open().folder)
    True
    """
    return pages.remedy(folder)


def starting_processes(folder: Path) -> list[int]:
    """The pids of the processes that took the lock of starts in this folder, at most one: such a process is starting a
    registrar, and no other one can. A lock that a child inherited is listed under the process that took it, which may
    have ended.

    >>> adsum.admin.starting_processes(adsum.open().folder)
    []
    """
    return lock_holders(folder / "starting")


def complete_id(id: object, namespace: str, node: str) -> ProcessId:
    """A checked `ProcessId`; a plain string is a local id in `namespace` on `node`. Errors: `InvalidProcessId`.

    >>> str(adsum.admin.complete_id("worker-1", "default", "host"))
    'default/host/worker-1'
    """
    return parse_id(id, namespace, node)


def require_platform() -> Owner:
    """The identity of this process. Errors: `UnsupportedPlatform` unless the kernel offers pidfds and /proc.

    >>> import os
    >>> adsum.admin.require_platform().pid == os.getpid()
    True
    """
    identity.require_linux()
    return identity.current()


def identities_are_exact() -> bool:
    """Whether a pidfd's inode distinguishes every two processes since boot (Linux 6.9 and newer, pidfs). Otherwise
    adsum compares start times, in ticks of 10 ms.

    >>> adsum.admin.identities_are_exact() in (True, False)
    True
    """
    return identity.pidfds_have_inodes()


def pid_namespace() -> int:
    """The inode of this process's PID namespace (pid_namespaces(7)); all processes of a registry share one.

    >>> adsum.admin.pid_namespace() > 0
    True
    """
    return identity.pid_namespace()


def ping(folder: Path, timeout: float = PING_SECONDS) -> float:
    """Connect to the registrar as a client does, without starting one; return the seconds until it answered.

    Errors: `OSError` where no registrar can be reached (`TimeoutError` where it does not answer within `timeout`
    seconds); the registrar's own refusal as an `AdsumError`.

    >>> registration = adsum.open().register("worker-1")
    >>> adsum.admin.ping(adsum.open().folder) < 2.0
    True
    """
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, folders.short_path(folder) as reachable:
        sock.settimeout(seconds_or(timeout, PING_SECONDS))
        sock.connect(f"{reachable}/{wire.SOCKET_NAME}")
        sock.sendall(wire.frame(wire.Hello(wire.VERSION, pid_namespace(), os.urandom(16), identity.current())))
        frames = wire.FrameBuffer()
        while not (received := list(frames)):
            if not (data := sock.recv(4096)):
                raise ConnectionResetError("the registrar closed the connection")
            frames.feed(data)
    answer = wire.decode_welcome(received[0])
    if isinstance(answer, wire.Failed):
        raise wire.error_from(answer)
    return time.monotonic() - began


def report_exit(folder: Path, owner: Owner, exit: int, timeout: float = PING_SECONDS) -> bool:
    """Let the registrar note how the process `owner` ended: the `Departure.exit` of its entries. For its parent, after
    its end; starts no registrar. Returns False, and changes nothing, where no entry has ended by its death, where the
    exit is known already, and where there is no registry.

    Errors: an `AdsumError` where no registrar serves, or it refuses; `OSError` where it leaves at that moment.

    >>> import os, subprocess
    >>> registry = adsum.open()
    >>> child = subprocess.Popen(["sleep", "60"])
    >>> owner = registry.register("worker-1", child.pid).entry.owner
    >>> child.kill()
    >>> ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    >>> reported = adsum.admin.report_exit(registry.folder, owner, -9)
    >>> registry.departures(1)[0].exit, child.wait()
    (-9, -9)
    """
    return exit_reports.report(folder, owner, exit, seconds_or(timeout, PING_SECONDS))


def open_pidfd(owner: Owner) -> int | None:
    """A pidfd (pidfd_open(2)) of exactly this process: it becomes readable when the process has ended. None where that
    has ended already. The caller closes it.

    Errors: `OSError` where no descriptor is left.

    >>> import os
    >>> owner = adsum.open().register("worker-1").entry.owner
    >>> pidfd = adsum.admin.open_pidfd(owner)
    >>> os.close(pidfd)
    """
    return identity.open_verified(owner)


def keep_registered(registry: Registry, registration: Registration) -> Registration:
    """Let `registry` register an entry anew when the folder is gone, in place of the registry object through which this
    process has registered it, and which may be closed. Returns the registration of the entry in `registry`.

    For a program that must have no thread while it starts another one, as `adsum run` does.

    >>> with adsum.open() as first:
    ...     registration = first.register("worker-1")
    >>> second = adsum.open()
    >>> adsum.admin.keep_registered(second, registration).update(endpoint="tcp://127.0.0.1:9001").endpoint
    'tcp://127.0.0.1:9001'
    """
    registry._calls.take_over(registration.entry, registration._calls)
    return Registration(registry._calls, registration.entry)


def start_registrar(folder: Path, limits: Limits, timeout: float = STOP_SECONDS) -> None:
    """Start a registrar in the background, and wait at most `timeout` seconds until one serves, this or another.

    `limits` count if this creates the registry. Errors: the error that kept it from serving; `RegistrarUnavailable`.

    >>> adsum.admin.start_registrar(adsum.admin.registry_folder("started"), adsum.Limits())
    >>> adsum.admin.ping(adsum.admin.registry_folder("started")) < 2.0
    True
    """
    spawn.start_registrar(folder, Launch(limits), time.monotonic() + seconds_or(timeout, STOP_SECONDS))


def require_not_newer(folder: Path) -> None:
    """Raise `VersionMismatch` where a newer adsum made the registry: a registrar of this version cannot serve it.

    >>> adsum.admin.require_not_newer(adsum.open().folder)
    """
    replace.require_not_newer(folder)


def serve(folder: Path, limits: Limits) -> bool:
    """Serve the registry in this process until SIGTERM or SIGINT, or until it is idle for `Limits.linger` seconds; log
    to standard error. False where another registrar serves already.

    Installs signal handlers and lifts resource limits, so call it in the main thread of a process of its own. For
    example, as a service:

        python -c "import adsum.admin as a; a.serve(a.registry_folder(), __import__('adsum').Limits())"

    >>> code = "from adsum import Limits, admin; print(admin.serve(admin.registry_folder('served'), Limits(linger=0)))"
    >>> subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    'True\\n'
    """
    # Imported late: only a process that serves needs it.
    from ._registrar.inheritance import lift_limits
    from ._registrar.start import serve as serve_in_this_process

    return serve_in_this_process(folder, limits, ready=_ready, foreground=True, kept=lift_limits())


def _ready() -> None:
    """The log says that the registrar serves; a service manager needs no more."""


def stop_registrar(folder: Path, timeout: float = STOP_SECONDS) -> bool:
    """Ask the registrar to exit (SIGTERM), and wait until it has ended and its lock is free. Returns whether one ran.

    The tables keep every entry. After it, nothing writes into the folder until a client asks for a change, so a test
    may remove the folder. A process that has tasks, threads or standbys in the registry is such a client: close its
    registry first. The signal reaches exactly the process that the page names, never a reused pid.

    Errors: `Timeout` where it has not ended within `timeout` seconds, because it is stopped, for example.

    >>> registration = adsum.open().register("worker-1")
    >>> adsum.admin.stop_registrar(adsum.open().folder)
    True
    >>> adsum.open().lookup("worker-1") is not None
    True
    """
    return replace.stop_registrar(folder, time.monotonic() + seconds_or(timeout, STOP_SECONDS))


def replace_registrar(folder: Path, limits: Limits | None = None, timeout: float = STOP_SECONDS) -> None:
    """Stop the registrar that serves, of whatever version, and start one of this version, within `timeout` seconds.

    Every entry stays; members go on without a restart, and their calls in flight reach the new registrar. Tables of an
    older format are migrated on the way; members that run the older version stay registered, but their own calls raise
    `VersionMismatch` until they restart with this one. Errors: `VersionMismatch` where the table format is newer than
    this version's, and then the registrar goes on; `Timeout`, `RegistrarUnavailable`, and those that keep a registrar
    from serving.

    >>> registration = adsum.open().register("worker-1")
    >>> before = adsum.open().stats().registrar_pid
    >>> adsum.admin.replace_registrar(adsum.open().folder)
    >>> adsum.open().stats().registrar_pid != before and adsum.open().lookup("worker-1") is not None
    True
    """
    until = time.monotonic() + seconds_or(timeout, STOP_SECONDS)
    replace.replace_registrar(folder, Launch(limits or Limits()), until)
