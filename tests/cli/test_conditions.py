"""The options that select members by own data, alternatives, exclusions, prefix, process and namespace."""

from __future__ import annotations

import os

import pytest

from adsum import Registry

from .command import Command, until_it_waits


@pytest.fixture(autouse=True)
def _team(members: Registry) -> None:
    members.register_many(
        [
            ("w-1", {"resources": {"tokens": 1000}, "custom": {"model": "x", "s": {"done": 3}}, "capabilities": {"a"}}),
            ("w-2", {"resources": {"tokens": 999.5}, "custom": {"model": "y", "on": True}, "capabilities": {"a", "b"}}),
            ("p", {"resources": {"model": "x"}, "custom": {"tokens": "1000", "name": "two words"}}),
            (("elsewhere", "here", "w-9"), {"custom": {"model": "x"}}),
        ]
    )


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--where", "tokens>=1000 model=x"), ["w-1"]),
        (("--where", "tokens>=1000", "--where", "model=x"), ["w-1"]),
        (("--where", "model=x"), ["p", "w-1"]),
        (("--where", "custom.model=x"), ["w-1"]),
        (("--where", "resources.model=x"), ["p"]),
        (("--where", "tokens<1000"), ["w-2"]),
        (("--where", "tokens<=1000"), ["w-1", "w-2"]),
        (("--where", "tokens>999"), ["w-1", "w-2"]),
        (("--where", "tokens=1000"), ["p", "w-1"]),
        (("--where", "tokens=1000.0"), ["w-1"]),
        (("--where", "model!=x"), ["w-2"]),
        (("--where", "custom.model!=x"), ["p", "w-2"]),
        (("--where", "s.done=3"), ["w-1"]),
        (("--where", "custom.s.done>=4"), []),
        (("--where", "on=true"), ["w-2"]),
        (("--where", "on=1"), []),
        (("--where", "name='two words'"), ["p"]),
        (("--any-capability", "b", "--any-capability", "c"), ["w-2"]),
        (("--not-capability", "b"), ["p", "w-1"]),
        (("--id-prefix", "w-"), ["w-1", "w-2"]),
        (("--id-prefix", "w-", "-c", "b"), ["w-2"]),
        (("--pid", "OWN"), ["p", "w-1", "w-2"]),
        (("--pid", "1"), []),
        (("--all-namespaces", "--where", "custom.model=x"), ["w-1", "w-9"]),
        (("-A",), ["p", "w-1", "w-2", "w-9"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_ls_lists_what_matches(command: Command, options: tuple[str, ...], ids: list[str]) -> None:
    """`ls` lists the members that meet all conditions."""
    # The workers of a parallel run must agree on the names of the tests.
    found = command.document("ls", *[option.replace("OWN", str(os.getpid())) for option in options])
    assert sorted(one["process_id"]["local_id"] for one in found) == ids


def test_other_namespaces_have_whole_ids(command: Command) -> None:
    """With --all-namespaces an id of another namespace is written whole, so that other commands take it."""
    out = command("ls", "-A", "--id-prefix", "w-9").out
    assert out.splitlines()[1].split()[0] == "elsewhere/here/w-9"


def test_wait_and_watch_take_them(command: Command, members: Registry) -> None:
    """`wait` and `watch` take the same options, with an ID too."""
    assert command.document("wait", "w-1", "--where", "model=x")["id"] == "default/here/w-1"
    assert len(command.document("wait", "--where", "model=x", "--count", "2")) == 2
    late = command("wait", "w-1", "--where", "model=y", "--timeout", "0.01")
    assert (late.code, late.out) == (1, "")
    with command.start("watch", "w-1", "--where", "tokens>=2000", "--since", "0", "--json") as watching:
        members.update("w-2", add={"resources.tokens": 5000})
        members.update("w-1", add={"resources.tokens": 5000})
        line = watching.line()
    assert '"kind":"registered"' in line
    assert '"id":"default/here/w-1"' in line


def test_wait_until_gone(command: Command, members: Registry) -> None:
    """`wait --gone` ends when the registration has ended, and says whether there was one."""
    assert command("wait", "--gone", "nobody") == (0, "default/here/nobody is not registered\n", "")
    late = command("wait", "w-1", "--gone", "--timeout", "0.01")
    assert (late.code, late.out) == (1, "")
    assert "was still registered, it did not end within 0.01 s; wait longer with --timeout" in late.err
    entry = members["w-1"]
    with command.start("wait", "--gone", "w-1", "--json") as waiting:
        until_it_waits(waiting)
        members.unregister("w-1")
        assert waiting.wait() == 0
        out, _ = waiting.process.communicate()
    assert f'"incarnation":{entry.incarnation}' in out.decode().replace(" ", "")
