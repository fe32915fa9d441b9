"""``adsum doctor``: checks of the machine, the registry's folder, its files and the registry, one module for each."""
