"""``adsum adopt``: registers the running sessions of coding agents, which know nothing of adsum.

`agents.toml` says where each agent writes which files, `formats` reads that, `agent_sessions` reads the files and asks
the kernel about the processes that they name, `adoption` registers, updates and removes.
"""
