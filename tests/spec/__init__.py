"""The models of the protocol between hosts."""
