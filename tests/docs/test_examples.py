"""Every public call has one example in its docstring, and the example is true."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import telemetry
from adsum.telemetry import _dispatch

from .examples import Documented, documented, names_for, run

ALL = documented()


@pytest.fixture
def home(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a user's registries, of which the default one is empty and as patient as tests are."""
    home = registry_folder.parent
    monkeypatch.setenv("ADSUM_DIR", str(home))
    monkeypatch.setenv("ADSUM_NODE", "here")
    with adsum.open(limits=adsum.Limits(registration_timeout=10)) as registry:
        # The first write makes the registry, with these limits; it changes nothing.
        registry.unregister("nothing")
    yield home
    for attached in list(_dispatch._attached):
        telemetry.detach(attached.handler)


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_an_example_is_true(one: Documented, home: Path) -> None:
    """The example of a docstring works in an empty registry, and prints what it shows."""
    names = names_for(one, adsum.open_async() if one.is_async else adsum.open())
    with asyncio.Runner() as runner, names.get("adsum_member", contextlib.nullcontext()):
        try:
            run(one, names, runner)
        finally:
            for value in list(names.values()):
                if isinstance(value, adsum.Registry):
                    value.close()
                elif isinstance(value, adsum.AsyncRegistry):
                    runner.run(value.close())


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_every_public_call_has_an_example(one: Documented) -> None:
    """Each public function, record, class, method and property shows how it is used."""
    assert ">>> " in one.text, f"{one.name} has no example in its docstring"


def test_every_name_of_the_package_is_found() -> None:
    """Each name in ``__all__`` is shown by an example of its own, errors aside: the calls that raise them show them."""
    errors = {name for name in adsum.__all__ if name in vars(adsum.errors)}
    assert {*adsum.__all__, "open"} - errors <= {one.name for one in ALL}
    assert all(issubclass(getattr(adsum, name), adsum.AdsumError) for name in errors)


def test_the_public_calls_are_found() -> None:
    """The list is made of the classes, so a new method is on it; some that must be."""
    names = {one.name for one in ALL}
    assert {
        "adsum",
        "Registry.register",
        "Registry.lookup",
        "Registration.process_id",
        "AsyncRegistry.stand_by",
        "AsyncRegistration.hand_over",
        "Watch.next",
        "AsyncWatch.next",
        "OwningMember.owner",
        "admin.serve",
        "telemetry.prometheus.Collector.collect",
        "testing.Member.kill",
        "views.mirror.Mirror.follow",
    } <= names
    assert not names & {"AsyncRegistry.lookup", "Registry.keys"}
