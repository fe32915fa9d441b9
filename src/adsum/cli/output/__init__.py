"""How answers look: tables, name-value pairs and JSON."""
