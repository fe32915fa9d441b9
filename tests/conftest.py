"""Fixtures for all tests: a private registry folder, a registry in it, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings

import adsum
from adsum import Registry

from .support import Awaited, Opener, end_registrar
from .support.leaks import check_nothing_leaked, held

# pytest's own temporary folders stay inside the clone; pytest numbers the runs and removes old ones.
_TEMPORARY = Path(__file__).resolve().parents[1] / ".pytest"
_TEMPORARY.mkdir(exist_ok=True)
(_TEMPORARY / ".gitignore").write_text("*\n")
os.environ["PYTEST_DEBUG_TEMPROOT"] = str(_TEMPORARY)

# No test depends on a clock, and a busy machine is no finding. An ordinary run tries the same examples each time;
# the soak looks for new ones.
settings.register_profile("adsum", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("adsum")

# A shell's background jobs, and nohup(1), begin with these ignored, and every child would inherit that.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _temporary_files() -> Iterator[None]:
    """Files that killed programs leave among the temporary files, such as the sockets of `multiprocessing`, are removed
    when the tests end."""
    with tempfile.TemporaryDirectory(prefix="adsum-tests-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves descriptors, threads of adsum or child processes."""
    before = held()
    yield
    # pytest keeps the test's arguments until after this check; objects that only they hold are not leaks.
    (request.node.funcargs or {}).clear()
    check_nothing_leaked(before)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables that configure adsum, set in the shell that runs the tests, do not reach them."""
    ours = [name for name in os.environ if name.startswith("ADSUM_") and name != "ADSUM_ETCD"]
    for name in (*ours, "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def registry_folder() -> Iterator[Path]:
    """The folder of this test's registry in shared memory, not made yet. It and its registrar are removed at the end.

    The folder is in a private one, so that a test can make neighbours (``registry_folder.with_name(...)``); the
    registrars of those are ended too.
    """
    base = Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm"))
    try:
        yield base / "registry"
    finally:
        for lock in base.rglob("lock"):
            end_registrar(lock.parent)
        shutil.rmtree(base)


@pytest.fixture
def registry(registry_folder: Path) -> Iterator[Registry]:
    """A registry in a folder of its own."""
    with adsum.open(path=registry_folder, timeout=10) as opened:
        yield opened


@pytest.fixture(params=["sync", "async"])
def opener(request: pytest.FixtureRequest, registry_folder: Path) -> Iterator[Opener]:
    """Opens registries in `registry_folder` (or where the arguments say), of one kind; they are closed at the end.

    An `AsyncRegistry` is wrapped so that its writes are awaited at once; see `AwaitedState`.
    """
    opened: list[Registry] = []
    runner = asyncio.Runner()

    def open_one(**arguments: Any) -> Registry:
        arguments = {"path": registry_folder, "timeout": 10, **arguments}
        if request.param == "sync":
            opened.append(adsum.open(**arguments))
        else:
            opened.append(cast(Registry, Awaited(adsum.open_async(**arguments), runner)))
        return opened[-1]

    with runner:
        yield open_one
        for one in opened:
            one.close()


@pytest.fixture
def either(opener: Opener) -> Registry:
    """A `Registry` and, in a second run of the test, an `AsyncRegistry`."""
    return opener()
