"""How a process asks the registrar: finding or starting it, asking once, asking many things at a time."""
