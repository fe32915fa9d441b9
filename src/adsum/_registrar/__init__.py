"""The registrar: the one process of a registry that decides and writes.

`engine` decides, without I/O and without a clock of its own; `server` waits for sockets, deaths and timers, commits
what the engine decided and answers; `start` makes it the only one and gets it running.
"""
