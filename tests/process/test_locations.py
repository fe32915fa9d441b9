"""The default location of a user's registries, in the environments in which one user's processes run."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import NotRegistered, Registry, Timeout
from adsum._store import locations
from tests.support import Opener, end_registrar, kill_registrar
from tests.support.children import ROOT

_HOME = {"HOME": "/", "PATH": os.defpath, "SHELL": "/bin/sh", "LOGNAME": "user"}
ENVIRONMENTS = {
    "login shell": {**_HOME, "USER": "user", "XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}", "XDG_SESSION_ID": "1"},
    "runtime folder of another kind": {**_HOME, "XDG_RUNTIME_DIR": "{existing}"},
    "cron": _HOME,
    "su keeps the variables of another user": {**_HOME, "USER": "other", "XDG_RUNTIME_DIR": "/run/user/54321"},
    "system service": {"PATH": os.defpath},
    "no environment": {},
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_one_default_place_in_every_environment(environment: str, tmp_path: Path) -> None:
    """A user has one default registry, whether a login shell, cron, su or a service starts the process."""
    variables = {name: value.format(existing=tmp_path) for name, value in ENVIRONMENTS[environment].items()}
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    code = "import adsum; print(adsum.open('never-made').folder)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**variables, "PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"/dev/shm/adsum-{os.geteuid()}/never-made\n"


@pytest.fixture
def two_places(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two default locations of this test's own, the better one first."""
    first, second = registry_folder.with_name("first"), registry_folder.with_name("second")
    monkeypatch.setattr(locations, "DEFAULT_LOCATIONS", (str(first), str(second)))
    return first, second


def test_a_living_registry_wins_over_an_empty_place(two_places: tuple[Path, Path]) -> None:
    """A registry that lives in the second default location is opened, with a registrar and, once that was killed, for
    its entries; once nothing lives there, the first location is the default again."""
    first, second = two_places
    with adsum.open(path=second / "default", timeout=10) as there:
        registration = there.register("a")
        with adsum.open() as opened:
            assert opened.folder == second / "default"
            assert "a" in opened
        kill_registrar(second / "default")
        with adsum.open() as opened:
            assert opened.folder == second / "default"
        registration.unregister()
        end_registrar(second / "default")
    with adsum.open() as opened:
        assert opened.folder == first / "default"


def test_two_living_registries(two_places: tuple[Path, Path]) -> None:
    """Of two living registries the one in the better location is opened, and the other one can be found."""
    first, second = two_places
    for location in (second, first):
        with adsum.open(path=location / "default", timeout=10) as there:
            there.register("a")
    with adsum.open() as opened:
        assert opened.folder == first / "default"
        assert adsum.admin.other_registries(opened.folder) == [second / "default"]


def test_a_chosen_place_has_no_other(two_places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With `$ADSUM_DIR` or a path the user has chosen: no other location wins or is reported."""
    first, second = two_places
    with adsum.open(path=second / "default", timeout=10) as there:
        there.register("a")
    monkeypatch.setenv("ADSUM_DIR", str(first))
    with adsum.open() as opened:
        assert opened.folder == first / "default"
        assert adsum.admin.other_registries(opened.folder) == []


def test_a_place_that_cannot_be_used(two_places: tuple[Path, Path]) -> None:
    """Where the folder of the first default location does not exist, the second one is the default."""
    first, second = two_places
    locations.DEFAULT_LOCATIONS = (str(first / "absent" / "adsum"), str(second))
    assert adsum.admin.base_folder() == second


@pytest.fixture
def own_name() -> Iterator[str]:
    """The name of a registry of this test's own in the real default location."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    folder = Path(f"/dev/shm/adsum-{os.geteuid()}") / name
    end_registrar(folder)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_cron_finds_what_a_login_shell_registered(own_name: str) -> None:
    """A process without environment variables finds the member that a process of a login session registered, and
    continues to find it after the logout has removed the session's folder."""
    with adsum.open(own_name, timeout=10) as registry:
        registry.register("a")
        code = f"import adsum; print('a' in adsum.open({own_name!r}))"
        paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": paths}, capture_output=True, text=True, check=True
        )
    assert done.stdout == "True\n"


MISSING: list[tuple[str, Callable[[Registry], object]]] = [
    ("[]", lambda registry: registry["x"]),
    ("usage", lambda registry: registry.usage("x")),
    ("follow", lambda registry: registry.follow()["x"]),
    ("update", lambda registry: registry.update("x", endpoint="e")),
    ("update_health", lambda registry: registry.update_health("x", "healthy")),
    ("update_many", lambda registry: registry.update_many([("x", {"endpoint": "e"})])),
    ("heartbeat", lambda registry: registry.heartbeat("x")),
    ("register owned", lambda registry: registry.register("a", owned_by="x")),
    ("claim an id", lambda registry: registry.claim("x", timeout=5)),
    ("claim", lambda registry: registry.claim(capability="x", timeout=0.1)),
    ("try to claim", lambda registry: registry.claim(capability="x", timeout=0)),
    ("wait_for", lambda registry: registry.wait_for("x", 0.1)),
    ("wait_for a team", lambda registry: registry.wait_for(count=9, timeout=0.1)),
]


@pytest.mark.parametrize("call", [call for _, call in MISSING], ids=[name for name, _ in MISSING])
def test_errors_name_the_other_registry(
    two_places: tuple[Path, Path], opener: Opener, call: Callable[[Registry], object]
) -> None:
    """Where two registries of one name live, the error of a call that did not find a member names the other one; not
    where a path has chosen the registry."""
    first, second = two_places
    for location in (second, first):
        opener(path=location / "default").register("a-member")
    said = f"; another registry of this name lives in {second}/default; ADSUM_DIR={second} chooses it"
    with pytest.raises((NotRegistered, Timeout)) as caught:
        call(opener(path=None))
    assert str(caught.value).endswith(said)
    assert str(caught.value).count(said) == 1
    with pytest.raises((NotRegistered, Timeout)) as caught:
        call(opener(path=first / "default"))
    assert "another registry" not in str(caught.value)
