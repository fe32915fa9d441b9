"""Liveness and clients, with real processes, signals and kernels."""
