"""Does a registry of a million entries load and answer?"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

from harness import Row, fresh_registry, microseconds, save, show, timed
from processes import OWNER, Script

ENTRIES = 1_000_000
OWNERS = 2


def main() -> Row:
    chance = random.Random(4)
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry(max_memory_bytes=4 << 30))
        # Who writes first makes the registry, with its limits.
        registry.register("first").unregister()
        begin = time.perf_counter()
        share = ENTRIES // OWNERS
        owners = [
            stack.enter_context(Script(OWNER, str(registry.folder), str(n * share), str((n + 1) * share), str(ENTRIES)))
            for n in range(OWNERS)
        ]
        for owner in owners:
            owner.line()
        loaded = time.perf_counter() - begin
        ids = [f"agent-{chance.randrange(ENTRIES):07}" for _ in range(100_000)]
        rows: list[Row] = [
            {"call": "lookup, any id", **microseconds(timed(registry.lookup, ids))},
            {"call": "lookup, 1,000 favourites", **microseconds(timed(registry.lookup, ids[:1000] * 50))},
            {"call": "find, 1,000 matches", **microseconds(timed(registry.find_by_capability, ["skill-7"] * 100))},
            {"call": "register", **microseconds(timed(lambda n: registry.register(f"new-{n}"), list(range(2000))))},
        ]
        counted = time.perf_counter()
        total = len(registry)
        counted = time.perf_counter() - counted
        stats = registry.stats()
        if total != ENTRIES + 2000:
            raise RuntimeError(f"{total} entries")
        rows_load = [
            {
                "entries": ENTRIES,
                "loaded in s": loaded,
                "entries/s": int(ENTRIES / loaded),
                "len() in ms": counted * 1000,
                "MB in use": stats.bytes_used / 1e6,
            }
        ]
    show("a million entries", rows_load)
    show("and its answers, microseconds", rows)
    results: Row = {"load": rows_load, "rows": rows}
    save("large", results)
    return results


if __name__ == "__main__":
    main()
