"""Claims between this version and one that knows none, and is the same in everything else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import VersionMismatch, admin
from tests.support import Agent, kill_registrar

from .conftest import _agents_of, with_class_variables

OldAgent = Callable[[], Agent]
# Kinds of requests and fields that this version has, each with its replacement in the older one.
_ADDED = {
    "_wire.py": {"    | Claim\n": "", "    | Release\n": ""},
    "_validation.py": {
        "    slots: int | Unset | None = UNSET\n": "    slots: ClassVar[object] = UNSET\n",
        # What was appended since is behind it in each row.
        "    description: str | Unset = UNSET\n": "    description: ClassVar[object] = UNSET\n",
        "    version: str | Unset = UNSET\n": "    version: ClassVar[object] = UNSET\n",
        "    protocols: frozenset[str] | Unset = UNSET\n": "    protocols: ClassVar[object] = UNSET\n",
        "    doing: str | Unset = UNSET\n": "    doing: ClassVar[object] = UNSET\n",
    },
    "model.py": {
        "    slots: int | None = None\n": "    slots: ClassVar[object] = None\n",
        '    description: str = ""\n': '    description: ClassVar[str] = ""\n',
        '    version: str = ""\n': '    version: ClassVar[str] = ""\n',
        "    protocols: frozenset[str] = EMPTY_SET\n": "    protocols: ClassVar[frozenset[str]] = EMPTY_SET\n",
        '    doing: str = ""\n': '    doing: ClassVar[str] = ""\n',
        "        if not self.protocols:\n": "        if False:\n",
        "    claims: tuple[ClaimRecord, ...] = ()\n": "    claims: ClassVar[object] = ()\n",
        "    owned_by: OwningMember | None = None\n": "    owned_by: ClassVar[object] = None\n",
        # What was appended since is behind it in each row.
        "    origin: Origin | None = None\n": "    origin: ClassVar[Origin | None] = None\n",
        "    fencing_token: int = 0\n": "    fencing_token: ClassVar[int] = 0\n",
    },
    "_engine/draft.py": {
        ', "claims": before.entry.claims': "",
        ", claims=()": "",
        "            owned_by=owned_by,\n            fencing_token=token,\n        )": "        )",
        "        entry = msgspec.structs.replace(entry, owned_by=before.entry.owned_by)\n": "",
        "        entry = msgspec.structs.replace(entry, **kept, fencing_token=-abs(before.entry.fencing_token))\n": (
            "        entry = msgspec.structs.replace(entry, **kept)\n"
        ),
    },
}


@pytest.fixture
def agent_without_claims(registry_folder: Path, tmp_path: Path) -> Iterator[OldAgent]:
    """Starts processes of an adsum that knows no claims, and neither of the fields that they need."""
    package = tmp_path / "older" / "adsum"
    shutil.copytree(Path(adsum.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, texts in _ADDED.items():
        text = (package / name).read_text()
        for added, older in texts.items():
            assert added in text, added
            text = text.replace(added, older)
        text = with_class_variables(text)
        (package / name).write_text(text)
    yield from _agents_of(package.parent, registry_folder)


def test_an_older_registrar_refuses_claims(agent_without_claims: OldAgent, registry_folder: Path) -> None:
    """A registrar that knows no claims refuses them in words, and slots likewise; it serves everything else, and once
    it is replaced a claim succeeds."""
    old = agent_without_claims()
    old.do("registry.register('w')")
    with adsum.open(path=registry_folder, timeout=10) as registry:
        with pytest.raises(VersionMismatch, match=r"does not know the request 'claim'.*adsum registrar --replace"):
            registry.claim("w")
        with pytest.raises(adsum.InvalidMetadata, match=r"slots: this registrar does not know"):
            registry.register("v", slots=2)
        registry.register("v")
        assert registry["w"].claims == ()
        admin.replace_registrar(registry_folder, timeout=20)
        with registry.claim("w"):
            assert len(registry["w"].claims) == 1


def test_an_older_client_goes_on(agent_without_claims: OldAgent, registry_folder: Path) -> None:
    """A client that knows no claims reads and updates a member that is claimed, and the claim stays."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registry.register("w", slots=2)
        old = agent_without_claims()
        with registry.claim("w") as claim:
            assert old.value("registry['w'].pid") == registry["w"].pid
            old.do("registry.update('w', endpoint='x')")
            assert [record.number for record in registry["w"].claims] == [claim.number]
            assert registry["w"].metadata.slots == 2


def test_an_older_registrar_takes_over(agent_without_claims: OldAgent, registry_folder: Path) -> None:
    """A registrar that knows no claims serves tables with claims; an entry that it changes has none any more."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registry.register("w", slots=2)
        registry.register("v")
        old = agent_without_claims()
        with registry.claim("w"), registry.claim("v") as kept:
            kill_registrar(registry_folder)
            old.do("registry.update('w', endpoint='x')")
            assert not registry["w"].claims
            assert [record.number for record in registry["v"].claims] == [kept.number]
            admin.replace_registrar(registry_folder, timeout=20)
            assert len(registry["v"].claims) == 1
        assert not registry["v"].claims
