"""Commands about the registry as a whole and its registrar."""
