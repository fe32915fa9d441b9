"""Identifiers for generated ids: different members have different ones, and each leads back."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from adsum import ProcessId, cards

part = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
ids = st.builds(ProcessId, part, part, part)


@given(ids)
def test_an_identifier_leads_back_to_its_member(process_id: ProcessId) -> None:
    """Any id has an identifier of the form of ARD, from which the id comes back; so no two ids share one."""
    name = cards.identifier(process_id, "mcp", "example.com")
    assert re.fullmatch(r"urn:air:[a-zA-Z0-9.-]+(:[a-zA-Z0-9._-]+)+", name)
    assert cards.process_id(name, "example.com") == (process_id, "mcp")


@given(st.text("abAB_.:-0123456789EF", max_size=30))
def test_a_member_has_one_identifier(text: str) -> None:
    """Where a text leads to a member, it is that member's identifier and no other spelling of it."""
    name = f"urn:air:example.com:{text}:a2a"
    found = cards.process_id(name, "example.com")
    assert found is None or cards.identifier(found[0], found[1], "example.com") == name
