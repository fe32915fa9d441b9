"""How long does it take to find members by what they can do? The entries belong to eight other processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from harness import Row, fresh_registry, microseconds, save, show, timed
from processes import OWNER, Script

OWNERS = 8


def measure(entries: int, matches: int) -> list[Row]:
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry(max_memory_bytes=2 << 30))
        share = -(-entries // OWNERS)
        groups = entries // matches
        owners = [
            stack.enter_context(
                Script(_owner(groups), str(registry.folder), str(n * share), str(min(entries, (n + 1) * share)), "1")
            )
            for n in range(OWNERS)
        ]
        for owner in owners:
            owner.line()
        skills = [f"skill-{n % groups}" for n in range(max(200, groups))]
        if len(registry.find_by_capability(skills[0])) != matches:
            raise RuntimeError(f"{len(registry.find_by_capability(skills[0]))} matches instead of {matches}")
        rows: list[Row] = []

        def add(what: str, call: Callable[[str], object], asked: list[str]) -> None:
            rows.append({"find": f"{matches:,} {what}", "entries": entries, **microseconds(timed(call, asked))})

        known = [skills[1]] * 300
        add("matches, a skill not asked for before", registry.find_by_capability, skills[1:groups])
        add("matches, asked for before", registry.find_by_capability, known)
        add("matches, capability and health", lambda s: registry.find(capability=s, health_status="healthy"), known)
        add("counted", lambda s: registry.count(capability=s), known)
    return rows


def _owner(groups: int) -> str:
    # Every skill is spread over all owners.
    return OWNER.replace("n * 1000 // int(sys.argv[4])", f"n % {groups}")


def main(sizes: tuple[int, ...] = (10_000, 100_000)) -> Row:
    rows = [row for entries in sizes for matches in (100, 1000) for row in measure(entries, matches)]
    show("find by a process that owns nothing, microseconds", rows)
    results: Row = {"rows": rows}
    save("find", results)
    return results


if __name__ == "__main__":
    main()
