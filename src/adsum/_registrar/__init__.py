"""The registrar: the one process of a registry that decides and writes.

`engine` decides, without I/O and without a clock of its own; `committer` commits what it decided; `server` is the loop
that waits for sockets, deaths and timers; `clients` looks after those who are connected; `start` makes it the only one
and gets it running.
"""
