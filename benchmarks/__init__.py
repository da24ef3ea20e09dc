"""Benchmarks of the solvers and of the published updates: ``python -m benchmarks``."""
