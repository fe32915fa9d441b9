"""An agent: it is in the registry under its name, and prints the team whenever that changes.

ADSUM_CLUSTER=etcd://etcd:2379/demo python agent.py planner planning
"""

import sys

import adsum

name, capability = sys.argv[1:]
with adsum.open() as registry:
    registry.register(name, capabilities={capability})
    with registry.watch() as watch:
        team = {entry.id: entry for entry in watch.snapshot}
        while True:
            print("team:", ", ".join(sorted(entry.process_id.local_id for entry in team.values())), flush=True)
            next(watch)
            team = {entry.id: entry for entry in registry.find()}
