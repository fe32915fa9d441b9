"""How much memory do entries take, against what they say (P4), and how much do the registrar and a reader?

What they say is the bytes of each id and of its encoded record, metadata included. Memory in use is the table pages in
use; the file can be larger by the pages that the last commits freed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import adsum
from adsum._store.layout import encode, key_of
from harness import Row, fresh_registry, save, show

SHAPES: dict[str, Any] = {
    "bare": lambda n: {},
    "small: 2 capabilities, endpoint": lambda n: {
        "capabilities": {f"skill-{n % 100}", "worker"},
        "endpoint": f"http://127.0.0.1:{9000 + n % 1000}",
    },
    "large: 8 capabilities, 1 KB of custom data": lambda n: {
        "capabilities": {f"skill-{(n + k) % 100}" for k in range(8)},
        "endpoint": f"http://127.0.0.1:{9000 + n % 1000}",
        "custom": {"notes": "x" * 1000},
    },
}


def measure(shape: str, entries: int) -> Row:
    order = list(range(entries))
    random.Random(3).shuffle(order)
    with fresh_registry(max_memory_bytes=2 << 30) as registry:
        for first in range(0, entries, 200):
            registry.register_many([(f"agent-{n:07}", SHAPES[shape](n)) for n in order[first : first + 200]])
        said = sum(len(key_of(entry.process_id)) + len(encode(entry)) for entry in registry.list_all())
        stats = registry.stats()
        file = sum(place.stat().st_blocks * 512 for place in Path(registry.folder).glob("tables.*/data.mdb"))
        return {
            "entries of": shape,
            "number": entries,
            "bytes each says": round(said / entries),
            "bytes in use each": round(stats.bytes_used / entries),
            "factor in use (P4)": stats.bytes_used / said,
            "factor of the file": file / said,
            "registrar MB": _resident(stats.registrar_pid or 0),
        }


def _resident(pid: int) -> float:
    """Private memory in MB: resident pages less those of mapped files, which the tables are (proc(5), statm)."""
    _, resident, shared, *_ = (int(word) for word in Path(f"/proc/{pid}/statm").read_text().split())
    return (resident - shared) * os.sysconf("SC_PAGESIZE") / 1e6


def small_registrar() -> Row:
    with fresh_registry() as registry:
        registry.register("only")
        pid = registry.stats().registrar_pid or 0
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
        return {"registrar of a small registry": "resident MB", "all of it": resident, "private": _resident(pid)}


def main(entries: int = 20_000) -> Row:
    rows = [measure(shape, entries) for shape in SHAPES]
    show("memory", rows)
    small = small_registrar()
    show("a small registry's registrar", [small])
    results: Row = {"rows": rows, "registrar": small, "adsum": adsum.__version__}
    save("memory", results)
    return results


if __name__ == "__main__":
    main()
