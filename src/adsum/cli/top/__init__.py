"""``adsum top``: the live view of a registry."""
