"""``adsum run`` and what it needs: a gated child, signals passed on, job control."""
