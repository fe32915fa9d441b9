"""How long does a registration take, and how many do eight processes get through together?"""

from __future__ import annotations

import time
from contextlib import ExitStack

from harness import Row, fill, fresh_registry, microseconds, save, show, timed
from processes import Script

PROCESSES = 8
EACH = 5_000
WRITER = """
import sys, adsum
from collections import deque
registry = adsum.open(path=sys.argv[1], timeout=60)
me, n, window = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
registry.register(f"warm-{me}")
registry.register_nowait(f"warm-nowait-{me}").result()
print("ready", flush=True)
sys.stdin.readline()
under_way = deque()
for i in range(n):
    if window == 1:
        registry.register(f"p{me}-{i}", capabilities={f"skill-{i % 100}", "worker"})
        continue
    if len(under_way) == window:
        under_way.popleft().result()
    under_way.append(registry.register_nowait(f"p{me}-{i}", capabilities={f"skill-{i % 100}", "worker"}))
for future in under_way: future.result()
print("done", flush=True)
sys.stdin.readline()
"""


def one_process(entries: int) -> list[Row]:
    rows: list[Row] = []
    with fresh_registry(max_memory_bytes=2 << 30) as registry:
        fill(registry, entries)
        numbers = list(range(5_000))
        rows.append(
            {
                "call": "register, two capabilities",
                "entries": entries,
                **microseconds(timed(lambda n: registry.register(f"new-{n}", capabilities={"a", "b"}), numbers)),
            }
        )
        rows.append(
            {
                "call": "update_health",
                "entries": entries,
                **microseconds(timed(lambda n: registry.update_health(f"new-{n}", "degraded"), numbers)),
            }
        )
        rows.append(
            {
                "call": "unregister",
                "entries": entries,
                **microseconds(timed(lambda n: registry.unregister(f"new-{n}"), numbers)),
            }
        )
    return rows


def together(window: int) -> Row:
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry(max_memory_bytes=2 << 30))
        writers = [
            stack.enter_context(Script(WRITER, str(registry.folder), str(n), str(EACH), str(window)))
            for n in range(PROCESSES)
        ]
        for writer in writers:
            writer.line()
        begin = time.perf_counter()
        for writer in writers:
            writer.say("go")
        for writer in writers:
            writer.line()
        seconds = time.perf_counter() - begin
        found = registry.count(capability="worker")
        if found != PROCESSES * EACH:
            raise RuntimeError(f"{found} entries instead of {PROCESSES * EACH}")
    how = "register, one at a time" if window == 1 else f"register_nowait, {window} under way"
    return {"together": how, "processes": PROCESSES, "registrations/s": int(PROCESSES * EACH / seconds)}


def main(sizes: tuple[int, ...] = (10_000, 100_000)) -> Row:
    rows = [row for entries in sizes for row in one_process(entries)]
    show("writes from one process, microseconds", rows)
    storms = [together(1), together(64)]
    show("eight processes at once", storms)
    results: Row = {"rows": rows, "together": storms}
    save("register", results)
    return results


if __name__ == "__main__":
    main()
