"""The registry under generated histories. See `machine` for what can happen and `play` for what is checked."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import RegistryMachine
from .machines import FullRegistryMachine, SmallRegistryMachine

QUICK = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
# A history that fails is shrunk before it is shown, which takes longer than finding it.
pytestmark = pytest.mark.timeout(600)
LONG = settings(QUICK, max_examples=6_000, stateful_step_count=80, derandomize=False)


def test_every_history_keeps_the_invariants_and_answers_as_promised() -> None:
    """After any history of requests, deaths, crashes and clock changes the tables are sound, hold what the replies
    said, and nothing else."""
    run_state_machine_as_test(RegistryMachine, settings=QUICK)


def test_a_full_registry_keeps_its_limit_and_lets_go_on_what_needs_no_room() -> None:
    """A registry at its memory limit refuses what asks for room, carries out everything else, stays below the limit,
    and takes on members again as soon as others have gone."""
    run_state_machine_as_test(FullRegistryMachine, settings=settings(QUICK, max_examples=40))


def test_a_small_registry_keeps_its_limits_on_entries_and_metadata() -> None:
    """A registry never holds more members, or says more of one, than its limits admit, whatever is asked in whatever
    order."""
    run_state_machine_as_test(SmallRegistryMachine, settings=settings(QUICK, max_examples=50))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [RegistryMachine, FullRegistryMachine, SmallRegistryMachine])
def test_thousands_of_histories_keep_the_invariants_and_answer_as_promised(machine: type[RegistryMachine]) -> None:
    """As above, for longer histories and many more of them."""
    run_state_machine_as_test(machine, settings=LONG)
