"""What a signal handler raises in the middle of a call reaches the caller unchanged, whatever it is."""

from __future__ import annotations

import errno
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import adsum
from adsum import Registry
from adsum._foreign import is_foreign

from ..support import Child, end_registrar, liveness_of
from .moments import Moment
from .people import open_descriptors, sleepers


class Mine(
    TimeoutError,
    ConnectionResetError,
    BlockingIOError,
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    ProcessLookupError,
    ValueError,
    TypeError,
    RuntimeError,
    OverflowError,
    IndexError,
):
    """An error that every `except` for an error of the kernel or of Python catches. Its errno is that of a missing
    descriptor."""


def _handler(_number: int, _frame: FrameType | None) -> None:
    raise Mine(errno.EMFILE, "my own")


def _ring() -> None:
    signal.raise_signal(signal.SIGUSR1)


def _open(folder: str) -> None:
    adsum.open(path=folder, timeout=5).close()


def _write_to_another(folder: str) -> None:
    with adsum.open(path=folder, timeout=5) as other:
        other.update_health("mine", "healthy")


def _follow(registry: Registry) -> None:
    with registry.watch() as watch:
        registry.update("mine", custom={"changed": True})
        watch.next(5)


CALLS: dict[str, Callable[[Registry], object]] = {
    "lookup": lambda registry: [registry.lookup(f"s{number}") for number in range(6)],
    "find": lambda registry: registry.find(capability="c", health_status="healthy"),
    "count": lambda registry: registry.count(),
    "update": lambda registry: registry.update("mine", custom={"changed": True}),
    "register_nowait": lambda registry: registry.register_nowait("mine"),
    "stats": lambda registry: registry.stats(),
    "open": lambda registry: _open(str(registry.folder)),
    "write_to_another": lambda registry: _write_to_another(str(registry.folder)),
    "watch": _follow,
}


def _raise_everywhere(folder: str, what: str) -> None:
    """Let the handler raise at the first moment of a call, at its second, and so on; prints the number of moments."""
    registry = adsum.open(path=folder, timeout=5)
    liveness_of(registry).capacity = 3
    registry.register("mine")
    signal.signal(signal.SIGUSR1, _handler)
    number = 0
    while _raised_at(number, lambda: CALLS[what](registry)):
        assert registry.update("mine", custom={"after": number}).metadata.custom == {"after": number}
        registry._reader._tables.cache.young.clear()
        registry._reader._tables.cache._old.clear()
        number += 1
    print(number, open_descriptors())


def _raised_at(number: int, call: Callable[[], object]) -> bool:
    """Let the handler raise at this moment of a call. False where the call has fewer moments."""
    unraisable: list[object] = []
    sys.unraisablehook = unraisable.append
    moment = Moment(number, _ring)
    raised = False
    try:
        with moment:
            call()
    except Mine:
        raised = True
    except Exception as error:
        raise AssertionError(f"translated at {moment.place}") from error
    finally:
        sys.unraisablehook = sys.__unraisablehook__
    # A finalizer cannot raise; Python reports what a handler raises in it.
    assert raised or unraisable or not moment.place, f"swallowed at {moment.place}"
    return bool(moment.place)


@pytest.mark.parametrize("what", CALLS)
def test_an_error_of_a_handler_at_any_moment(registry: Registry, registry_folder: Path, what: str) -> None:
    """It is neither translated nor swallowed, at whatever moment of a call it is raised; later calls work."""
    with sleepers(6) as processes:
        for number, process in enumerate(processes):
            registry.register(f"s{number}", process, capabilities={"c"})
        with Child(_raise_everywhere, registry_folder, what) as child:
            moments, descriptors = map(int, child.line(100).split())
    assert moments > 10
    assert descriptors < 40


def _raise_while_starting(folder: str, number: str) -> None:
    signal.signal(signal.SIGUSR1, _handler)
    with tempfile.TemporaryDirectory(dir=folder) as base:
        inside = Path(base) / "base" / "registry"
        try:
            raised = _raised_at(int(number), lambda: adsum.open(path=inside, timeout=10).register("mine"))
            adsum.open(path=inside, timeout=10).get_or_register("mine")
        finally:
            end_registrar(inside)
    print("raised" if raised else "over")


def test_an_error_of_a_handler_while_a_registrar_starts(registry_folder: Path) -> None:
    """So it is in the first call of a registry, which makes the folder and starts a registrar."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chosen = random.Random(seed).sample(range(300), 8)
    registry_folder.mkdir()
    for number in chosen:
        with Child(_raise_while_starting, registry_folder, number) as child:
            assert child.line(30) in ("raised", "over")
            assert child.wait() == 0


@pytest.mark.parametrize("kind", [adsum.Timeout, adsum.PermissionDenied, adsum.NotRegistered, adsum.ClusterUnavailable])
def test_an_error_of_adsums_own_is_not_foreign(kind: type[adsum.AdsumError]) -> None:
    """Also not one that is a `TimeoutError` or a `PermissionError`: code that goes on after it does so."""
    with pytest.raises(kind) as raised:
        raise kind("of adsum")
    assert not is_foreign(raised.value)
