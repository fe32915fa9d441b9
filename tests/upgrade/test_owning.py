"""Owned entries between this version and one that knows none, and is the same in everything else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import VersionMismatch, admin
from tests.support import Agent, Child, eventually, kill_registrar

from .conftest import _agents_of

OldAgent = Callable[[], Agent]
# What this version has, each with its replacement in the older one.
_ADDED = {
    "_wire.py": {"    | RegisterOwned\n": ""},
    "model.py": {
        "    owned_by: OwningMember | None = None\n": "    owned_by: ClassVar[None] = None\n",
        # What was appended since is behind it in each row.
        "    origin: Origin | None = None\n": "    origin: ClassVar[Origin | None] = None\n",
        "    fencing_token: int = 0\n": "    fencing_token: ClassVar[int] = 0\n",
        "from typing import ": "from typing import ClassVar, ",
    },
    "_engine/draft.py": {
        "            owned_by=owned_by,\n            fencing_token=token,\n        )": "        )",
        "        entry = msgspec.structs.replace(entry, owned_by=before.entry.owned_by)\n": "",
        "        entry = msgspec.structs.replace(entry, **kept, fencing_token=-abs(before.entry.fencing_token))\n": (
            "        entry = msgspec.structs.replace(entry, **kept)\n"
        ),
    },
}


@pytest.fixture
def agent_without_owners(registry_folder: Path, tmp_path: Path) -> Iterator[OldAgent]:
    """Starts processes of an adsum that knows no owned entries."""
    package = tmp_path / "older" / "adsum"
    shutil.copytree(Path(adsum.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, texts in _ADDED.items():
        text = (package / name).read_text()
        for added, older in texts.items():
            assert text.count(added) == 1, added
            text = text.replace(added, older)
        (package / name).write_text(text)
    yield from _agents_of(package.parent, registry_folder)


def test_an_older_registrar_refuses_owned_entries(agent_without_owners: OldAgent, registry_folder: Path) -> None:
    """A registrar that knows no owned entries refuses them in words, and registers nothing; it serves all else."""
    old = agent_without_owners()
    old.do("registry.register('planner')")
    with adsum.open(path=registry_folder, timeout=10) as registry:
        with pytest.raises(VersionMismatch, match=r"'register_owned'.*adsum registrar --replace"):
            registry.register("tool", owned_by="planner")
        assert "tool" not in registry
        registry.register("tool")
        assert registry["tool"].owned_by is None
        admin.replace_registrar(registry_folder, timeout=20)
        assert registry.register("other", owned_by="planner").entry.owned_by is not None


def test_an_older_registrar_takes_over(agent_without_owners: OldAgent, registry_folder: Path) -> None:
    """A registrar that knows no owned entries serves tables that have some; they end with their own process there, and
    one that it changes has no owner any more."""
    with adsum.open(path=registry_folder, timeout=10) as registry, Child("input()") as planner:
        registry.register("planner", planner.process)
        registry.register("changed", owned_by="planner")
        registry.register("kept", owned_by="planner")
        old = agent_without_owners()
        kill_registrar(registry_folder)
        old.do("registry.update('changed', endpoint='x')")
        assert registry["changed"].owned_by is None
        planner.kill()
        eventually(lambda: registry.stats().entries == 2)
        assert registry.audit() == []
        # The next registrar finds that the owner has died meanwhile.
        admin.replace_registrar(registry_folder, timeout=20)
        assert [id.local_id for id in registry] == ["changed"]


def test_an_older_client_reads_owned_entries(agent_without_owners: OldAgent, registry_folder: Path) -> None:
    """A client that knows no owned entries reads and updates one, which keeps its owner."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registry.register("planner")
        before = registry.register("tool", owned_by="planner").entry.owned_by
        old = agent_without_owners()
        assert old.value("registry['tool'].pid") == registry["tool"].pid
        old.do("registry.update('tool', endpoint='x')")
        assert registry["tool"].owned_by == before
