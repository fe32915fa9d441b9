"""What the kernel knows: who a process is, whether it lives, where a registry's folder may be. Linux only."""
