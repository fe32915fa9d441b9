"""The registrar: the one process of a registry that decides and writes.

`_engine` decides; `committer` commits its decisions and `generations` keeps the tables small; `server` is the loop that
waits for sockets, deaths and timers; `clients` serves the connections. `start` makes the process the only registrar of
its folder, `wiring` makes and connects the parts, `sweep` catches up with what happened while no registrar ran.
"""
