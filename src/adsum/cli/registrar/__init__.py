"""The commands about a registry as a whole: its registrar, its figures, and the audit of its tables."""
