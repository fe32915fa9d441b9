"""A server of the Model Context Protocol (MCP): models find, watch and claim the members of a registry.

Needs the extra: ``pip install 'adsum[mcp]'``. The command ``adsum mcp`` serves; see docs/how-to/mcp.md.

The protocol has two eras, and this server serves clients of both, on standard input and output as over HTTP:

- **handshake** clients, of the versions up to 2025-11-25, which begin with ``initialize`` and have a session;
- **enveloped** clients, of the version 2026-07-28, whose every request says its version, and which have no session.

A model reads the answers, and what it reads was written by other processes. So their text is data here: bounded in
length, escaped, and apart from the facts that the registry vouches for (`escaping`, `answers`).

*Client* means a client of the protocol here, the program that a model runs in. To the registrar, this server is one.

- `reading`, `writing`: the tools. `arguments`: what they are called with. `answers`, `paging`: what they answer.
- `resources`, `notices`: members as resources, and the notices of their changes.
- `clients`: the process that a registration is for. That is the client, never this server.
- `tools`, `calls`, `server`: all of these, given to the SDK. `stdio`, `http`, `ending`: the transports and their end.
- `startup`: imports the SDK in less time.
"""
