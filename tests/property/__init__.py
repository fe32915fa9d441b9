"""Properties of single parts, over generated input."""
