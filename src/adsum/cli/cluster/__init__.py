"""``adsum bridge`` and ``adsum hosts``: the cluster that a registry is part of."""
