"""The page of the command line shows every command's help, as it is."""

from __future__ import annotations

import pytest

from adsum.cli.app import build

from .command_help import PAGE, SHOWN, help_of

SHOWN_HELP = {shown["command"]: shown["text"] for shown in SHOWN.finditer(PAGE.read_text())}
COMMANDS = [name for name in build([]) if not name.startswith("-")]


def test_every_command_is_on_the_page() -> None:
    """The page has the help of each command, and of no other."""
    assert set(SHOWN_HELP) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_shows_the_help(command: str) -> None:
    """What the page shows is what ``--help`` prints. To renew it: python -m tests.docs.command_help"""
    assert SHOWN_HELP[command] == help_of(command), "renew it: python -m tests.docs.command_help"
