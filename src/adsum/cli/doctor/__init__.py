"""``adsum doctor``: one module for each kind of check."""
