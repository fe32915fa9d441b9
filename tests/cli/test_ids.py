"""How ids are typed and shown."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from adsum import ProcessId
from adsum.cli.options import RegistryOptions

_WORDS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=10)
_LOCAL = st.text(st.sampled_from("ab/"), min_size=1, max_size=8)


@given(
    node=st.none() | _WORDS,
    namespace=st.none() | _WORDS,
    elsewhere=st.booleans(),
    local_id=_LOCAL | _WORDS,
    other=st.tuples(_WORDS, _WORDS),
)
def test_an_id_can_be_typed_as_it_is_shown(
    node: str | None, namespace: str | None, elsewhere: bool, local_id: str, other: tuple[str, str]
) -> None:
    """An id that a command shows is parsed as the same id with the same options; an id of another namespace or node
    without options."""
    folder = Path(tempfile.gettempdir()) / "adsum-never-made"
    place = RegistryOptions(path=folder, namespace=namespace, node=node)
    with place.open() as registry:
        process_id = ProcessId(registry.namespace, registry.node, local_id)
        if elsewhere:
            process_id = ProcessId(*other, local_id)
        shown = place.show_id(process_id, registry)
        if (process_id.namespace, process_id.node) == (registry.namespace, registry.node):
            assert place.parse_id(shown, registry) == process_id
        else:
            assert RegistryOptions(path=folder).parse_id(shown, registry) == process_id
    assert not folder.exists()
