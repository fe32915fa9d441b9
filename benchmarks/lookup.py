"""How long does a lookup take in a process that owns nothing, and what does the size of the registry do to it?

The entries belong to eight other processes, so every lookup asks the kernel whether an owner lives. Ids are drawn at
random over the whole registry (cold and warm), or from a thousand favourites, on a quiet registry and while another
process writes. Peers in the same run: a dict, SQLite in WAL mode, a dict behind a `multiprocessing` manager.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sqlite3
from contextlib import ExitStack
from pathlib import Path

from harness import Row, fresh_registry, microseconds, save, show, timed
from processes import OWNER, Script

OWNERS = 8
LOOKUPS = 100_000
WRITER = """
import sys, adsum, time
registry = adsum.open(path=sys.argv[1], timeout=60)
registry.register("writer")
print("ready", flush=True)
n = 0
while True:
    registry.update(f"agent-{n % int(sys.argv[2]):07}", custom={"n": n}); n += 1; time.sleep(0.001)
"""


def measure(entries: int) -> list[Row]:
    chance = random.Random(1)
    rows: list[Row] = []
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry(max_memory_bytes=2 << 30))
        path = str(registry.folder)
        share = -(-entries // OWNERS)
        owners = [
            stack.enter_context(Script(OWNER, path, str(n * share), str(min(entries, (n + 1) * share)), str(entries)))
            for n in range(OWNERS)
        ]
        for owner in owners:
            owner.line()
        if len(registry) != entries:
            raise RuntimeError(f"{len(registry)} entries instead of {entries}")
        everywhere = [f"agent-{chance.randrange(entries):07}" for _ in range(LOOKUPS)]
        favourites = [f"agent-{chance.randrange(1000):07}" for _ in range(LOOKUPS)]
        first = timed(registry.lookup, everywhere)
        rows.append({"lookup": "any id, first time seen or not", "entries": entries, **microseconds(first)})
        rows.append({"lookup": "any id, again", "entries": entries, **microseconds(timed(registry.lookup, everywhere))})
        timed(registry.lookup, favourites)
        rows.append(
            {"lookup": "1,000 favourites", "entries": entries, **microseconds(timed(registry.lookup, favourites))}
        )
        absent = timed(registry.lookup, [f"nobody-{n}" for n in range(20_000)])
        rows.append({"lookup": "absent ids", "entries": entries, **microseconds(absent)})
        writer = stack.enter_context(Script(WRITER, path, str(entries)))
        writer.line()
        rows.append(
            {
                "lookup": "1,000 favourites, 1,000 writes/s",
                "entries": entries,
                **microseconds(timed(registry.lookup, favourites)),
            }
        )
    return rows


def peers(entries: int) -> list[Row]:
    chance = random.Random(2)
    ids = [f"agent-{chance.randrange(entries):07}" for _ in range(20_000)]
    plain = {f"agent-{n:07}": json.dumps({"endpoint": n}) for n in range(entries)}
    rows: list[Row] = [
        {"lookup": "peer: dict in this process", "entries": entries, **microseconds(timed(plain.get, ids))}
    ]
    with fresh_registry() as registry:
        registry.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = sqlite3.connect(Path(registry.folder).parent / "peer.sqlite")
        database.execute("pragma journal_mode=wal")
        database.execute("create table entries (id text primary key, value text) without rowid")
        database.executemany("insert into entries values (?, ?)", plain.items())
        database.commit()

        def select(name: str) -> object:
            return database.execute("select value from entries where id = ?", (name,)).fetchone()

        rows.append({"lookup": "peer: SQLite (WAL, memory)", "entries": entries, **microseconds(timed(select, ids))})
        database.close()
    with multiprocessing.get_context("spawn").Manager() as manager:
        shared = manager.dict(plain)
        rows.append(
            {
                "lookup": "peer: multiprocessing manager",
                "entries": entries,
                **microseconds(timed(shared.get, ids[:5000])),
            }
        )
    return rows


def main(sizes: tuple[int, ...] = (10_000, 100_000)) -> Row:
    rows = [row for entries in sizes for row in measure(entries)]
    show("lookup by a process that owns nothing, microseconds", rows)
    others = peers(sizes[0])
    show("peers: what they read is not checked for life", others)
    warm = [row["p50"] for row in rows if row["lookup"] == "any id, again"]
    ratio = warm[-1] / warm[0]
    print(f"\n  {sizes[-1]:,} against {sizes[0]:,} entries, any id: {ratio:.2f} times the time")
    results: Row = {"rows": rows, "peers": others, "ratio_any_id": ratio}
    save("lookup", results)
    return results


if __name__ == "__main__":
    main()
