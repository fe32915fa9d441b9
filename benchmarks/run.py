"""All benchmarks, one after the other: ``run.py [--large] [name ...]``. Nothing else should run on the machine."""

from __future__ import annotations

import argparse

import death
import find
import large
import lookup
import mcp_server
import memory
import register
import telemetry
import watch
import web
from harness import environment

SCRIPTS = {
    "lookup": lookup.main,
    "register": register.main,
    "find": find.main,
    "death": death.main,
    "memory": memory.main,
    "watch": watch.main,
    "telemetry": telemetry.main,
    "mcp_server": mcp_server.main,
    "web": web.main,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *SCRIPTS, "large"], help="which; all but large by default")
    parser.add_argument("--large", action="store_true", help="only the registry of a million entries")
    arguments = parser.parse_args()
    print("  ".join(f"{name}: {value}" for name, value in environment().items()))
    if arguments.large:
        large.main()
        return
    for name in arguments.names or SCRIPTS:
        large.main() if name == "large" else SCRIPTS[name]()


if __name__ == "__main__":
    main()
