"""`adsum health` and `adsum unregister`."""

from __future__ import annotations

from pathlib import Path

import pytest

from adsum import Registry
from tests.support import kill_registrar, stopped

from .command import Command


@pytest.fixture(autouse=True)
def _planner(members: Registry) -> None:
    members.register("planner")


def test_health_sets_status_and_time(command: Command, members: Registry) -> None:
    """`health` replaces the health status and prints it; the time of the last check moves with it."""
    before = members["planner"].metadata.last_health_check
    assert command("health", "planner", "degraded") == (0, "default/here/planner is degraded\n", "")
    after = members["planner"].metadata
    assert after.health_status == "degraded"
    assert after.last_health_check > before


def test_health_as_json_is_the_new_entry(command: Command) -> None:
    """`health --json` prints the new entry."""
    assert command.document("health", "planner", "unhealthy")["metadata"]["health_status"] == "unhealthy"


def test_health_of_an_absent_id_fails(command: Command) -> None:
    """`health` of an id that is not registered has exit code 1, and advises commands."""
    code, out, err = command("health", "absent", "healthy")
    assert (code, out) == (1, "")
    assert "default/here/absent is not registered" in err
    assert "adsum ls" in err
    assert "adsum run absent -- COMMAND" in err


def test_advice_is_for_the_same_registry(command: Command) -> None:
    """The advised commands name the registry, if the command did, and quote the id where a shell needs it."""
    _, _, err = command("health", "no body", "healthy", "--name", "default")
    assert "adsum ls --name default" in err
    assert "adsum run 'no body' --name default -- COMMAND" in err


def test_unregister_removes_the_entry_once(command: Command, members: Registry) -> None:
    """`unregister` has exit code 0 where it removed an entry, 1 where there was none."""
    assert command("unregister", "planner") == (0, "default/here/planner is unregistered\n", "")
    assert members.lookup("planner") is None
    assert command("unregister", "planner") == (
        1,
        "",
        "adsum: nothing is registered under default/here/planner; adsum ls lists the members\n",
    )


def test_unregister_as_json(command: Command) -> None:
    """`unregister --json` prints whether an entry was removed, in both cases."""
    assert command.document("unregister", "planner") == {"id": "default/here/planner", "unregistered": True}
    assert command("unregister", "planner", "--json").code == 1
    assert command.document("unregister", "planner") == {"id": "default/here/planner", "unregistered": False}


def test_a_write_starts_the_registrar_it_needs(command: Command, members: Registry) -> None:
    """Without a registrar a write starts one, and a read does not."""
    kill_registrar(command.folder)
    assert command("ls").code == 0
    assert members.stats().registrar_pid is None
    assert command("health", "planner", "degraded").code == 0
    assert members.stats().registrar_pid is not None


def test_a_registrar_that_does_not_answer_is_a_registry_error(command: Command) -> None:
    """Where the registrar is stopped, a write gives up after --timeout with exit code 3 and one line."""
    with stopped(command.folder):
        code, out, err = command("health", "planner", "degraded", "--timeout", "0.2")
    assert (code, out) == (3, "")
    assert err.startswith("adsum: ")
    assert len(err.splitlines()) == 1


def test_a_folder_that_others_may_enter_is_a_registry_error(command: Command, tmp_path: Path) -> None:
    """A folder with the wrong mode is refused with exit code 3 and the command that corrects it."""
    tmp_path.chmod(0o755)
    code, out, err = command("ls", "--path", tmp_path)
    assert (code, out) == (3, "")
    assert f"chmod 700 '{tmp_path}'" in err
