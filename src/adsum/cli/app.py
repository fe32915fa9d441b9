"""All commands."""

from __future__ import annotations

from cyclopts import App

from .adopt.command import adopt
from .cluster.bridge import bridge
from .cluster.hosts import hosts
from .doctor.command import doctor
from .members.departures import departures
from .members.health import health
from .members.ls import ls
from .members.namespaces import namespaces
from .members.register import register
from .members.show import show
from .members.unregister import unregister
from .members.update import update
from .members.wait import wait
from .members.watch import watch
from .naming import new_app
from .registrar.audit import audit
from .registrar.command import registrar
from .registrar.metrics import metrics
from .registrar.stats import stats
from .run.claim import claim, pack_program
from .run.command import require_separator, run
from .top.command import top
from .web.command import web

# Of the commands that are imported only when they are used.
_DEMO_SUMMARY = "Run a small multi-agent system on this machine, and kill its processes."
_CARD_SUMMARY = "Show the card of one living member: its A2A agent card, or its MCP server card."
_CATALOG_SUMMARY = "List the cards of a namespace, and the members that name a protocol and have no card."
_MCP_SUMMARY = "Let models find the members of a registry, over the Model Context Protocol (MCP)."

_HELP = """A registry of the living processes on this machine, and of their capabilities.

```console
$ adsum run planner --capability planning -- node agent.js
$ adsum ls --capability planning
$ adsum show planner
```

A process is registered for as long as it lives. There is no server to start, and nothing to clean up. Exit codes: 0
done, 1 no or not found, 2 usage, 3 registry error, 130 ended by Ctrl-C, 141 output closed by its reader.
"""


def build(tokens: list[str]) -> App:
    """The command line. Modules that are slow to import are imported by the command that needs them."""
    app = new_app(_HELP)
    reading = (ls, show, namespaces, departures, watch, wait, top)
    writing = (register, adopt, health, update, unregister)
    for command in (*reading, *writing, hosts, stats, audit, doctor, registrar, bridge, metrics, web):
        app.command(command)
    app.command("adsum.cli.mcp.command:mcp", name="mcp", help=_MCP_SUMMARY)
    app.command("adsum.cli.members.card:card", name="card", help=_CARD_SUMMARY)
    app.command("adsum.cli.members.card:catalog", name="catalog", help=_CATALOG_SUMMARY)
    app.command(run, usage="Usage: adsum run ID [OPTIONS] -- COMMAND [ARGUMENTS]")
    app.command(claim, usage="Usage: adsum claim [ID] [OPTIONS] -- COMMAND [ARGUMENTS]")
    if tokens[:1] == ["demo"]:
        from .demo.command import demo

        app.command(demo)
    else:
        app.command("adsum.cli.demo.command:demo", name="demo", help=_DEMO_SUMMARY)
    app.register_install_completion_command(help="Install shell completion of commands, options and ids.")
    return app


def prepare(tokens: list[str]) -> list[str]:
    """The command line as the commands take it. Errors: `UsageError` where the program of run or claim has no --."""
    require_separator(tokens)
    return pack_program(tokens)
