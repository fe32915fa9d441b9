"""The fixtures that pytest offers wherever adsum is installed: a registry of its own for a test, members that can be
killed, and waiting with a bound.

pytest imports this module at its start, in every project of an environment. So it does little: what the fixtures need,
`adsum.testing` with all of adsum, is imported when a test first asks for one. ``-p no:adsum`` leaves them out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .registry import Registry
    from .testing import Eventually, MemberFactory


class _InstalledFinder:
    """Finds the modules of adsum before pytest does, which would compile all of them anew to rewrite their assertions,
    as those of any distribution with a plugin. They have none, and it takes half a second."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, path, target) if name.startswith("adsum.") else None


def pytest_configure() -> None:
    sys.meta_path.insert(0, _InstalledFinder)


def pytest_unconfigure() -> None:
    if _InstalledFinder in sys.meta_path:
        sys.meta_path.remove(_InstalledFinder)


@pytest.fixture
def adsum_dir() -> Iterator[Path]:
    """A new folder of registries: ADSUM_DIR for the test and for the processes that it starts. At the end all
    registrars in it are stopped, and the test fails where a registrar or a member in it is left."""
    from .testing.scratch_folder import ScratchFolder

    with pytest.MonkeyPatch.context() as patch:
        # The processes of a test belong to it, and to no cluster or node that a shell has chosen.
        for name in ("ADSUM_NODE", "ADSUM_CLUSTER"):
            patch.delenv(name, raising=False)
        scratch = ScratchFolder()
        patch.setenv("ADSUM_DIR", str(scratch.folder))
        try:
            yield scratch.folder
        finally:
            left = scratch.remove()
        if left:
            pytest.fail(left, pytrace=False)


@pytest.fixture
def adsum_registry(adsum_dir: Path) -> Iterator[Registry]:
    """The default registry of `adsum_dir`. Its writes, and by default those of all its processes, may take as long as
    on a very busy machine."""
    from .testing.scratch_folder import open_patiently

    with open_patiently(adsum_dir) as registry:
        yield registry


@pytest.fixture
def adsum_member(adsum_registry: Registry) -> Iterator[MemberFactory]:
    """Starts a process that registers itself in `adsum_registry`: ``adsum_member("worker-1", capabilities={"x"})``. All
    are ended with the test."""
    from .testing.member import MemberFactory

    with MemberFactory(adsum_registry) as factory:
        yield factory


@pytest.fixture
def eventually(request: pytest.FixtureRequest) -> Eventually:
    """Waits until a condition holds, with a bound: ``eventually(lambda: adsum_registry.count() == 2)``."""
    from .testing.polling import Eventually

    # Of a test that has one. None is started for this.
    has_registry = "adsum_registry" in request.fixturenames
    return Eventually(lambda: request.getfixturevalue("adsum_registry") if has_registry else None)
