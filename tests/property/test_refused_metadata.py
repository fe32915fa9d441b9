"""Whatever a caller gives as metadata, it is accepted or refused with a message in Python's words."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from adsum import InvalidMetadata
from adsum._validation import MetadataFields, parse_metadata

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.sampled_from([datetime.now(UTC).replace(tzinfo=None), datetime.now(UTC), datetime.now(UTC).date(), 1j, object])
)
_KEYS = st.text(max_size=3) | st.integers() | st.none()
_VALUES = st.recursive(
    _LEAVES,
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(_KEYS, part, max_size=3) | st.lists(part, max_size=3).map(tuple)
    ),
    max_leaves=6,
) | st.frozensets(_LEAVES, max_size=3)


@given(st.dictionaries(st.sampled_from([*MetadataFields.__struct_fields__, "colour"]), _VALUES, max_size=3))
def test_metadata_is_accepted_or_refused_in_pythons_words(fields: dict[str, object]) -> None:
    """The only error is `InvalidMetadata`; it begins with the path of a given field, and has no word of JSON."""
    try:
        parse_metadata(fields)
    except InvalidMetadata as error:
        said = str(error)
        path = re.match(r"metadata(?:\.(\w+))?", said)
        assert path is not None
        assert path[1] is None or path[1] in fields
        assert not re.search(r"`[^`]*\b(array|object|null)\b[^`]*`", said.replace("got `object`", ""))
