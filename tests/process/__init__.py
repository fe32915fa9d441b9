"""Tests of liveness and clients with real processes, signals and kernels."""
