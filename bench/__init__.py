"""Benchmarks of speed and memory (`python -m bench.run`), and experiments."""
