"""The command `adsum`, run as a person or a script runs it."""
