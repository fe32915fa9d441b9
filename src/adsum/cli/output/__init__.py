"""How answers look: tables, pairs and JSON."""
