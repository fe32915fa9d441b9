"""Names of members in documents; in addresses they are those of `adsum.views.paths`."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from ..model import ProcessId
from ..views.paths import member_path as member_path
from ..views.paths import unescaped as unescaped


@lru_cache(65536)
def row_key(process_id: ProcessId) -> str:
    """The name of the row of a member in a document: short, and safe in every place."""
    return "m" + hashlib.blake2s("\0".join(process_id).encode(), digest_size=9).hexdigest()
