"""The registrar as one process: its start, its end, its clients, a full or damaged folder."""
