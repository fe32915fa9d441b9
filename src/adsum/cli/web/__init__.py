"""``adsum web``: serves the pages of a registry.

`command` has the options, `listening` the socket, `serving` the server.
"""
